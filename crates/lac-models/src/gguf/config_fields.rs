//! The fields of a `config.json`, put together from the keys of a GGUF file.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error::GgufError;
use super::metadata::{Metadata, MetadataArray, MetadataValue};
use crate::architecture::{ConfigError, ModelConfig};

/// Keys without an effect on what is computed, or with the one that the family has anyway.
const INERT: &[&str] = &["vocab_size", "tensor_data_layout", "rope.scaling.finetuned"];

/// Keys that have to say that nothing is done, and the numbers that say so.
const NEUTRAL: &[(&str, &[f64])] = &[
    ("expert_count", &[0.0]),
    ("expert_used_count", &[0.0]),
    ("expert_shared_count", &[0.0]),
    ("expert_weights_scale", &[0.0, 1.0]),
    // Softmax; 0 leaves it to the family.
    ("expert_gating_func", &[1.0, 0.0]),
    ("expert_group_count", &[0.0, 1.0]),
    ("attention.temperature_scale", &[0.0]),
    ("attention.scale", &[0.0]),
    ("attention.clamp_kqv", &[0.0]),
    ("attention.max_alibi_bias", &[0.0]),
    ("attn_logit_softcapping", &[0.0]),
    ("final_logit_softcapping", &[0.0]),
    ("logit_scale", &[0.0, 1.0]),
    ("embedding_scale", &[0.0, 1.0]),
    ("residual_scale", &[0.0, 1.0]),
    ("pooling_type", &[0.0]),
];

/// The fields of a `config.json`, as the metadata says them.
pub(super) struct ConfigFields<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) family: &'static str,
    pub(super) fields: Map<String, Value>,
    /// Fields, and the keys that stand for them.
    keys: Vec<(String, String)>,
    /// The keys of the family that were read.
    read: BTreeSet<String>,
}

impl<'a> ConfigFields<'a> {
    pub(super) fn new(metadata: &'a Metadata, family: &'static str) -> Self {
        Self {
            metadata,
            family,
            fields: Map::new(),
            keys: Vec::new(),
            read: BTreeSet::new(),
        }
    }

    pub(super) fn insert(&mut self, field: &str, value: Value) {
        self.fields.insert(field.to_owned(), value);
    }

    pub(super) fn stand_for(&mut self, key: &str, field: &str) {
        self.keys.push((field.to_owned(), key.to_owned()));
    }

    pub(super) fn stand_for_own(&mut self, key: &str, field: &str) {
        self.stand_for(&format!("{}.{key}", self.family), field);
    }

    /// Returns an integer; where a file has one for every layer, they have to be equal.
    pub(super) fn integer(&mut self, key: &str) -> Result<Option<u64>, GgufError> {
        let key = self.own(key);
        if let Some(MetadataValue::Array(values)) = self.metadata.get(&key) {
            let values = values.integers().unwrap_or_default();
            let first = values
                .first()
                .copied()
                .and_then(|first| u64::try_from(first).ok());
            let are_equal = values.windows(2).all(|pair| pair[0] == pair[1]);
            return match first.filter(|_| are_equal) {
                Some(first) => Ok(Some(first)),
                None => Err(self
                    .metadata
                    .invalid(&key, "one number for all layers, or the same for each")),
            };
        }
        self.metadata.integer(&key)
    }

