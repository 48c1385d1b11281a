//! The rows of a batch: how they grow and how they end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::config::GenerationConfig;
use super::sink::{Flow, TokenSink};
use crate::error::{Error, Result};

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// A stop token was chosen; it is the row's last token.
    StopToken,
    /// The token sink stopped the row, for instance at a stop string.
    Sink,
    /// The limit of new tokens was reached.
    MaxNewTokens,
    /// The model's context is full.
    ContextFull,
}

/// The tokens of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Generated {
    /// The new tokens, a stop token included.
    pub ids: Vec<u32>,
    /// Why the row ended.
    pub stop_reason: StopReason,
}

/// What [`generate`](crate::generate) returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GenerationOutput {
    /// The rows, in the order of their prompts.
    pub rows: Vec<Generated>,
    /// The logits of each prompt's last position, `[vocab]` per row, if
    /// [`PromptLogits::Return`](super::PromptLogits::Return) was set.
    pub prompt_logits: Option<Vec<Vec<f32>>>,
    /// Time of the pass over the prompts, with the choice of the first tokens.
    pub prefill_time: Duration,
    /// Time of all later passes.
    pub decode_time: Duration,
    /// Number of passes after the one over the prompts.
    pub n_decode_passes: usize,
}

/// The rows of a batch while they grow.
pub(crate) struct Rows {
    ids: Vec<Vec<u32>>,
    stop_reasons: Vec<Option<StopReason>>,
}

impl Rows {
    pub(crate) fn new(batch: usize) -> Self {
        Self {
            ids: vec![Vec::new(); batch],
            stop_reasons: vec![None; batch],
        }
    }

    pub(crate) fn accept(
        &mut self,
        new_ids: &[u32],
        config: &GenerationConfig,
        sink: &mut dyn TokenSink,
    ) -> Result<()> {
        for (row, &id) in new_ids.iter().enumerate() {
            if self.stop_reasons[row].is_some() {
                continue;
            }
            self.ids[row].push(id);
            let is_stop_token = config.stop_tokens.contains(&id);
            // The sink sees text only: a stop token ends the row without being part of it.
            let flow = if is_stop_token {
                Flow::Stop
            } else {
                sink.token(row, id).map_err(Error::Sink)?
            };
            let reason = if is_stop_token {
                Some(StopReason::StopToken)
            } else if flow == Flow::Stop {
                Some(StopReason::Sink)
            } else if self.ids[row].len() == config.max_new_tokens {
                Some(StopReason::MaxNewTokens)
            } else {
                None
            };
            if let Some(reason) = reason {
                self.stop(row, reason, sink)?;
            }
        }
        Ok(())
    }

    fn stop(&mut self, row: usize, reason: StopReason, sink: &mut dyn TokenSink) -> Result<()> {
        self.stop_reasons[row] = Some(reason);
        sink.end(row).map_err(Error::Sink)
    }

    pub(crate) fn stop_all(&mut self, reason: StopReason, sink: &mut dyn TokenSink) -> Result<()> {
        for row in 0..self.ids.len() {
            if self.stop_reasons[row].is_none() {
                self.stop(row, reason, sink)?;
            }
        }
        Ok(())
    }

    pub(crate) fn all_finished(&self) -> bool {
        self.stop_reasons.iter().all(Option::is_some)
    }

    /// A row's new tokens.
    pub(super) fn ids(&self, row: usize) -> &[u32] {
        &self.ids[row]
    }

    pub(super) fn stop_reason(&self, row: usize) -> Option<StopReason> {
        self.stop_reasons[row]
    }

    pub(super) fn finished(&self) -> Vec<bool> {
        self.stop_reasons.iter().map(Option::is_some).collect()
    }

    pub(super) fn last_ids(&self, pad_token: u32) -> Vec<u32> {
        self.ids
            .iter()
            .map(|ids| ids.last().copied().unwrap_or(pad_token))
            .collect()
    }

    pub(crate) fn into_generated(self) -> Vec<Generated> {
        self.ids
            .into_iter()
            .zip(self.stop_reasons)
            .map(|(ids, reason)| Generated {
                ids,
                stop_reason: reason.unwrap_or(StopReason::MaxNewTokens),
            })
            .collect()
    }
}
