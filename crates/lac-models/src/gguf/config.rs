//! From the metadata of a GGUF file to a [`ModelConfig`].
//!
//! Each key stands for a field of `config.json`, so that the families are read in one place.

use serde_json::{Map, Value, json};

use super::config_fields::ConfigFields;
use super::error::GgufError;
use super::families::{Biases, FAMILIES, Family};
use super::files::Gguf;
use super::layout::{EMBEDDING, HEAD, Layout, ROPE_FACTORS};
use super::metadata::Metadata;
use super::rope_factors::rope_factors;
use super::vocabulary::TOKENS;
use crate::architecture::ModelConfig;
use crate::decoder::{HeadKind, ProjectionBias, RopeScaling};

/// The key of the architecture.
const ARCHITECTURE: &str = "general.architecture";

/// Keys that every family has, without the family's name, and the fields that they stand for.
const SIZES: &[(&str, &str)] = &[
    ("block_count", "num_hidden_layers"),
    ("context_length", "max_position_embeddings"),
    ("embedding_length", "hidden_size"),
    ("feed_forward_length", "intermediate_size"),
    ("attention.head_count", "num_attention_heads"),
];

const N_KV_HEADS: &str = "attention.head_count_kv";
const EPSILON: &str = "attention.layer_norm_rms_epsilon";
const KEY_LENGTH: &str = "attention.key_length";
const VALUE_LENGTH: &str = "attention.value_length";
const ROPE_BASE: &str = "rope.freq_base";

/// Reads the configuration, and how the file's tensors are laid out.
///
/// # Errors
/// Names the key. An architecture that is not supported, a key that is missing or impossible, or one that would change
/// the result and is not supported.
pub(super) fn read_config(gguf: &Gguf) -> Result<(ModelConfig, Layout), GgufError> {
    let metadata = gguf.metadata();
    let family = family(metadata)?;
    let mut fields = ConfigFields::new(metadata, family.name);
    read_sizes(&mut fields)?;
    read_rope(&mut fields)?;
    fields.insert("model_type", json!(family.model_type));
    let vocab_size = vocab_size(&mut fields)?;
    fields.insert("vocab_size", json!(vocab_size));
    let is_tied = gguf.tensor(HEAD).is_none();
    fields.insert("tie_word_embeddings", json!(is_tied));
    if let Some(id) = metadata.integer("tokenizer.ggml.eos_token_id")? {
        fields.insert("eos_token_id", json!(id));
        fields.stand_for("tokenizer.ggml.eos_token_id", "eos_token_id");
    }
    (family.read)(gguf, &mut fields)?;
    fields.check_neutral()?;
    fields.check_rope_width()?;

    let mut config = fields.model_config()?;
    if let Biases::OfFile = family.biases {
        let has = |names: &[&str]| {
            let mut names = names.iter();
            if names.any(|name| gguf.tensor(&format!("blk.0.{name}.bias")).is_some()) {
                ProjectionBias::Present
            } else {
                ProjectionBias::Absent
            }
        };
        config.decoder.qkv_bias = has(&["attn_q", "attn_k", "attn_v"]);
        config.decoder.o_bias = has(&["attn_output"]);
        config.decoder.mlp_bias = has(&["ffn_gate", "ffn_up", "ffn_down"]);
    }
    if let Some(factors) = rope_factors(gguf, ROPE_FACTORS, config.decoder.head_dim / 2)? {
        config.decoder.rope.scaling = RopeScaling::Factors { factors };
    }
    debug_assert_eq!(config.decoder.head == HeadKind::Tied, is_tied);
    let layout = Layout {
        qk_rows: family.qk_rows,
        norm_weights: family.norm_weights,
        layer_norms: config.decoder.layer_norms,
    };
    Ok((config, layout))
}

fn family(metadata: &Metadata) -> Result<&'static Family, GgufError> {
    let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    let expected = format!("one of {}", names.join(", "));
    let name = metadata.text(ARCHITECTURE)?;
    let name = name.ok_or_else(|| metadata.missing(ARCHITECTURE, &expected))?;
    let mut families = FAMILIES.iter();
    let family = families.find(|family| family.name == name);
    family.ok_or_else(|| metadata.invalid(ARCHITECTURE, &expected))
}

