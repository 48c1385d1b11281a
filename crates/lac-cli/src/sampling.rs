//! The flags of how tokens are chosen.

use std::ops::Deref;

use anyhow::Result;
use clap::Args;
use lac_models::{ModelFolder, Tokenizer};
use lac_session::{SamplingRequest, stop_tokens_notice};

use crate::numbers::{number, whole};
use crate::output::tell;

/// How tokens are chosen.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// The most probable token each time. Without this and the flags below, the model's generation_config.json decides
    /// whether tokens are drawn; where it is silent, they are not
    #[arg(long, conflicts_with_all = ["temperature", "top_p", "top_k", "min_p"])]
    pub greedy: bool,
    /// Draw from the probabilities at this temperature (1, or that of generation_config.json)
    #[arg(long, value_name = "T", value_parser = number::<f32>)]
    pub temperature: Option<f32>,
    /// Draw; keep a token iff the probability mass before it is at most this
    #[arg(long, value_name = "P", value_parser = number::<f32>)]
    pub top_p: Option<f32>,
    /// Draw; keep this many of the most probable tokens
    #[arg(long, value_name = "K", value_parser = whole(1..=usize::MAX))]
    pub top_k: Option<usize>,
    /// Draw; keep a token iff it is at least this many times as probable as the most probable one
    #[arg(long, value_name = "P", value_parser = number::<f32>)]
    pub min_p: Option<f32>,
    /// Seed of the draws
    #[arg(long, default_value_t = 0, value_parser = whole(0..=u64::MAX))]
    pub seed: u64,
    /// Make tokens that the text holds already less probable, in greedy text too: above 1 (1, or that of
    /// generation_config.json)
    #[arg(long, value_name = "R", value_parser = number::<f32>)]
    pub repetition_penalty: Option<f32>,
    /// Never repeat a sequence of this many tokens; 0 allows every sequence (0, or that of generation_config.json)
    #[arg(long, value_name = "N", value_parser = whole(0..=usize::MAX))]
    pub no_repeat_ngram_size: Option<usize>,
    /// Take nothing from the model's generation_config.json but the tokens that end a text
    #[arg(long)]
    pub ignore_generation_config: bool,
}

/// How tokens are chosen, once the model's folder was read.
pub struct Choice(lac_session::Choice);

impl SamplingArgs {
    /// Returns the flags of `--greedy` alone.
    pub fn greedy() -> Self {
        Self {
            greedy: true,
            temperature: None,
            top_p: None,
            top_k: None,
            min_p: None,
            seed: 0,
            repetition_penalty: None,
            no_repeat_ngram_size: None,
            ignore_generation_config: false,
        }
    }

    /// Decides how a model's tokens are chosen.
    ///
    /// # Errors
    /// A flag out of its range; a `generation_config.json` that cannot be read.
    pub fn choose(&self, folder: &ModelFolder) -> Result<Choice> {
        let request = SamplingRequest {
            greedy: self.greedy,
            temperature: self.temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            seed: self.seed,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            ignore_generation_config: self.ignore_generation_config,
        };
        Ok(Choice(request.choose(folder)?))
    }
}

impl Deref for Choice {
    type Target = lac_session::Choice;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Choice {
    /// Says on stderr which of the folder's settings are not used, and where its files disagree on what ends a text.
    pub fn warn(&self, tokenizer: Option<&Tokenizer>) {
        self.notices(tokenizer).into_iter().for_each(tell);
    }
}

/// Says on stderr where the files of a folder disagree on what ends a text.
pub fn warn_stop_tokens(tokenizer: &Tokenizer) {
    stop_tokens_notice(tokenizer).into_iter().for_each(tell);
}
