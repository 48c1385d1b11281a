//! Answers one batch under one policy run.

use std::time::Instant;

use lac_core::{CausalLm, GenerationConfig};

use super::batches::Batch;
use super::evaluation::Evaluation;
use crate::benchmark::spec::StoredTexts;
use crate::error::{Error, Result};
use crate::generate::generate_batch;
use crate::policy_run::PolicyRun;
use crate::record::Record;
use crate::request::{Feed, Request, ScoredOption};
use crate::score::{ContextRepeats, Prefix, score_batch};

/// What all batches of a policy run have in common.
pub(super) struct BatchRun<'a, M: ?Sized> {
    pub(super) model: &'a M,
    pub(super) evaluation: &'a Evaluation<'a>,
    pub(super) repeats: ContextRepeats,
    pub(super) generation: &'a GenerationConfig,
    /// The hashes of the settings of the run's variants.
    pub(super) hashes: &'a [String],
}

impl<M: CausalLm + ?Sized> BatchRun<'_, M> {
    /// Answers the questions of a batch. Each record comes with its variant's place in the run.
    pub(super) fn run(
        &self,
        batch: &Batch<'_>,
        run: &mut PolicyRun,
        prefix: &mut Option<Prefix<M::Context>>,
    ) -> Result<Vec<(usize, Record)>> {
        let mut records = if self.evaluation.prompt.protocol.compares_likelihoods() {
            self.score(batch, run, prefix)?
        } else {
            self.generate(batch, run)?
        };
        for (_, record) in &mut records {
            self.keep_texts(record, batch);
        }
        Ok(records)
    }

    fn score(
        &self,
        batch: &Batch<'_>,
        run: &mut PolicyRun,
        prefix: &mut Option<Prefix<M::Context>>,
    ) -> Result<Vec<(usize, Record)>> {
        let start = Instant::now();
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
            run,
        )
        .map_err(|source| failed(batch, source))?;
        let seconds = start.elapsed().as_secs_f64() / batch.requests.len() as f64;
        let mut records = Vec::new();
        for (request, scores) in batch.requests.iter().zip(scores) {
            for (variant, score) in scores.into_iter().enumerate() {
                let hash = &self.hashes[variant];
                let record = Record::scored(request, hash, score, seconds);
                records.push((variant, record));
            }
        }
        // Lines of files are in this order: one variant after the other.
        records.sort_by_key(|(variant, _)| *variant);
        Ok(records)
    }

    fn generate(&self, batch: &Batch<'_>, run: &mut PolicyRun) -> Result<Vec<(usize, Record)>> {
        let start = Instant::now();
        let Evaluation { prompt, text, .. } = self.evaluation;
        let prompts: Vec<(&Request, &[u32])> = batch
            .requests
            .iter()
            .map(|request| (*request, request.prompt_ids()))
            .collect();
        let answers = generate_batch(self.model, &prompts, self.generation, run)
            .map_err(|source| failed(batch, source))?;
        let seconds = start.elapsed().as_secs_f64() / batch.requests.len() as f64;
        let mut records = Vec::new();
        for (request, answer) in batch.requests.iter().zip(answers) {
            let ids = prompt.quirks.stored_tokens(&answer.ids);
            let answer_text = text.decode(ids).map_err(|source| Error::Prompt {
                item: request.id.to_string(),
                source,
            })?;
            for (variant, usage) in answer.usage.into_iter().enumerate() {
                let hash = &self.hashes[variant];
                let answer_text = answer_text.clone();
                let record =
                    Record::generated(request, hash, answer_text, usage, answer.drafts, seconds);
                records.push((variant, record));
            }
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

fn failed(batch: &Batch<'_>, source: lac_core::Error) -> Error {
    Error::Model {
        item: batch.requests[0].id.to_string(),
        source,
    }
}
