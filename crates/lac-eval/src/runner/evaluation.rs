//! The input of a run.

use std::fmt;

use lac_core::text_model::TextModel;

use crate::benchmark::spec::StoredTexts;
use crate::prompt_settings::PromptSettings;
use crate::request::Request;

/// The questions of a run, and how they are asked.
pub struct Evaluation<'a> {
    /// The questions.
    pub requests: &'a [Request],
    /// The settings that the questions were made with, and that answers are generated with.
    pub prompt: &'a PromptSettings,
    /// The model's tokenizer.
    pub text: &'a dyn TextModel,
    /// Settings that results do not depend on.
    pub config: RunConfig,
}

impl fmt::Debug for Evaluation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Evaluation")
            .field("n_requests", &self.requests.len())
            .field("prompt", self.prompt)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// The settings of a run that its results do not depend on.
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
