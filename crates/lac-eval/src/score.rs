//! Log-likelihoods of a batch of questions' options, with as few tokens fed as possible.
//!
//! - Options of one token share one row: its last position is read once for all of them.
//! - Options of several tokens continue their context from the cache, where the model can repeat
//!   the cache and the policy allows a text to be fed in several passes.
//! - A prefix that all questions of a batch share (the examples of a subject) is fed once, and kept
//!   from batch to batch.
//! - Rows are padded on the right, so that no row needs a mask.

mod feed;
mod plan;
mod read;

use lac_core::{CausalLm, Error, Result};

use feed::Feeder;
pub(crate) use feed::Prefix;
use plan::FeedPlan;
pub(crate) use read::MAX_LOGITS;

use crate::item_usage::{BatchUsage, ItemUsage, add_usage};
use crate::policy_run::PolicyRun;
use crate::request::ScoredOption;

/// The score of one question under one variant.
#[derive(Clone, Debug)]
pub(crate) struct ItemScore {
    /// Log-likelihood of each option, natural logarithm.
    pub log_likelihoods: Vec<f64>,
    /// Whether every token of each option is the most likely one.
    pub greedy: Vec<bool>,
    /// The usage of the layers.
    pub usage: ItemUsage,
}

/// Scores the options of a batch of questions under a policy run. Returns the score of each
/// question under each variant.
///
/// The first `prefix_len` tokens of every context are the same. Where the model and the run allow
/// it, a text is fed in several passes, so that what texts share is fed once.
pub(crate) fn score_batch<M: CausalLm + ?Sized>(
    model: &M,
    questions: &[&[ScoredOption]],
    prefix_len: usize,
    repeats: ContextRepeats,
    prefix: &mut Option<Prefix<M::Context>>,
    run: &mut PolicyRun,
) -> Result<Vec<Vec<ItemScore>>> {
    check(model, questions)?;
    let can_repeat = run.can_feed_incrementally() && repeats == ContextRepeats::Supported;
    let plan = FeedPlan::new(
        questions,
        if can_repeat { prefix_len } else { 0 },
        can_repeat,
    );
    let mut feeder = Feeder { model, run };
    let fed = feeder.feed(&plan, prefix)?;

    let mut usage = BatchUsage::new(questions.len(), feeder.run);
    for fed in &fed {
        usage.count(&fed.record, &fed.rows, feeder.run);
    }
    let mut scores: Vec<Vec<ItemScore>> = questions
        .iter()
        .zip(usage.into_questions())
        .map(|(options, usage)| {
            let score = |usage| ItemScore {
                log_likelihoods: vec![0.0; options.len()],
                greedy: vec![true; options.len()],
                usage,
            };
            usage.into_iter().map(score).collect()
        })
        .collect();
    for fed in &fed {
        let values = feeder.read(fed)?;
        for (i, target) in fed.targets.iter().enumerate() {
            for (variant, score) in scores[target.question].iter_mut().enumerate() {
                // Runs whose variants share their answers have one state.
                let value = values[variant.min(values.len() - 1)][i];
                score.log_likelihoods[target.option] += f64::from(value.log_probability);
                score.greedy[target.option] &= value.is_greedy;
            }
        }
    }
    if let Some(prefix) = prefix.as_ref().filter(|_| !plan.prefix.is_empty()) {
        for scores in &mut scores {
            for (score, usage) in scores.iter_mut().zip(&prefix.usage) {
                add_usage(&mut score.usage, usage);
            }
        }
    }
    Ok(scores)
}

/// Whether a model can repeat the context of one row for many rows
/// ([`CausalLm::repeat_context`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContextRepeats {
    /// It can.
    Supported,
    /// It cannot, so that every text is fed in one pass.
    Unsupported,
}

impl ContextRepeats {
    pub(crate) fn of<M: CausalLm + ?Sized>(model: &M) -> Self {
        let context = model.new_context(1, 1);
        match model.repeat_context(&context, &[0], 0, 1) {
            Some(_) => ContextRepeats::Supported,
            None => ContextRepeats::Unsupported,
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
