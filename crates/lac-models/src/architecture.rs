//! From a Hugging Face `config.json` to a [`DecoderConfig`]: one file per architecture, with what is peculiar to it.

mod error;
mod experts;
mod family;
mod fields;
mod gemma2;
mod gemma3;
mod granite;
mod known_fields;
mod list;
mod llama;
mod ministral;
mod ministral3;
mod mistral;
mod mixtral;
mod olmo2;
mod olmo3;
mod phi3;
mod quantization;
mod qwen2;
mod qwen2_moe;
mod qwen3;
mod qwen3_moe;
mod rope;
mod scaling;
mod shared;
mod smollm3;

use std::path::Path;

use serde_json::Value;

use crate::checkpoint::WeightDtype;
use crate::decoder::DecoderConfig;
use crate::file::{self, excerpt};
pub use error::ConfigError;
use fields::Fields;
use known_fields::{Meaning, Sizes};
pub use list::Architecture;

/// The contents of a `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Sizes and choices.
    pub decoder: DecoderConfig,
    /// The data type the checkpoint was saved in, as the file names it, without `torch.`.
    pub saved_dtype: Option<String>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
    /// Fields that decide nothing, in the order of their names; those of objects as `rope_scaling.finetuned`.
    pub ignored_fields: Vec<String>,
    /// Those of them of which nothing is known. They may ask for something that is not computed.
    pub unknown_fields: Vec<String>,
}

/// A `config.json` with all that is wrong with it.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConfigReport {
    /// The configuration, as far as it can be told. With `problems` beside it no model is to be made of it.
    pub config: Option<ModelConfig>,
    /// Why the file cannot be used.
    pub problems: Vec<ConfigError>,
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// A field is read, or it is known to change no result, or it is known to change results and an error, or it is in
    /// [`unknown_fields`](Self::unknown_fields). Absent fields and fields that are null mean what they mean to the
    /// model's class in transformers.
    ///
    /// # Errors
    /// A field is missing or impossible, or would change the result and is not supported.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        Self::from_json(&read(path)?, path)
    }

    /// Reads the text of a `config.json`. Errors name `path`.
    ///
    /// # Errors
    /// Those of [`ModelConfig::from_file`].
    pub fn from_json(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let report = ConfigReport::of_json(text, path);
        match (ConfigError::of(report.problems), report.config) {
            (None, Some(config)) => Ok(config),
            (Some(error), _) => Err(error),
            // A file without a configuration has a problem.
            (None, None) => Err(malformed(path, "it holds no configuration".to_owned())),
        }
    }

    /// Returns the data type that the checkpoint was saved in, as `dtype` or `torch_dtype` names it; `None` where they
    /// name none that can be computed in. float64 counts as f32.
    pub fn weight_dtype(&self) -> Option<WeightDtype> {
        match self.saved_dtype.as_deref()? {
            "float32" | "float" | "float64" | "double" => Some(WeightDtype::F32),
            "float16" | "half" => Some(WeightDtype::F16),
            "bfloat16" => Some(WeightDtype::Bf16),
            _ => None,
        }
    }

    /// Checks that every field is known. Errors name `path`.
    ///
    /// # Errors
    /// [`ConfigError::UnknownFields`].
    pub fn check_fields_are_known(&self, path: &Path) -> Result<(), ConfigError> {
        if self.unknown_fields.is_empty() {
            return Ok(());
        }
        Err(ConfigError::UnknownFields {
            path: path.to_owned(),
            fields: self.unknown_fields.clone(),
        })
    }

    /// Returns a sentence that names all unknown fields, or `None` where there are none. A
    /// program that loads the model shows it to its user.
    pub fn warning(&self) -> Option<String> {
        if self.unknown_fields.is_empty() {
            return None;
        }
        Some(format!(
            "nothing is known of these fields of config.json, which are passed over: {}",
            error::excerpts(&self.unknown_fields)
        ))
    }
}

impl ConfigReport {
    /// Reads a `config.json`, and goes on where a field cannot be used.
    pub fn of_file(path: &Path) -> Self {
        match read(path) {
            Ok(text) => Self::of_json(&text, path),
            Err(error) => Self::failed(error),
        }
    }

    /// Reads the text of a `config.json`, and goes on where a field cannot be used. Errors name `path`.
    pub fn of_json(text: &str, path: &Path) -> Self {
        let object = match serde_json::from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
            Ok(Value::Object(object)) => object,
            Ok(_) => {
                let reason = "it holds another kind of value".to_owned();
                return Self::failed(malformed(path, reason));
            }
            Err(error) => return Self::failed(malformed(path, excerpt(&error.to_string()))),
        };
        let mut fields = Fields::new(object, path);
        let Some(architecture) = list::architecture(&mut fields) else {
            return Self {
                config: None,
                problems: fields.into_findings().problems,
            };
        };
        let family = architecture.family();
        let decoder = (family.decoder_config)(&mut fields);
        shared::check_size(&mut fields, &decoder);
        let class_eos = family.eos_token_id.map(|id| vec![id]);
        let eos_token_ids = fields.token_ids("eos_token_id").or(class_eos, None);
        let saved_dtype = saved_dtype(&mut fields);
        for field in ["quantization_config", "quantization", "compression_config"] {
            let value = fields.take(field);
            match value.as_ref().and_then(quantization::describe) {
                Some(found) => fields.quantized(field, &found.method, found.instead),
                None if value.is_some() => fields.ignore(field),
                None => {}
            }
        }
        pass_over_the_rest(&mut fields, &decoder);
        let findings = fields.into_findings();
        Self {
            config: Some(ModelConfig {
                architecture,
                decoder,
                saved_dtype,
                eos_token_ids: eos_token_ids.unwrap_or_default(),
                ignored_fields: findings.ignored,
                unknown_fields: findings.unknown,
            }),
            problems: findings.problems,
        }
    }

    fn failed(problem: ConfigError) -> Self {
        Self {
            config: None,
            problems: vec![problem],
        }
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    file::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })
}

fn malformed(path: &Path, reason: String) -> ConfigError {
    ConfigError::Malformed {
        path: path.to_owned(),
        reason,
    }
}

/// Takes the data type that the checkpoint was saved in. Newer files call it `dtype`, and that one counts where both
/// are there.
fn saved_dtype(fields: &mut Fields<'_>) -> Option<String> {
    let older = fields.text("torch_dtype").or(None, None);
    let newer = fields.text("dtype").or(None, None);
    let name = newer.or(older)?;
    Some(name.strip_prefix("torch.").unwrap_or(&name).to_owned())
}

/// Decides on the fields that no reader took.
fn pass_over_the_rest(fields: &mut Fields<'_>, decoder: &DecoderConfig) {
    let sizes = Sizes {
        hidden_size: decoder.hidden_size,
        head_dim: decoder.head_dim,
    };
    for (field, value) in fields.take_left() {
        match known_fields::meaning(&field, &value, sizes) {
            Meaning::Inert => fields.ignore(&field),
            Meaning::Unknown => fields.ignore_unknown(&field),
            Meaning::Unsupported(supported) => fields.unsupported(&field, &value, supported),
        }
    }
}
