//! How tokens are chosen: what the user asks for, and what the model's folder says where the user is silent.

use lac_core::GenerationConfig;
use lac_core::generation::{LogitsProcessors, Sampling, SamplingConfig};
use lac_models::generation_defaults::GenerationDefaults;
use lac_models::{ModelFolder, Tokenizer};

use crate::error::SessionError;
use crate::notice::Notice;

/// How a user wants tokens to be chosen. Where a field is `None`, the model's `generation_config.json` decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplingRequest {
    /// Whether the most probable token is taken each time. Otherwise, and where none of the next four is set, the folder
    /// decides whether tokens are drawn.
    pub greedy: bool,
    /// Draw from the probabilities at this temperature (1, or that of the folder).
    pub temperature: Option<f32>,
    /// Draw; keep a token iff the probability mass before it is at most this.
    pub top_p: Option<f32>,
    /// Draw; keep this many of the most probable tokens.
    pub top_k: Option<usize>,
    /// Draw; keep a token iff it is at least this many times as probable as the most probable one.
    pub min_p: Option<f32>,
    /// Seed of the draws.
    pub seed: u64,
    /// Above 1: tokens that the text holds already are less probable, in greedy text too.
    pub repetition_penalty: Option<f32>,
    /// No sequence of this many tokens is repeated; 0 allows every sequence.
    pub no_repeat_ngram_size: Option<usize>,
    /// Whether nothing is taken from the folder but the tokens that end a text.
    pub ignore_generation_config: bool,
}

/// How tokens are chosen, once the model's folder was read.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Choice {
    /// How a token is chosen.
    pub sampling: Sampling,
    /// What changes the logits before.
    pub processors: LogitsProcessors,
    /// Settings of the folder that are not supported.
    not_used: Vec<String>,
    /// Whether the folder decided any of it.
    of_folder: bool,
}

impl SamplingRequest {
    /// Decides how a model's tokens are chosen.
    ///
    /// # Errors
    /// [`SessionError::Setting`] for a setting out of its range; a `generation_config.json` that cannot be read.
    pub fn choose(&self, folder: &ModelFolder) -> Result<Choice, SessionError> {
        self.check()?;
        let defaults = if self.ignore_generation_config {
            GenerationDefaults::default()
        } else {
            folder.generation_defaults()?
        };
        let draws = defaults.draws;
        let is_asked = self.temperature.is_some()
            || self.top_p.is_some()
            || self.top_k.is_some()
            || self.min_p.is_some();
        let sampling = match &defaults.sampling {
            _ if self.greedy => Sampling::Greedy,
            None if !is_asked => Sampling::Greedy,
            _ => {
                // A folder that does not ask for draws may have a temperature of 0.
                let of_file = draws.temperature.filter(|temperature| *temperature > 0.0);
                let temperature = self.temperature.or(of_file).unwrap_or(1.0);
                Sampling::Random(
                    SamplingConfig::new(temperature, self.seed)
                        .with_top_k(self.top_k.or(draws.top_k))
                        .with_top_p(self.top_p.or(draws.top_p))
                        .with_min_p(self.min_p.or(draws.min_p)),
                )
            }
        };
        let mut processors = defaults.processors.clone();
        if let Some(penalty) = self.repetition_penalty {
            processors.repetition_penalty = penalty;
        }
        if let Some(size) = self.no_repeat_ngram_size {
            processors.no_repeat_ngram_size = size;
        }
        let draws_of_folder =
            matches!(sampling, Sampling::Random(_)) && (!is_asked || draws != Default::default());
        Ok(Choice {
            of_folder: draws_of_folder || !defaults.processors.is_neutral(),
            sampling,
            processors,
            not_used: defaults.not_used,
        })
    }
}

