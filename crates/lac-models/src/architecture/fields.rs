//! A `config.json` read field by field: every field is used, known to be harmless, or an error. A field that is null or
//! false, or begins with `_`, is taken to be harmless.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::ConfigError;
use crate::decoder::{DecoderConfig, HeadKind, ProjectionBias, RopeConfig, RopeScaling};
use crate::file::excerpt;

/// The fields that have not been used yet.
pub(super) struct Fields<'a> {
    left: Map<String, Value>,
    path: &'a Path,
    /// Written before a field's name in errors: `rope_scaling.` inside that object.
    prefix: &'static str,
}

/// Fields that do not change what the layers compute when generating text.
const HARMLESS: &[&str] = &[
    // Training only.
    "attention_dropout",
    "hidden_dropout",
    "initializer_range",
    "pretraining_tp",
    "use_cache",
    // Where the file comes from.
    "name_or_path",
    "transformers_version",
    "torchscript",
    "tokenizer_class",
    "auto_map",
    "model_name",
    "unsloth_version",
    "unsloth_fixed",
    // Special tokens, which the tokenizer and generation_config.json decide.
    "bos_token_id",
    "pad_token_id",
    "sep_token_id",
    "cls_token_id",
    "unk_token_id",
    "decoder_start_token_id",
    // Fields that every configuration of the transformers library may have.
    "return_dict",
    "output_hidden_states",
    "output_attentions",
    "use_bfloat16",
    "tf_legacy_loss",
    "pruned_heads",
    "chunk_size_feed_forward",
    "finetuning_task",
    "id2label",
    "label2id",
    "task_specific_params",
    "problem_type",
    "prefix",
    "max_length",
    "min_length",
    "do_sample",
    "early_stopping",
    "num_beams",
    "num_beam_groups",
    "diversity_penalty",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    "repetition_penalty",
    "length_penalty",
    "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size",
    "num_return_sequences",
    "output_scores",
    "return_dict_in_generate",
    "remove_invalid_values",
];

impl<'a> Fields<'a> {
    pub(super) fn new(object: Map<String, Value>, path: &'a Path) -> Self {
        Self {
            left: object,
            path,
            prefix: "",
        }
    }

    /// Takes a field; null counts as absent.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    pub(super) fn missing(&self, field: &str, expected: &'static str) -> ConfigError {
        ConfigError::Missing {
            path: self.path.to_owned(),
            field: format!("{}{field}", self.prefix),
            expected,
        }
    }

    pub(super) fn invalid(
        &self,
        field: &str,
        value: &impl ToString,
        expected: &str,
    ) -> ConfigError {
        ConfigError::Invalid {
            path: self.path.to_owned(),
            field: format!("{}{}", self.prefix, excerpt(field)),
            value: excerpt(&value.to_string()),
            expected: expected.to_owned(),
        }
    }

    pub(super) fn unsupported(
        &self,
        field: &str,
        value: &impl ToString,
        supported: &str,
    ) -> ConfigError {
        ConfigError::Unsupported {
            path: self.path.to_owned(),
            field: format!("{}{}", self.prefix, excerpt(field)),
            value: excerpt(&value.to_string()),
            supported: supported.to_owned(),
        }
    }

    pub(super) fn text(&mut self, field: &str) -> Result<Option<String>, ConfigError> {
        match self.take(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.invalid(field, &other, "a string")),
        }
    }

    pub(super) fn flag(&mut self, field: &str, default: bool) -> Result<bool, ConfigError> {
        match self.take(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.invalid(field, &other, "true or false")),
        }
    }

    /// Takes a number above 0.
    pub(super) fn positive(&mut self, field: &str) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
            _ => Err(self.invalid(field, &value, "a number above 0")),
        }
    }

    /// Takes a count from 1 to 2³¹ − 1.
    pub(super) fn count(&mut self, field: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.take(field) else {
            return Ok(None);
        };
        match value.as_u64() {
            Some(count) if (1..1 << 31).contains(&count) => Ok(Some(count as usize)),
            _ => Err(self.invalid(field, &value, "a whole number from 1 to 2147483647")),
        }
    }

    pub(super) fn required_count(&mut self, field: &str) -> Result<usize, ConfigError> {
        match self.count(field)? {
            Some(count) => Ok(count),
            None => Err(self.missing(field, "a whole number above 0")),
        }
    }

    /// Takes one token id or a list of them.
    pub(super) fn token_ids(&mut self, field: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.take(field) else {
            return Ok(Vec::new());
        };
        let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let ids = match &value {
            Value::Array(values) => values.iter().map(one).collect(),
            value => one(value).map(|id| vec![id]),
        };
        ids.ok_or_else(|| self.invalid(field, &value, "a token id or a list of token ids"))
    }

    /// Checks that no field is left that could change the result.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        for (field, value) in &self.left {
            let is_neutral = value.is_null() || value == &Value::Bool(false);
            if is_neutral || field.starts_with('_') || HARMLESS.contains(&field.as_str()) {
                continue;
            }
            return Err(self.unsupported(
                field,
                value,
                "an unknown field may change the result; remove it if it does not",
            ));
        }
        Ok(())
    }
}

