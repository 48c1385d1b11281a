//! Who takes part in a generation.

use std::fmt;

use super::sink::TokenSink;
use crate::observer::Observer;
use crate::policy::LayerPolicy;

/// Who takes part in a generation besides the model: a policy, and optionally an observer of the
/// passes and a receiver of the tokens.
pub struct GenerateArgs<'a> {
    pub(crate) policy: &'a mut dyn LayerPolicy,
    pub(crate) observer: Option<&'a mut dyn Observer>,
    pub(crate) sink: Option<&'a mut dyn TokenSink>,
    pub(crate) prompt_logits: PromptLogits,
    pub(crate) row_seeds: Option<&'a [u64]>,
}

/// Whether the logits of the prompts' last positions are handed back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptLogits {
    /// They stay on the device.
    #[default]
    Drop,
    /// They are read and returned.
    Return,
}

impl fmt::Debug for GenerateArgs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GenerateArgs")
            .field("policy", &self.policy.name())
            .field("prompt_logits", &self.prompt_logits)
            .field("row_seeds", &self.row_seeds)
            .finish_non_exhaustive()
    }
}

impl<'a> GenerateArgs<'a> {
    /// A policy, and nobody else.
    pub fn new(policy: &'a mut dyn LayerPolicy) -> Self {
        Self {
            policy,
            observer: None,
            sink: None,
            prompt_logits: PromptLogits::Drop,
            row_seeds: None,
        }
    }

    /// The same with an observer of every pass.
    pub fn observer(mut self, observer: &'a mut dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The same with a receiver of every token.
    pub fn sink(mut self, sink: &'a mut dyn TokenSink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// The same with random draws that do not depend on a row's place in its batch: row `i` draws
    /// from the stream of seed `seed + row_seeds[i]`.
    pub fn row_seeds(mut self, row_seeds: &'a [u64]) -> Self {
        self.row_seeds = Some(row_seeds);
        self
    }

    /// The same with the prompts' logits handed back or not.
    pub fn prompt_logits(mut self, prompt_logits: PromptLogits) -> Self {
        self.prompt_logits = prompt_logits;
        self
    }
}
