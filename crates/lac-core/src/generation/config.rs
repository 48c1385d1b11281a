//! The settings of a generation.

use serde::{Deserialize, Serialize};

use super::logits_processors::LogitsProcessors;
use super::sampling::Sampling;
use crate::released_code::PromptPadding;

/// The settings of a generation: how long it is and how tokens are chosen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// The largest number of new tokens per row.
    pub max_new_tokens: usize,
    /// How a token is chosen from the logits.
    pub sampling: Sampling,
    /// What changes the logits before a token is chosen.
    #[serde(default, skip_serializing_if = "LogitsProcessors::is_neutral")]
    pub processors: LogitsProcessors,
    /// Tokens that end a row. The stop token itself is the row's last token.
    pub stop_tokens: Vec<u32>,
    /// The id that fills padding slots: any id of the vocabulary, since padding is never attended to (unless
    /// [`padding`](Self::padding) says otherwise).
    pub pad_token: u32,
    /// What happens to the slots that a shorter prompt leaves.
    #[serde(default)]
    pub padding: PromptPadding,
}

impl GenerationConfig {
    /// Chooses the most probable token each time, at most `max_new_tokens` of them, without stop tokens.
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

    /// Sets the stop tokens.
    pub fn with_stop_tokens(mut self, stop_tokens: impl Into<Vec<u32>>) -> Self {
        self.stop_tokens = stop_tokens.into();
        self
    }

    /// Sets what happens to the slots of shorter prompts, and the id that fills them.
    pub fn with_padding(mut self, padding: PromptPadding, pad_token: u32) -> Self {
        self.padding = padding;
        self.pad_token = pad_token;
        self
    }

    /// Sets what changes the logits before a token is chosen.
    pub fn with_processors(mut self, processors: LogitsProcessors) -> Self {
        self.processors = processors;
        self
    }

    /// Sets how tokens are chosen.
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }
}
