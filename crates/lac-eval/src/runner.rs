//! Runs a benchmark, batch by batch. An interrupted run continues where it ended.

mod batch_run;
mod batches;
mod evaluation;
mod progress;

use std::time::Instant;

use lac_core::{
    CausalLm, GenerationConfig,
    generation::{Flow, Sampling},
};

pub use self::evaluation::{Evaluation, RunConfig};
pub use self::progress::Progress;

use self::batch_run::BatchRun;
use self::batches::{Batch, batches, in_order};
use crate::error::{Error, Result};
use crate::policy_run::PolicyRun;
use crate::record::Record;
use crate::request::Request;
use crate::result_log::ResultLog;
use crate::score::{ContextRepeats, Prefix};

/// Answers all questions that the log has no result for, under every policy run, and appends the
/// results batch by batch.
///
/// `on_progress` is called before the first batch and after each batch. When it returns
/// [`Flow::Stop`], the run ends early, and everything that was recorded is on the disk.
///
/// The log's settings have to be those of the runs' variants, in their order
/// ([`Settings::of_runs`](crate::Settings::of_runs)).
///
/// # Errors
/// [`Error::Model`] naming the first item of the batch that failed; [`Error::Invalid`] and
/// [`Error::Mismatch`] when the evaluation, the runs and the log do not go together; the log's
/// errors. What was appended before an error stays.
pub fn evaluate<M: CausalLm + ?Sized>(
    model: &M,
    evaluation: &Evaluation<'_>,
    runs: &mut [PolicyRun],
    log: &mut ResultLog,
    on_progress: &mut dyn FnMut(&Progress) -> Flow,
) -> Result<()> {
    let n_variants: usize = runs.iter().map(|run| run.variants().len()).sum();
    check(evaluation, runs, n_variants, log)?;
    let Evaluation {
        requests,
        prompt,
        text,
        ..
    } = evaluation;
    let sampling = prompt.sampling.clone().unwrap_or(Sampling::Greedy);
    let generation = GenerationConfig::greedy(prompt.max_new_tokens.unwrap_or(0))
        .with_sampling(sampling)
        .with_processors(prompt.processors.clone())
        .with_stop_tokens(text.stop_tokens());
    let generation = prompt.quirks.pad(generation, *text)?;
    let is_pending = |log: &ResultLog, request: &Request| {
        (0..n_variants).any(|variant| !log.has(&request.id, variant))
    };
    let pending: Vec<&Request> = requests
        .iter()
        .filter(|request| is_pending(log, request))
        .collect();
    let mut progress = Progress::new(requests.len(), &pending, n_variants);
    for record in &log.results().records {
        progress.count(log.hashes(), record);
    }
    let repeats = ContextRepeats::of(model);
    let start = Instant::now();
    let mut flow = on_progress(&progress);
    let mut prefixes: Vec<Option<Prefix<M::Context>>> = runs.iter().map(|_| None).collect();
    let batch_size = evaluation.config.batch_size.max(1);
    // Where results depend on the batch, questions are asked again in the same batches as before.
    let keeps_batches = prompt.quirks.depends_on_batch();
    let batches = if keeps_batches {
        in_order(&requests.iter().collect::<Vec<_>>(), batch_size)
    } else {
        batches(&pending, batch_size)
    };
    for batch in batches {
        if flow == Flow::Stop {
            break;
        }
        let unanswered: Vec<&Request> = batch
            .requests
            .iter()
            .copied()
            .filter(|request| is_pending(log, request))
            .collect();
        if unanswered.is_empty() {
            continue;
        }
        let mut first_variant = 0;
        for (run, prefix) in runs.iter_mut().zip(&mut prefixes) {
            let variants = first_variant..first_variant + run.variants().len();
            first_variant = variants.end;
            let is_missing = |request: &&Request| {
                variants
                    .clone()
                    .any(|variant| !log.has(&request.id, variant))
            };
            let missing: Vec<&Request> =
                batch.requests.iter().copied().filter(is_missing).collect();
            if missing.is_empty() {
                continue;
            }
            let asked = Batch {
                requests: if keeps_batches {
                    batch.requests.clone()
                } else {
                    missing
                },
                ..batch
            };
            let batch_run = BatchRun {
                model,
                evaluation,
                repeats,
                generation: &generation,
                hashes: &log.hashes()[variants.clone()],
            };
            let records = batch_run.run(&asked, run, prefix)?;
            let new: Vec<Record> = records
                .into_iter()
                .filter(|(variant, record)| !log.has(&record.item, variants.start + variant))
                .map(|(_, record)| record)
                .collect();
            for record in &new {
                progress.count(log.hashes(), record);
            }
            log.append(new)?;
        }
        progress.advance(&unanswered, start.elapsed());
        flow = on_progress(&progress);
    }
    log.sync()
}

/// Checks that the evaluation, the runs and the log go together.
fn check(
    evaluation: &Evaluation<'_>,
    runs: &[PolicyRun],
    n_variants: usize,
    log: &ResultLog,
) -> Result<()> {
    let Evaluation {
        requests, prompt, ..
    } = evaluation;
    if n_variants != log.hashes().len() {
        return Err(Error::Mismatch(format!(
            "{n_variants} variants are run, but the log was opened for {}",
            log.hashes().len()
        )));
    }
    if !prompt.protocol.compares_likelihoods() && runs.iter().any(|run| !run.can_generate()) {
        return Err(Error::Invalid {
            field: "policy",
            value: "several α from one pass".to_owned(),
            expected: "one policy run for each α where text is generated".to_owned(),
        });
    }
    if prompt.protocol.compares_likelihoods() && runs.iter().any(|run| !run.can_score()) {
        return Err(Error::Invalid {
            field: "policy",
            value: format!("speculation under {}", prompt.protocol),
            expected: "a protocol that generates text (paper, generative): in log-likelihoods nothing can be \
                       drafted"
                .to_owned(),
        });
    }
    let batch_size = evaluation.config.batch_size.max(1);
    let expected = (*prompt).clone().with_batch_members(requests, batch_size);
    if expected.batch_members != prompt.batch_members {
        return Err(Error::Mismatch(format!(
            "the settings name other batches than {} questions in batches of {batch_size} give: call \
             PromptSettings::with_batch_members",
            requests.len()
        )));
    }
    if let Some(recorded) = &prompt.stop_tokens {
        let mut recorded: Vec<u32> = recorded.iter().map(|token| token.id).collect();
        let mut own = evaluation.text.stop_tokens().to_vec();
        for ids in [&mut recorded, &mut own] {
            ids.sort_unstable();
            ids.dedup();
        }
        if recorded != own {
            return Err(Error::Mismatch(format!(
                "the settings name the stop tokens {recorded:?}, and the model's are {own:?}"
            )));
        }
    }
    if runs.iter().any(PolicyRun::is_one_by_one) {
        prompt.quirks.check_one_by_one()?;
    }
    let first_thresholds = runs.iter().filter_map(PolicyRun::first_threshold);
    prompt.quirks.check_first_thresholds(first_thresholds)
}