/// A family's values for fields that the file does not have.
pub(super) struct Defaults {
    pub(super) n_kv_heads: Option<usize>,
    pub(super) max_position_embeddings: usize,
}

/// Reads what all families share. There are no biases and no window; the caller may change that.
pub(super) fn shared_config(
    fields: &mut Fields<'_>,
    defaults: Defaults,
) -> Result<DecoderConfig, ConfigError> {
    let hidden_act = fields.text("hidden_act")?;
    if let Some(activation) = hidden_act.filter(|activation| activation != "silu") {
        return Err(fields.unsupported("hidden_act", &activation, "silu is"));
    }
    let hidden_size = fields.required_count("hidden_size")?;
    let n_heads = fields.required_count("num_attention_heads")?;
    let head_dim = match fields.count("head_dim")? {
        Some(head_dim) => head_dim,
        None if hidden_size.is_multiple_of(n_heads) => hidden_size / n_heads,
        None => {
            let expected = format!("a divisor of hidden_size {hidden_size}, or head_dim beside it");
            return Err(fields.invalid("num_attention_heads", &n_heads, &expected));
        }
    };
    if !head_dim.is_multiple_of(2) {
        return Err(fields.invalid("head_dim", &head_dim, "an even number"));
    }
    let n_kv_heads = fields
        .count("num_key_value_heads")?
        .or(defaults.n_kv_heads)
        .unwrap_or(n_heads);
    if !n_heads.is_multiple_of(n_kv_heads) {
        let expected = format!("a divisor of num_attention_heads {n_heads}");
        return Err(fields.invalid("num_key_value_heads", &n_kv_heads, &expected));
    }
    let max_position_embeddings = fields
        .count("max_position_embeddings")?
        .unwrap_or(defaults.max_position_embeddings);
    let head = if fields.flag("tie_word_embeddings", false)? {
        HeadKind::Tied
    } else {
        HeadKind::Untied
    };
    let rope = rope_config(fields, max_position_embeddings)?;
    if !rope.has_finite_angles(head_dim, max_position_embeddings) {
        let expected = "a base and factors that give finite angles: a base of 1 or more, factors not \
                        next to 0";
        return Err(fields.invalid("rope_theta", &format!("{rope:?}"), expected));
    }
    Ok(DecoderConfig {
        vocab_size: fields.required_count("vocab_size")?,
        hidden_size,
        intermediate_size: fields.required_count("intermediate_size")?,
        n_layers: n_layers(fields)?,
        n_heads,
        n_kv_heads,
        head_dim,
        rms_norm_eps: rms_norm_eps(fields)?,
        max_position_embeddings,
        rope,
        sliding_window: None,
        qkv_bias: ProjectionBias::Absent,
        o_bias: ProjectionBias::Absent,
        mlp_bias: ProjectionBias::Absent,
        head,
    })
}

/// Reads the number of layers. Plans and traces number layers in 16 bits.
fn n_layers(fields: &mut Fields<'_>) -> Result<usize, ConfigError> {
    const MOST: usize = 65_535;
    match fields.required_count("num_hidden_layers")? {
        n_layers @ 1..=MOST => Ok(n_layers),
        more => Err(fields.invalid("num_hidden_layers", &more, "a whole number from 1 to 65535")),
    }
}

