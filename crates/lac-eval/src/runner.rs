//! Runs a benchmark: batches in, records out, to be taken up again where it ended.

mod batches;

use std::fmt;
use std::time::{Duration, Instant};

use lac_core::{
    CausalLm, FirstThreshold, Flow, GenerationConfig, PromptPadding, Sampling, TextModel,
};

use self::batches::{Batch, batches, in_order};
use crate::error::{Error, Result};
use crate::lane::Lane;
use crate::log::ResultLog;
use crate::record::Record;
use crate::request::{Feed, Request, ScoredOption};
use crate::score::{Prefix, Repeats, score_batch};
use crate::settings::{Asking, Quirk};

use crate::write::write_batch;

/// What a run is told besides its questions.
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Questions per batch, at least one.
    pub batch_size: usize,
    /// What is written to results besides numbers.
    pub texts: StoredTexts,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            batch_size: 16,
            texts: StoredTexts::Answers,
        }
    }
}

/// What is written to results besides numbers. GPQA's authors ask that its questions appear
/// nowhere in plain text, and an answer may repeat its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredTexts {
    /// Neither prompts nor answers.
    Nothing,
    /// The answers that were generated.
    Answers,
    /// The answers, and the prompts too.
    PromptsAndAnswers,
}

/// What is asked, and how.
pub struct Evaluation<'a> {
    /// The questions.
    pub requests: &'a [Request],
    /// How they were made, and how their answers are come by.
    pub asking: &'a Asking,
    /// The model's tokenizer.
    pub text: &'a dyn TextModel,
    /// The rest.
    pub config: RunConfig,
}

impl fmt::Debug for Evaluation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluation")
            .field("n_requests", &self.requests.len())
            .field("asking", self.asking)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Questions answered under every variant, those of earlier runs included.
    pub n_done: usize,
    /// Questions asked.
    pub n_total: usize,
    /// Tokens fed by this run.
    pub tokens_done: usize,
    /// Tokens that this run has to feed in all.
    pub tokens_total: usize,
    /// Time since this run began.
    pub elapsed: Duration,
    /// Per variant: right answers, and answers, those of earlier runs included.
    pub right: Vec<(usize, usize)>,
}

impl Progress {
    /// The time that is left, from the tokens so far; `None` before the first batch.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.tokens_total.saturating_sub(self.tokens_done);
        (self.tokens_done > 0).then(|| self.elapsed.mul_f64(left as f64 / self.tokens_done as f64))
    }
}