impl SamplingRequest {
    /// Finds settings out of their range.
    fn check(&self) -> Result<(), SessionError> {
        let refuse = |flag, value: &dyn ToString, expected| {
            let value = value.to_string();
            Err(SessionError::Setting {
                flag,
                value,
                expected,
            })
        };
        if let Some(temperature) = self.temperature
            && !(temperature.is_finite() && temperature > 0.0)
        {
            let expected = "a number above 0 (--greedy takes the most probable token)";
            return refuse("--temperature", &temperature, expected);
        }
        for (flag, share) in [("--top-p", self.top_p), ("--min-p", self.min_p)] {
            if let Some(share) = share
                && !(0.0..=1.0).contains(&share)
            {
                return refuse(flag, &share, "a number from 0 to 1");
            }
        }
        if let Some(0) = self.top_k {
            return refuse("--top-k", &0, "a number of tokens, at least 1");
        }
        if let Some(penalty) = self.repetition_penalty
            && !(penalty.is_finite() && penalty > 0.0)
        {
            let expected = "a number above 0 (1 changes nothing)";
            return refuse("--repetition-penalty", &penalty, expected);
        }
        Ok(())
    }
}

impl Choice {
    /// Returns whether the most probable token is taken each time.
    pub fn is_greedy(&self) -> bool {
        self.sampling == Sampling::Greedy
    }

    /// Returns the seed of the draws, where tokens are drawn.
    pub fn seed(&self) -> Option<u64> {
        match &self.sampling {
            Sampling::Random(config) => Some(config.seed),
            _ => None,
        }
    }

    /// Returns how tokens are chosen, in words.
    pub fn describe(&self) -> String {
        let mut words = match &self.sampling {
            Sampling::Random(config) => {
                let mut words = format!("temperature {}", config.temperature);
                let top_k = config.top_k.map(|top_k| top_k as f64);
                let bounds = [
                    ("top-p", config.top_p.map(short)),
                    ("top-k", top_k),
                    ("min-p", config.min_p.map(short)),
                ];
                for (name, bound) in bounds {
                    if let Some(bound) = bound {
                        words.push_str(&format!(", {name} {bound}"));
                    }
                }
                words
            }
            _ => "greedy".to_owned(),
        };
        let neutral = LogitsProcessors::default();
        let processors = &self.processors;
        let n_forbidden = processors.bad_words.len()
            + processors.suppressed.len()
            + processors.suppressed_at_begin.len();
        let settings = [
            (
                processors.repetition_penalty != neutral.repetition_penalty,
                format!("repetition penalty {}", processors.repetition_penalty),
            ),
            (
                processors.no_repeat_ngram_size > 0,
                format!("no repeated {}-gram", processors.no_repeat_ngram_size),
            ),
            (
                processors.min_new_tokens > 0,
                format!("at least {} new tokens", processors.min_new_tokens),
            ),
            (n_forbidden > 0, format!("{n_forbidden} forbidden")),
        ];
        for (_, text) in settings.iter().filter(|(is_set, _)| *is_set) {
            words.push_str(", ");
            words.push_str(text);
        }
        words
    }

    /// Returns whether the model's folder decided any of it.
    pub fn is_of_folder(&self) -> bool {
        self.of_folder
    }

    /// Returns the settings of a generation.
    pub fn generation(&self, max_new_tokens: usize, stop_tokens: &[u32]) -> GenerationConfig {
        GenerationConfig::greedy(max_new_tokens)
            .with_sampling(self.sampling.clone())
            .with_processors(self.processors.clone())
            .with_stop_tokens(stop_tokens)
    }

    /// Returns what a user should hear of: which of the folder's settings are not used, and where its files disagree on
    /// what ends a text.
    pub fn notices(&self, tokenizer: Option<&Tokenizer>) -> Vec<Notice> {
        let not_used = (!self.not_used.is_empty()).then(|| {
            let settings = self.not_used.join(", ");
            Notice::Warning(format!("generation_config.json: not used: {settings}"))
        });
        let disagreement = tokenizer.and_then(stop_tokens_notice);
        not_used.into_iter().chain(disagreement).collect()
    }
}

/// Returns what a user should hear of where the files of a folder disagree on what ends a text.
pub fn stop_tokens_notice(tokenizer: &Tokenizer) -> Option<Notice> {
    let name = |id| tokenizer.id_to_piece(id).unwrap_or_else(|| "?".to_owned());
    let disagreement = tokenizer.stop_tokens().disagreement(name)?;
    Some(Notice::Warning(disagreement))
}

/// Returns a share as it was written: 0.9 and not 0.8999999761581421.
fn short(share: f32) -> f64 {
    share.to_string().parse().unwrap_or(f64::from(share))
}
