//! From a Hugging Face `config.json` to a [`DecoderConfig`]: one file per architecture, with what is peculiar to it.

mod error;
mod fields;
mod llama;
mod mistral;
mod qwen2;

use std::path::Path;

use serde_json::Value;

use crate::decoder::DecoderConfig;
use crate::file::{self, excerpt};
pub use error::ConfigError;
use error::MAX_PARAMETERS;
use fields::Fields;

/// The families of checkpoints that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// Llama 2, 3, 3.1, 3.2 and their relatives.
    Llama,
    /// Mistral 7B and its relatives.
    Mistral,
    /// Qwen2 and Qwen2.5.
    Qwen2,
}

impl Architecture {
    /// Returns the name in `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Architecture::Llama => "llama",
            Architecture::Mistral => "mistral",
            Architecture::Qwen2 => "qwen2",
        }
    }

    /// Returns the name in `architectures`.
    fn class_name(self) -> &'static str {
        match self {
            Architecture::Llama => "LlamaForCausalLM",
            Architecture::Mistral => "MistralForCausalLM",
            Architecture::Qwen2 => "Qwen2ForCausalLM",
        }
    }

    const ALL: [Architecture; 3] = [
        Architecture::Llama,
        Architecture::Mistral,
        Architecture::Qwen2,
    ];
}

/// The contents of a `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Sizes and choices.
    pub decoder: DecoderConfig,
    /// The data type the checkpoint was saved in, as the file names it.
    pub saved_dtype: Option<String>,
    /// Tokens that end a text.
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// # Errors
    /// A field is missing or impossible, or would change the result and is not supported. An unknown field is taken to
    /// change the result unless it is null, false or begins with `_`.
    pub fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let text = file::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        Self::from_json(&text, path)
    }

    /// Reads the text of a `config.json`. Errors name `path`.
    ///
    /// # Errors
    /// Those of [`ModelConfig::from_file`].
    pub fn from_json(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let malformed = |reason: String| ConfigError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let object = match serde_json::from_str(text) {
            Ok(Value::Object(object)) => object,
            Ok(_) => return Err(malformed("it holds another kind of value".to_owned())),
            Err(error) => return Err(malformed(excerpt(&error.to_string()))),
        };
        let mut fields = Fields::new(object, path);
        let architecture = architecture(&mut fields)?;
        let decoder = match architecture {
            Architecture::Llama => llama::decoder_config(&mut fields)?,
            Architecture::Mistral => mistral::decoder_config(&mut fields)?,
            Architecture::Qwen2 => qwen2::decoder_config(&mut fields)?,
        };
        let n_parameters = decoder.n_parameters();
        if n_parameters > MAX_PARAMETERS {
            return Err(ConfigError::TooLarge {
                path: path.to_owned(),
                fields: "vocab_size, hidden_size, intermediate_size, num_hidden_layers, \
                         num_attention_heads and head_dim",
                n_parameters,
            });
        }
        let saved_dtype = fields.text("torch_dtype")?.or(fields.text("dtype")?);
        let eos_token_ids = fields.token_ids("eos_token_id")?;
        fields.finish()?;
        Ok(Self {
            architecture,
            decoder,
            saved_dtype,
            eos_token_ids,
        })
    }
}

fn architecture(fields: &mut Fields<'_>) -> Result<Architecture, ConfigError> {
    let supported = "llama, mistral and qwen2 are";
    let model_type = fields.text("model_type")?;
    let Some(model_type) = model_type else {
        return Err(fields.missing("model_type", "llama, mistral or qwen2"));
    };
    let architecture = Architecture::ALL
        .into_iter()
        .find(|architecture| architecture.model_type() == model_type)
        .ok_or_else(|| fields.unsupported("model_type", &model_type, supported))?;
    if let Some(classes) = fields.take("architectures") {
        let expected = architecture.class_name();
        let names_it = classes
            .as_array()
            .is_some_and(|classes| classes.iter().any(|class| class == expected));
        if !names_it {
            return Err(fields.unsupported("architectures", &classes, &format!("{expected} is")));
        }
    }
    Ok(architecture)
}
