//! How long to generate and how to choose tokens.

use serde::{Deserialize, Serialize};

use super::logits_processors::LogitsProcessors;
use super::sampling::Sampling;
use crate::released_code::PromptPadding;

/// How long to generate and how to choose tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// At most this many new tokens per row.
    pub max_new_tokens: usize,
    /// How a token is chosen from the logits.
    pub sampling: Sampling,
    /// What changes the logits before a token is chosen.
    #[serde(default, skip_serializing_if = "LogitsProcessors::is_neutral")]
    pub processors: LogitsProcessors,
    /// Tokens that end a row; the token itself is the row's last one.
    pub stop_tokens: Vec<u32>,
    /// The id that fills padding slots. Unless [`padding`](Self::padding) says so, it is never attended to, and any
    /// id of the vocabulary does.
    pub pad_token: u32,
    /// What becomes of the slots that a shorter prompt leaves.
    #[serde(default)]
    pub padding: PromptPadding,
}

impl GenerationConfig {
    /// The most probable token each time, at most `max_new_tokens` of them, no stop token.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            sampling: Sampling::Greedy,
            processors: LogitsProcessors::default(),
            stop_tokens: Vec::new(),
            pad_token: 0,
            padding: PromptPadding::Masked,
        }
    }

    /// The same with other stop tokens.
    pub fn with_stop_tokens(mut self, stop_tokens: impl Into<Vec<u32>>) -> Self {
        self.stop_tokens = stop_tokens.into();
        self
    }

    /// The same with the slots of shorter prompts filled with `pad_token` and treated otherwise.
    pub fn with_padding(mut self, padding: PromptPadding, pad_token: u32) -> Self {
        self.padding = padding;
        self.pad_token = pad_token;
        self
    }

    /// The same with other changes to the logits.
    pub fn with_processors(mut self, processors: LogitsProcessors) -> Self {
        self.processors = processors;
        self
    }

    /// The same with another way of choosing tokens.
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }
}