/// Answers all questions that the log has no result for, under every lane, and appends the
/// results batch by batch.
///
/// `on_progress` is called before the first batch and after each, and says whether to go on: a run that it stops
/// is a run that ended early, with all that was recorded on the disk.
///
/// The log's settings are those of the lanes' variants, in their order.
///
/// # Errors
/// [`Error::Model`] naming the first item of the batch that failed; what the log reports. What was
/// appended before stays.
pub fn evaluate<M: CausalLm + ?Sized>(
    model: &M,
    evaluation: &Evaluation<'_>,
    lanes: &mut [Lane],
    log: &mut ResultLog,
    on_progress: &mut dyn FnMut(&Progress) -> Flow,
) -> Result<()> {
    let Evaluation {
        requests, asking, ..
    } = evaluation;
    let n_variants: usize = lanes.iter().map(|lane| lane.variants().len()).sum();
    if n_variants != log.hashes().len() {
        return Err(Error::Mismatch(format!(
            "{n_variants} variants are run, and the log was opened for {}",
            log.hashes().len()
        )));
    }
    if !asking.protocol.compares_likelihoods() && lanes.iter().any(|lane| !lane.can_generate()) {
        return Err(Error::Invalid {
            field: "lane",
            value: "several α from one pass".to_owned(),
            expected: "one lane per α where text is generated".to_owned(),
        });
    }
    if asking.protocol.compares_likelihoods() && lanes.iter().any(|lane| !lane.can_score()) {
        return Err(Error::Invalid {
            field: "lane",
            value: format!("speculation under {}", asking.protocol),
            expected: "a protocol that generates text (paper, generative): in log-likelihoods nothing can be \
                       drafted"
                .to_owned(),
        });
    }
    check_quirks(evaluation, lanes)?;
    let generation = generation(asking, evaluation.text)?;
    let is_pending = |log: &ResultLog, request: &Request| {
        (0..n_variants).any(|variant| !log.has(&request.id, variant))
    };
    let pending: Vec<&Request> = requests
        .iter()
        .filter(|request| is_pending(log, request))
        .collect();
    let mut progress = Progress {
        n_done: requests.len() - pending.len(),
        n_total: requests.len(),
        tokens_done: 0,
        tokens_total: pending.iter().map(|request| request.n_tokens()).sum(),
        elapsed: Duration::ZERO,
        right: vec![(0, 0); n_variants],
    };
    for record in &log.results().records {
        count(&mut progress, log.hashes(), record);
    }
    let repeats = Repeats::of(model);
    let start = Instant::now();
    let mut flow = on_progress(&progress);
    let mut prefixes: Vec<Option<Prefix<M::Context>>> = lanes.iter().map(|_| None).collect();
    let batch_size = evaluation.config.batch_size.max(1);
    // Where neighbours matter, a question that is asked again is asked beside those it was beside before.
    let keeps_neighbours = asking.depends_on_batch();
    let batches = match keeps_neighbours {
        true => in_order(&requests.iter().collect::<Vec<_>>(), batch_size),
        false => batches(&pending, batch_size),
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
        for (lane, prefix) in lanes.iter_mut().zip(&mut prefixes) {
            let variants = first_variant..first_variant + lane.variants().len();
            first_variant = variants.end;
            let run = BatchRun {
                model,
                evaluation,
                repeats,
                generation: &generation,
                hashes: &log.hashes()[variants.clone()],
            };
            let missing: Vec<&Request> = batch
                .requests
                .iter()
                .copied()
                .filter(|request| {
                    variants
                        .clone()
                        .any(|variant| !log.has(&request.id, variant))
                })
                .collect();
            if missing.is_empty() {
                continue;
            }
            let asked = match keeps_neighbours {
                true => batch.requests.clone(),
                false => missing,
            };
            let asked = Batch {
                requests: asked,
                ..batch
            };
            let records = run.run(&asked, lane, prefix)?;
            let new: Vec<Record> = records
                .into_iter()
                .filter(|(variant, record)| !log.has(&record.item, variants.start + variant))
                .map(|(_, record)| record)
                .collect();
            for record in &new {
                count(&mut progress, log.hashes(), record);
            }
            log.append(new)?;
        }
        progress.n_done += unanswered.len();
        progress.tokens_done += unanswered
            .iter()
            .map(|request| request.n_tokens())
            .sum::<usize>();
        progress.elapsed = start.elapsed();
        flow = on_progress(&progress);
    }
    log.sync()
}

fn count(progress: &mut Progress, hashes: &[String], record: &Record) {
    if let Some(variant) = hashes.iter().position(|hash| *hash == record.settings) {
        progress.right[variant].0 += usize::from(record.is_right());
        progress.right[variant].1 += 1;
    }
}

/// Checks that what results depend on besides a question is what the settings say.
fn check_quirks(evaluation: &Evaluation<'_>, lanes: &[Lane]) -> Result<()> {
    let Evaluation {
        requests, asking, ..
    } = evaluation;
    let batch_size = evaluation.config.batch_size.max(1);
    let expected = (*asking).clone().with_neighbours(requests, batch_size);
    if expected.neighbours != asking.neighbours {
        return Err(Error::Mismatch(format!(
            "the settings name other neighbours than {} questions in batches of {batch_size} have: see \
             Asking::with_neighbours",
            requests.len()
        )));
    }
    if asking.depends_on_batch() && lanes.iter().any(Lane::is_one_by_one) {
        return Err(Error::Invalid {
            field: "lane",
            value: "speculation, which has no batches".to_owned(),
            expected: "no quirk that depends on them (batch-threshold, padding-attended)"
                .to_owned(),
        });
    }
    let wanted = match asking.has(Quirk::BatchThreshold) {
        true => FirstThreshold::BatchRange,
        false => FirstThreshold::Zero,
    };
    let mut found = lanes.iter().filter_map(Lane::first_threshold);
    match found.find(|&found| found != wanted) {
        Some(found) => Err(Error::Mismatch(format!(
            "a gate's first threshold is {found:?}, and the quirks ask for {wanted:?}"
        ))),
        None => Ok(()),
    }
}