    pub(super) fn number(&mut self, key: &str) -> Result<Option<f64>, GgufError> {
        let key = self.own(key);
        self.metadata.number(&key)
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, GgufError> {
        let key = self.own(key);
        self.metadata.flag(&key)
    }

    /// Returns an array of true and false; `None` for a value of another kind.
    pub(super) fn flags(&mut self, key: &str) -> Option<Vec<bool>> {
        let key = self.own(key);
        match self.metadata.get(&key) {
            Some(MetadataValue::Array(MetadataArray::Bool(values))) => Some(values.clone()),
            _ => None,
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, GgufError> {
        let key = self.own(key);
        Ok(self.metadata.text(&key)?.map(str::to_owned))
    }

    pub(super) fn missing(&self, key: &str, expected: &str) -> GgufError {
        self.metadata
            .missing(&format!("{}.{key}", self.family), expected)
    }

    pub(super) fn invalid(&self, key: &str, expected: &str) -> GgufError {
        self.metadata
            .invalid(&format!("{}.{key}", self.family), expected)
    }

    fn has_read(&self, key: &str) -> bool {
        self.read.contains(&format!("{}.{key}", self.family))
    }

    /// Returns the family's key and notes that it was read.
    fn own(&mut self, key: &str) -> String {
        let key = format!("{}.{key}", self.family);
        self.read.insert(key.clone());
        key
    }

    /// Returns the width of the residual stream over the number of heads.
    pub(super) fn quotient(&self) -> Option<u64> {
        self.size("hidden_size")?
            .checked_div(self.size("num_attention_heads")?)
    }

    /// Returns the width of a head.
    pub(super) fn head_dim(&self) -> Option<u64> {
        self.size("head_dim").or(self.quotient())
    }

    /// Returns the value of a field that is a size.
    pub(super) fn size(&self, field: &str) -> Option<u64> {
        self.fields.get(field).and_then(Value::as_u64)
    }

    /// Refuses rotary positions of a part of a head where the family does not know of parts.
    pub(super) fn check_rope_width(&mut self) -> Result<(), GgufError> {
        const KEY: &str = "rope.dimension_count";
        if self.has_read(KEY) {
            return Ok(());
        }
        match (self.integer(KEY)?, self.head_dim()) {
            (Some(rope_width), Some(head_dim)) if rope_width != head_dim => {
                let expected = format!(
                    "{head_dim}, the width of a head: rotary positions that leave out a part of it are not supported"
                );
                Err(self.invalid(KEY, &expected))
            }
            _ => Ok(()),
        }
    }

    /// Refuses keys that ask for what is not computed: those that the family has not read.
    pub(super) fn check_neutral(&mut self) -> Result<(), GgufError> {
        for (key, neutral) in NEUTRAL {
            if self.has_read(key) {
                continue;
            }
            if let Some(number) = self.number(key)?
                && !neutral.contains(&number)
            {
                return Err(self.invalid(key, &format!("{}: others are not supported", neutral[0])));
            }
        }
        let causal = self.own("attention.causal");
        if self.metadata.flag(&causal)? == Some(false) {
            return Err(self.invalid(
                "attention.causal",
                "true: texts are generated from left to right",
            ));
        }
        let parallel = self.own("use_parallel_residual");
        if self.metadata.flag(&parallel)? == Some(true) {
            return Err(self.invalid("use_parallel_residual", "false: true is not supported"));
        }
        for key in INERT {
            self.own(key);
        }
        Ok(())
    }

    /// Makes the configuration. Errors name the keys in the place of the fields.
    pub(super) fn model_config(self) -> Result<ModelConfig, GgufError> {
        let text = Value::Object(self.fields).to_string();
        let mut config = ModelConfig::from_json(&text, self.metadata.path())
            .map_err(|error| GgufError::Config(with_keys(error, &self.keys)))?;
        let prefix = format!("{}.", self.family);
        let unknown = self
            .metadata
            .keys()
            .filter(|key| key.starts_with(&prefix) && !self.read.contains(*key));
        config.unknown_fields = unknown.map(str::to_owned).collect();
        config.ignored_fields = config.unknown_fields.clone();
        Ok(config)
    }
}

/// Puts the keys in the place of the fields that an error names.
fn with_keys(error: ConfigError, keys: &[(String, String)]) -> ConfigError {
    let key_of = |field: String| {
        let mut keys = keys.iter();
        keys.find(|(other, _)| *other == field)
            .map_or(field, |(_, key)| key.clone())
    };
    let in_text = |text: String| {
        keys.iter()
            .filter(|(field, _)| field.contains('_'))
            .fold(text, |text, (field, key)| text.replace(field.as_str(), key))
    };
    match error {
        ConfigError::Missing {
            path,
            field,
            expected,
        } => ConfigError::Missing {
            path,
            field: key_of(field),
            expected,
        },
        ConfigError::Invalid {
            path,
            field,
            value,
            expected,
        } => ConfigError::Invalid {
            path,
            field: key_of(field),
            value,
            expected: in_text(expected),
        },
        ConfigError::Unsupported {
            path,
            field,
            value,
            supported,
        } => ConfigError::Unsupported {
            path,
            field: key_of(field),
            value,
            supported: in_text(supported),
        },
        ConfigError::Several { problems } => ConfigError::Several {
            problems: problems
                .into_iter()
                .map(|problem| with_keys(problem, keys))
                .collect(),
        },
        other => other,
    }
}
