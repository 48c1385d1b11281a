//! Log-likelihoods of a batch of questions' options, with as few tokens fed as possible.
//!
//! - Options of one token share one row: its last position is read once for all of them.
//! - Options of several tokens continue their context from the cache, where the model can repeat
//!   the cache and the policy allows a text to be fed in pieces.
//! - A beginning that all questions of a batch share (the examples of a subject) is fed once, and
//!   kept from batch to batch.
//! - Rows are padded on the right, so that no row needs a mask.

mod feed;
mod plan;
mod read;

use lac_core::{CausalLm, Error, Result};

pub(crate) use feed::Prefix;
use feed::{FedPass, Feeder};
use plan::FeedPlan;

use crate::item_usage::{CountPass, ItemUsage, count_row};
use crate::policy_run::PolicyRun;
use crate::request::ScoredOption;

/// One question's outcome for one variant.
#[derive(Clone, Debug)]
pub(crate) struct ItemScore {
    /// Log-likelihood of each option, natural logarithm.
    pub log_likelihoods: Vec<f64>,
    /// What was seen of the layers.
    pub usage: ItemUsage,
}

/// Scores the options of a batch of questions under a policy run: `[variant][question]`.
///
/// The first `prefix_len` tokens of every context are the same. Texts are fed in pieces where the
/// model and the run allow it.
pub(crate) fn score_batch<M: CausalLm + ?Sized>(
    model: &M,
    questions: &[&[ScoredOption]],
    prefix_len: usize,
    repeats: Repeats,
    prefix: &mut Option<Prefix<M::Context>>,
    run: &mut PolicyRun,
) -> Result<Vec<Vec<ItemScore>>> {
    check(model, questions)?;
    let can_repeat = run.can_feed_incrementally() && repeats == Repeats::Contexts;
    let plan = FeedPlan::new(
        questions,
        if can_repeat { prefix_len } else { 0 },
        can_repeat,
    );
    let mut feeder = Feeder { model, run };
    let fed = feeder.feed(&plan, prefix)?;

    let n_variants = feeder.run.variants().len();
    let mut scores: Vec<Vec<ItemScore>> = (0..n_variants)
        .map(|_| {
            let blank = |options: &&[ScoredOption]| ItemScore {
                log_likelihoods: vec![0.0; options.len()],
                usage: ItemUsage::default(),
            };
            questions.iter().map(blank).collect()
        })
        .collect();
    for fed in &fed {
        let values = feeder.read(fed)?;
        for (variant, scores) in scores.iter_mut().enumerate() {
            // Runs whose variants share their answers have one state.
            let values = &values[variant.min(values.len() - 1)];
            for (target, value) in fed.targets.iter().zip(values) {
                scores[target.question].log_likelihoods[target.option] += f64::from(*value);
            }
            count(fed, feeder.run, variant, scores);
        }
    }
    if let Some(prefix) = prefix.as_ref().filter(|_| !plan.prefix.is_empty()) {
        for (variant, scores) in scores.iter_mut().enumerate() {
            for score in scores {
                score.usage.add(&prefix.usage[variant]);
            }
        }
    }
    Ok(scores)
}

fn count(fed: &FedPass, run: &PolicyRun, variant: usize, scores: &mut [ItemScore]) {
    for (row, counted) in fed.rows.iter().enumerate() {
        let usage = &mut scores[counted.question].usage;
        let count_pass = if counted.is_first {
            CountPass::Yes
        } else {
            CountPass::No
        };
        let from = counted.from;
        count_row(usage, &fed.record, run, variant, row, from, count_pass);
    }
}

/// Whether a model can repeat the context of one row for many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeats {
    /// It can.
    Contexts,
    /// It cannot: every text is fed as a whole.
    Nothing,
}

impl Repeats {
    pub(crate) fn of<M: CausalLm + ?Sized>(model: &M) -> Self {
        let context = model.new_context(1, 1);
        match model.repeat_context(&context, &[0], 0, 1) {
            Some(_) => Repeats::Contexts,
            None => Repeats::Nothing,
        }
    }
}

fn check<M: CausalLm + ?Sized>(model: &M, questions: &[&[ScoredOption]]) -> Result<()> {
    let vocab_size = model.vocab_size();
    let max_context = model.max_context().unwrap_or(usize::MAX);
    for (row, options) in questions.iter().enumerate() {
        for option in *options {
            if option.context.is_empty() || option.continuation.is_empty() {
                return Err(Error::EmptyPrompt { row });
            }
            let length = option.context.len() + option.continuation.len() - 1;
            if length > max_context {
                return Err(Error::ContextTooLong {
                    row,
                    length,
                    max_context,
                });
            }
            let mut ids = option.context.iter().chain(&option.continuation);
            if let Some(position) = ids.position(|&id| id as usize >= vocab_size) {
                let all = [&option.context[..], &option.continuation].concat();
                return Err(Error::TokenOutOfVocabulary {
                    id: all[position],
                    row,
                    position,
                    vocab_size,
                });
            }
        }
    }
    Ok(())
}