/// Reads the number that norms add to mean squares: 1e-5 or 1e-6 in every checkpoint.
fn rms_norm_eps(fields: &mut Fields<'_>) -> Result<f64, ConfigError> {
    match fields.positive("rms_norm_eps")? {
        None => Ok(1e-6),
        // A smaller one is 0 in f32, and a larger one hides the state.
        Some(eps) if (1e-30..1.0).contains(&eps) => Ok(eps),
        Some(eps) => Err(fields.invalid("rms_norm_eps", &eps, "a number from 1e-30 to 1")),
    }
}

/// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` of newer files, which hold both.
fn rope_config(
    fields: &mut Fields<'_>,
    max_position_embeddings: usize,
) -> Result<RopeConfig, ConfigError> {
    const DEFAULT_THETA: f64 = 10_000.0;
    let theta = fields.positive("rope_theta")?;
    let (value, field, prefix) = match fields.take("rope_scaling") {
        Some(value) => (Some(value), "rope_scaling", "rope_scaling."),
        None => (
            fields.take("rope_parameters"),
            "rope_parameters",
            "rope_parameters.",
        ),
    };
    let mut inner = match value {
        None => {
            return Ok(RopeConfig {
                theta: theta.unwrap_or(DEFAULT_THETA),
                scaling: RopeScaling::None,
            });
        }
        Some(Value::Object(object)) => Fields {
            left: object,
            path: fields.path,
            prefix,
        },
        Some(other) => return Err(fields.invalid(field, &other, "an object or null")),
    };

    // Older files say `type`, newer ones `rope_type`, some both.
    let old_name = inner.text("type")?;
    let Some(kind) = inner.text("rope_type")?.or(old_name) else {
        return Err(inner.missing("rope_type", "default, linear or llama3"));
    };
    let theta = inner.positive("rope_theta")?.or(theta);
    let scaling = match kind.as_str() {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: required_factor(&mut inner, "factor")?,
        },
        "llama3" => {
            let scaling = RopeScaling::Llama3 {
                factor: required_factor(&mut inner, "factor")?,
                low_freq_factor: required_factor(&mut inner, "low_freq_factor")?,
                high_freq_factor: required_factor(&mut inner, "high_freq_factor")?,
                original_max_position_embeddings: inner
                    .count("original_max_position_embeddings")?
                    .unwrap_or(max_position_embeddings),
            };
            if let RopeScaling::Llama3 {
                low_freq_factor,
                high_freq_factor,
                ..
            } = scaling
                && high_freq_factor <= low_freq_factor
            {
                let expected = format!("more than low_freq_factor {low_freq_factor}");
                return Err(inner.invalid("high_freq_factor", &high_freq_factor, &expected));
            }
            scaling
        }
        other => {
            let supported = "default, linear and llama3 are";
            return Err(inner.unsupported("rope_type", &other, supported));
        }
    };
    inner.finish()?;
    Ok(RopeConfig {
        theta: theta.unwrap_or(DEFAULT_THETA),
        scaling,
    })
}

fn required_factor(fields: &mut Fields<'_>, field: &str) -> Result<f64, ConfigError> {
    match fields.positive(field)? {
        Some(factor) => Ok(factor),
        None => Err(fields.missing(field, "a number above 0")),
    }
}

/// Checks the `layer_types` of newer files: every layer has to be of the kind that the other fields describe.
pub(super) fn check_layer_types(
    fields: &mut Fields<'_>,
    sliding_window: Option<usize>,
) -> Result<(), ConfigError> {
    let expected = match sliding_window {
        Some(_) => "sliding_attention",
        None => "full_attention",
    };
    match fields.take("layer_types") {
        None => Ok(()),
        Some(Value::Array(kinds)) if kinds.iter().all(|kind| kind == expected) => Ok(()),
        Some(other) => {
            let supported = format!("{expected} in every layer is");
            Err(fields.unsupported("layer_types", &other, &supported))
        }
    }
}
