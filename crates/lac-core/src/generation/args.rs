//! The arguments of a generation besides model, prompts and settings.

use std::fmt;

use super::sink::TokenSink;
use crate::observer::Observer;
use crate::policy::LayerPolicy;

/// The arguments of [`generate`](crate::generate) besides model, prompts and settings: a policy, and optionally an
/// observer of the passes and a receiver of the tokens.
pub struct GenerateArgs<'a> {
    pub(crate) policy: &'a mut dyn LayerPolicy,
    pub(crate) observer: Option<&'a mut dyn Observer>,
    pub(crate) sink: Option<&'a mut dyn TokenSink>,
    pub(crate) prompt_logits: PromptLogits,
    pub(crate) row_seeds: Option<&'a [u64]>,
}

/// Whether [`generate`](crate::generate) returns the logits of the prompts' last positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptLogits {
    /// They are not returned.
    #[default]
    Drop,
    /// They are returned in [`GenerationOutput::prompt_logits`](super::GenerationOutput::prompt_logits).
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
    /// Generates under a policy, without an observer or a receiver of tokens.
    pub fn new(policy: &'a mut dyn LayerPolicy) -> Self {
        Self {
            policy,
            observer: None,
            sink: None,
            prompt_logits: PromptLogits::Drop,
            row_seeds: None,
        }
    }

    /// Sets the observer of every pass.
    pub fn observer(mut self, observer: &'a mut dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the receiver of every token.
    pub fn sink(mut self, sink: &'a mut dyn TokenSink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// Sets the rows' random streams, so that draws do not depend on a row's place in its batch: row `i` draws from the
    /// stream of seed `seed + row_seeds[i]`.
    pub fn row_seeds(mut self, row_seeds: &'a [u64]) -> Self {
        self.row_seeds = Some(row_seeds);
        self
    }

    /// Sets whether the prompts' logits are returned.
    pub fn prompt_logits(mut self, prompt_logits: PromptLogits) -> Self {
        self.prompt_logits = prompt_logits;
        self
    }
}
