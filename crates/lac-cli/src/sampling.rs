//! How tokens are chosen: the user's flags, and what the model's folder says where they are silent.

use anyhow::{Result, ensure};
use clap::Args;
use lac_core::GenerationConfig;
use lac_core::generation::{LogitsProcessors, Sampling, SamplingConfig};
use lac_models::ModelFolder;
use lac_models::Tokenizer;
use lac_models::generation_defaults::GenerationDefaults;

use crate::numbers::{number, whole};
use crate::output::warn_user;

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
pub struct Choice {
    pub sampling: Sampling,
    pub processors: LogitsProcessors,
    /// Settings of the folder that are not supported.
    not_used: Vec<String>,
    /// Whether the folder decided any of it.
    of_folder: bool,
}

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

impl SamplingArgs {
    /// Finds flags out of their range.
    fn check(&self) -> Result<()> {
        if let Some(temperature) = self.temperature {
            ensure!(
                temperature.is_finite() && temperature > 0.0,
                "--temperature {temperature}: expected a number above 0 (--greedy takes the most probable token)"
            );
        }
        for (flag, share) in [("--top-p", self.top_p), ("--min-p", self.min_p)] {
            if let Some(share) = share {
                ensure!(
                    (0.0..=1.0).contains(&share),
                    "{flag} {share}: expected a number from 0 to 1"
                );
            }
        }
        if let Some(penalty) = self.repetition_penalty {
            ensure!(
                penalty.is_finite() && penalty > 0.0,
                "--repetition-penalty {penalty}: expected a number above 0 (1 changes nothing)"
            );
        }
        Ok(())
    }
}

impl Choice {
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

    pub fn generation(&self, max_new_tokens: usize, stop_tokens: &[u32]) -> GenerationConfig {
        GenerationConfig::greedy(max_new_tokens)
            .with_sampling(self.sampling.clone())
            .with_processors(self.processors.clone())
            .with_stop_tokens(stop_tokens)
    }

    /// Says on stderr which of the folder's settings are not used, and where its files disagree on what ends a text.
    pub fn warn(&self, tokenizer: Option<&Tokenizer>) {
        if !self.not_used.is_empty() {
            warn_user!(
                "generation_config.json: not used: {}",
                self.not_used.join(", ")
            );
        }
        if let Some(tokenizer) = tokenizer {
            warn_stop_tokens(tokenizer);
        }
    }
}

/// Says on stderr where the files of a folder disagree on what ends a text.
pub fn warn_stop_tokens(tokenizer: &Tokenizer) {
    let name = |id| tokenizer.id_to_piece(id).unwrap_or_else(|| "?".to_owned());
    if let Some(disagreement) = tokenizer.stop_tokens().disagreement(name) {
        warn_user!("{disagreement}");
    }
}

/// Returns a share as it was written: 0.9 and not 0.8999999761581421.
fn short(share: f32) -> f64 {
    share.to_string().parse().unwrap_or(f64::from(share))
}
