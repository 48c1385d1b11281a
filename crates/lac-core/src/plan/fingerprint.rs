//! The fingerprint of a model, by which plans, results and traces know it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Everything about a model that decides its results. Plans, results and traces record it, and are refused for a model
/// with another one. The caller supplies it: this crate opens no files.
///
/// The parts are kept apart, so that a refusal can say what differs. A hash is written as its function's name, a colon and
/// hexadecimal digits. A model without a part, such as a tokenizer, leaves it out.
///
/// ```
/// use lac_core::plan::ModelFingerprint;
///
/// let recorded = ModelFingerprint {
///     architecture: "qwen2".to_owned(),
///     n_layers: 4,
///     hidden_size: 16,
///     vocab_size: 64,
///     weights: "blake3:12ab".to_owned(),
///     ..ModelFingerprint::default()
/// };
/// let present = ModelFingerprint {
///     weights: "blake3:ffff".to_owned(),
///     ..recorded.clone()
/// };
/// assert_eq!(
///     recorded.differences(&present)[0].to_string(),
///     "its weights are blake3:12ab, this model's are blake3:ffff"
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelFingerprint {
    /// The family, for instance the checkpoint's `model_type`.
    pub architecture: String,
    /// Number of layers.
    pub n_layers: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Number of tokens of the vocabulary.
    pub vocab_size: usize,
    /// A hash of all weights, or what the weights were made from.
    pub weights: String,
    /// A hash of the settings that the layers compute with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// A hash of everything that turns text into token ids and back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// A hash of the chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// The token ids that end a text, ascending, if the model names them itself; empty if its tokenizer does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_tokens: Vec<u32>,
}

/// A part in which two fingerprints differ.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FingerprintDifference {
    /// The part.
    pub part: FingerprintPart,
    /// Its value as it was recorded.
    pub recorded: String,
    /// Its value in the model at hand.
    pub present: String,
}

/// The parts of a [`ModelFingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FingerprintPart {
    /// [`ModelFingerprint::architecture`].
    Architecture,
    /// [`ModelFingerprint::n_layers`].
    NLayers,
    /// [`ModelFingerprint::hidden_size`].
    HiddenSize,
    /// [`ModelFingerprint::vocab_size`].
    VocabSize,
    /// [`ModelFingerprint::weights`].
    Weights,
    /// [`ModelFingerprint::config`].
    Config,
    /// [`ModelFingerprint::tokenizer`].
    Tokenizer,
    /// [`ModelFingerprint::chat_template`].
    ChatTemplate,
    /// [`ModelFingerprint::stop_tokens`].
    StopTokens,
}

impl FingerprintPart {
    /// Every part, in the order in which differences are reported.
    pub const ALL: [Self; 9] = [
        Self::Architecture,
        Self::NLayers,
        Self::HiddenSize,
        Self::VocabSize,
        Self::Config,
        Self::Weights,
        Self::Tokenizer,
        Self::ChatTemplate,
        Self::StopTokens,
    ];

    /// Returns the part in words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Architecture => "architecture",
            Self::NLayers => "number of layers",
            Self::HiddenSize => "hidden size",
            Self::VocabSize => "vocabulary size",
            Self::Weights => "weights",
            Self::Config => "configuration",
            Self::Tokenizer => "tokenizer",
            Self::ChatTemplate => "chat template",
            Self::StopTokens => "stop tokens",
        }
    }
}

impl ModelFingerprint {
    /// Returns the value of a part, in one line.
    pub fn part(&self, part: FingerprintPart) -> String {
        let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        match part {
            FingerprintPart::Architecture => self.architecture.clone(),
            FingerprintPart::NLayers => self.n_layers.to_string(),
            FingerprintPart::HiddenSize => self.hidden_size.to_string(),
            FingerprintPart::VocabSize => self.vocab_size.to_string(),
            FingerprintPart::Weights => self.weights.clone(),
            FingerprintPart::Config => or_none(&self.config),
            FingerprintPart::Tokenizer => or_none(&self.tokenizer),
            FingerprintPart::ChatTemplate => or_none(&self.chat_template),
            FingerprintPart::StopTokens if self.stop_tokens.is_empty() => {
                "the tokenizer's".to_owned()
            }
            FingerprintPart::StopTokens => {
                let ids: Vec<String> = self.stop_tokens.iter().map(u32::to_string).collect();
                ids.join(", ")
            }
        }
    }

    /// Returns every part in which the model at hand differs from this, the recorded one.
    pub fn differences(&self, present: &Self) -> Vec<FingerprintDifference> {
        let differing = |&part: &FingerprintPart| self.part(part) != present.part(part);
        FingerprintPart::ALL
            .into_iter()
            .filter(differing)
            .map(|part| FingerprintDifference {
                part,
                recorded: self.part(part),
                present: present.part(part),
            })
            .collect()
    }

    /// Returns whether the weights were recorded by the sample that earlier versions took of them, which misses changes
    /// between the places that it reads.
    pub fn is_sampled(&self) -> bool {
        self.weights.starts_with("sha256-sample:")
    }
}

/// Writes every part that is a hash, by its first twelve digits: enough to tell models apart by eye.
impl fmt::Display for ModelFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = [
            FingerprintPart::Weights,
            FingerprintPart::Config,
            FingerprintPart::Tokenizer,
            FingerprintPart::ChatTemplate,
            FingerprintPart::StopTokens,
        ];
        for (idx, part) in shown.into_iter().enumerate() {
            let separator = if idx == 0 { "" } else { ", " };
            write!(
                f,
                "{separator}{} {}",
                part.name(),
                shortened(&self.part(part))
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for FingerprintDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            part,
            recorded,
            present,
        } = self;
        let verb = match part {
            FingerprintPart::Weights | FingerprintPart::StopTokens => "are",
            _ => "is",
        };
        let name = part.name();
        write!(
            f,
            "its {name} {verb} {recorded}, this model's {verb} {present}"
        )
    }
}

/// The first digits of a hash; any other text as it is.
fn shortened(value: &str) -> &str {
    const N_DIGITS: usize = 12;
    match value.split_once(':') {
        Some((_, digits)) => digits.get(..N_DIGITS).unwrap_or(digits),
        None => value,
    }
}