fn read_sizes(fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    for &(key, field) in SIZES {
        let Some(size) = fields.integer(key)? else {
            return Err(fields.missing(key, "a number above 0"));
        };
        fields.insert(field, json!(size));
        fields.stand_for_own(key, field);
    }
    // Older files leave out what is as many as query heads.
    if let Some(n_kv_heads) = fields.integer(N_KV_HEADS)? {
        fields.insert("num_key_value_heads", json!(n_kv_heads));
    } else if let Some(n_heads) = fields.fields.get("num_attention_heads").cloned() {
        fields.insert("num_key_value_heads", n_heads);
    }
    fields.stand_for_own(N_KV_HEADS, "num_key_value_heads");
    let Some(epsilon) = fields.number(EPSILON)? else {
        return Err(fields.missing(EPSILON, "a number above 0"));
    };
    fields.insert("rms_norm_eps", json!(epsilon));
    fields.stand_for_own(EPSILON, "rms_norm_eps");
    let key_length = fields.integer(KEY_LENGTH)?;
    let value_length = fields.integer(VALUE_LENGTH)?;
    if let Some(head_dim) = key_length {
        fields.insert("head_dim", json!(head_dim));
        fields.stand_for_own(KEY_LENGTH, "head_dim");
    }
    if value_length.is_some() && value_length != key_length.or(fields.quotient()) {
        let expected = format!("the same as {}.{KEY_LENGTH}", fields.family);
        return Err(fields.invalid(VALUE_LENGTH, &expected));
    }
    Ok(())
}

fn read_rope(fields: &mut ConfigFields<'_>) -> Result<(), GgufError> {
    const KIND: &str = "rope.scaling.type";
    if let Some(base) = fields.number(ROPE_BASE)? {
        fields.insert("rope_theta", json!(base));
        fields.stand_for_own(ROPE_BASE, "rope_theta");
    }
    let kind = fields.text(KIND)?;
    let factor = fields.number("rope.scaling.factor")?;
    // Files before the key of the kind have a linear factor.
    let older = fields.number("rope.scale_linear")?;
    let (kind, factor) = match (kind, factor, older) {
        (Some(kind), factor, _) => (kind, factor),
        (None, Some(factor), _) | (None, None, Some(factor)) if factor != 0.0 => {
            ("linear".to_owned(), Some(factor))
        }
        _ => ("none".to_owned(), None),
    };
    if kind == "none" || (kind == "linear" && factor.is_none_or(|factor| factor == 1.0)) {
        return Ok(());
    }
    let mut scaling = Map::new();
    scaling.insert("rope_type".to_owned(), json!(kind));
    if let Some(factor) = factor {
        scaling.insert("factor".to_owned(), json!(factor));
    }
    let numbers = [
        ("rope.scaling.attn_factor", "attention_factor"),
        ("rope.scaling.yarn_attn_factor", "attention_factor"),
        ("rope.scaling.yarn_beta_fast", "beta_fast"),
        ("rope.scaling.yarn_beta_slow", "beta_slow"),
    ];
    for (key, field) in numbers {
        if let Some(number) = fields.number(key)? {
            scaling.insert(field.to_owned(), json!(number));
        }
    }
    if let Some(context) = fields.integer("rope.scaling.original_context_length")? {
        scaling.insert(
            "original_max_position_embeddings".to_owned(),
            json!(context),
        );
    }
    fields.insert("rope_scaling", Value::Object(scaling));
    fields.stand_for_own(KIND, "rope_scaling.rope_type");
    fields.stand_for_own("rope.scaling", "rope_scaling");
    Ok(())
}

/// Returns the number of tokens: those of the vocabulary, or where a file has none, what it says of them.
fn vocab_size(fields: &mut ConfigFields<'_>) -> Result<u64, GgufError> {
    let named = fields.integer("vocab_size")?;
    if let Some(tokens) = fields.metadata.texts(TOKENS)? {
        fields.stand_for(TOKENS, "vocab_size");
        return Ok(tokens.len() as u64);
    }
    fields.stand_for_own("vocab_size", "vocab_size");
    named.ok_or_else(|| {
        let expected = format!("one text for each row of {EMBEDDING}");
        fields.metadata.missing(TOKENS, &expected)
    })
}