/// How text is generated, where it is.
fn generation(asking: &Asking, text: &dyn TextModel) -> Result<GenerationConfig> {
    let sampling = asking.sampling.clone().unwrap_or(Sampling::Greedy);
    let config = GenerationConfig::greedy(asking.max_new_tokens.unwrap_or(0))
        .with_sampling(sampling)
        .with_stop_tokens(text.stop_tokens());
    if !asking.has(Quirk::PaddingAttended) {
        return Ok(config);
    }
    match text.pad_token() {
        Some(pad_token) => Ok(config.with_padding(PromptPadding::AsTokens, pad_token)),
        None => Err(Error::Invalid {
            field: "quirk",
            value: Quirk::PaddingAttended.name().to_owned(),
            expected: "a tokenizer with a pad_token or an eos_token for it".to_owned(),
        }),
    }
}

/// One batch under one lane.
struct BatchRun<'a, M: ?Sized> {
    model: &'a M,
    evaluation: &'a Evaluation<'a>,
    repeats: Repeats,
    generation: &'a GenerationConfig,
    /// Of the lane's variants.
    hashes: &'a [String],
}

impl<M: CausalLm + ?Sized> BatchRun<'_, M> {
    /// The records, each with its variant's place in the lane.
    fn run(
        &self,
        batch: &Batch<'_>,
        lane: &mut Lane,
        prefix: &mut Option<Prefix<M::Context>>,
    ) -> Result<Vec<(usize, Record)>> {
        let start = Instant::now();
        let Evaluation { asking, text, .. } = self.evaluation;
        let failed = |source| Error::Model {
            item: batch.requests[0].id.to_string(),
            source,
        };
        let mut records = Vec::new();
        if asking.protocol.compares_likelihoods() {
            let questions: Vec<&[ScoredOption]> = batch
                .requests
                .iter()
                .map(|request| match &request.feed {
                    Feed::Score(options) => &options[..],
                    Feed::Generate(_) => &[],
                })
                .collect();
            let scores = score_batch(
                self.model,
                &questions,
                batch.prefix_len,
                self.repeats,
                prefix,
                lane,
            )
            .map_err(failed)?;
            let seconds = start.elapsed().as_secs_f64() / batch.requests.len() as f64;
            for (variant, scores) in scores.into_iter().enumerate() {
                for (request, score) in batch.requests.iter().zip(scores) {
                    let hash = &self.hashes[variant];
                    let values = score.log_likelihoods;
                    let record = Record::scored(request, hash, values, score.usage, seconds);
                    records.push((variant, record));
                }
            }
        } else {
            let prompts: Vec<(&Request, &[u32])> = batch
                .requests
                .iter()
                .map(|request| (*request, request.prompt_ids()))
                .collect();
            let written =
                write_batch(self.model, &prompts, self.generation, lane).map_err(failed)?;
            let seconds = start.elapsed().as_secs_f64() / batch.requests.len() as f64;
            for (request, written) in batch.requests.iter().zip(written) {
                let n_lost = usize::from(asking.has(Quirk::FirstTokenLost));
                let ids = written.ids.get(n_lost..).unwrap_or_default();
                let answer = text.decode(ids).map_err(|source| Error::Prompt {
                    item: request.id.to_string(),
                    source,
                })?;
                for (variant, usage) in written.usage.into_iter().enumerate() {
                    let hash = &self.hashes[variant];
                    let answer = answer.clone();
                    let record =
                        Record::written(request, hash, answer, usage, written.drafts, seconds);
                    records.push((variant, record));
                }
            }
        }
        for (_, record) in &mut records {
            self.keep_texts(record, batch);
        }
        Ok(records)
    }

    fn keep_texts(&self, record: &mut Record, batch: &Batch<'_>) {
        match self.evaluation.config.texts {
            StoredTexts::Nothing => record.text = None,
            StoredTexts::Answers => {}
            StoredTexts::PromptsAndAnswers => {
                let request = batch
                    .requests
                    .iter()
                    .find(|request| request.id == record.item);
                record.prompt = request.map(|request| request.text.clone());
            }
        }
    }
}
