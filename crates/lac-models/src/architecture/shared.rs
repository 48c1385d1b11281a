//! What all families read in the same way, with each class's own defaults.

use serde_json::Value;

use super::error::MAX_PARAMETERS;
use super::fields::{Fields, Given};
use super::rope::rope_config;
use crate::decoder::{DecoderConfig, HeadKind};

/// What a class of transformers takes for fields that the file does not have.
pub(super) struct ClassDefaults {
    pub(super) vocab_size: usize,
    pub(super) intermediate_size: usize,
    /// `None` for as many as query heads.
    pub(super) n_kv_heads: Option<usize>,
    pub(super) max_position_embeddings: usize,
}

const HIDDEN_SIZE: usize = 4096;
const N_LAYERS: usize = 32;
const N_HEADS: usize = 32;
const RMS_NORM_EPS: f64 = 1e-6;
/// Plans and traces number layers in 16 bits.
const MOST_LAYERS: usize = 65_535;

/// Reads what all families share. There are no biases and no window; the caller may change that.
pub(super) fn shared_config(fields: &mut Fields<'_>, defaults: ClassDefaults) -> DecoderConfig {
    hidden_act(fields);
    let vocab_size = fields.size("vocab_size", defaults.vocab_size);
    let hidden_size = fields.size("hidden_size", HIDDEN_SIZE);
    let intermediate_size = fields.size("intermediate_size", defaults.intermediate_size);
    let mut n_layers = fields.size("num_hidden_layers", N_LAYERS);
    if n_layers > MOST_LAYERS {
        fields.invalid(
            "num_hidden_layers",
            &n_layers,
            "a whole number from 1 to 65535",
        );
        n_layers = N_LAYERS;
    }
    let n_heads = fields.size("num_attention_heads", N_HEADS);
    // As transformers divides: rounded down.
    let quotient = Some(hidden_size / n_heads);
    let head_dim = fields.count("head_dim").or(quotient, quotient).unwrap_or(0);
    if !fields.has_problems() && (head_dim == 0 || !head_dim.is_multiple_of(2)) {
        fields.invalid("head_dim", &head_dim, "an even number above 0");
    }
    let n_kv_heads = fields
        .count("num_key_value_heads")
        .or(defaults.n_kv_heads, None)
        .unwrap_or(n_heads);
    if !fields.has_problems() && !n_heads.is_multiple_of(n_kv_heads) {
        let expected = format!("a divisor of num_attention_heads {n_heads}");
        fields.invalid("num_key_value_heads", &n_kv_heads, &expected);
    }
    let most = Some(defaults.max_position_embeddings);
    let max_position_embeddings = fields
        .limit("max_position_embeddings")
        .or(most, most)
        .unwrap_or(defaults.max_position_embeddings);
    let head = if fields.flag("tie_word_embeddings") {
        HeadKind::Tied
    } else {
        HeadKind::Untied
    };
    let rope = rope_config(fields, max_position_embeddings);
    let rms_norm_eps = rms_norm_eps(fields);
    let config = DecoderConfig {
        intermediate_size,
        n_kv_heads,
        head_dim,
        rms_norm_eps,
        max_position_embeddings,
        rope,
        head,
        ..DecoderConfig::new(vocab_size, hidden_size, n_layers, n_heads)
    };
    if !fields.has_problems() && !config.has_finite_angles() {
        let expected = "a base and factors that give finite angles: a base of 1 or more, factors not \
                        next to 0";
        fields.invalid("rope_theta", &format!("{:?}", config.rope), expected);
    }
    config
}

/// Checks that the parameters of a configuration can be counted.
pub(super) fn check_size(fields: &mut Fields<'_>, config: &DecoderConfig) {
    let n_parameters = config.n_parameters();
    if !fields.has_problems() && n_parameters > MAX_PARAMETERS {
        fields.too_large(n_parameters);
    }
}

/// Checks the activation. transformers knows silu by two names.
fn hidden_act(fields: &mut Fields<'_>) {
    match fields.text("hidden_act") {
        Given::Absent => {}
        Given::Value(name) if name == "silu" || name == "swish" => {}
        Given::Value(other) => fields.unsupported("hidden_act", &other, "silu (or swish) is"),
        Given::Null => fields.invalid("hidden_act", &Value::Null, "silu"),
    }
}

/// Reads the number that norms add to mean squares: 1e-5 or 1e-6 in every checkpoint.
fn rms_norm_eps(fields: &mut Fields<'_>) -> f64 {
    let expected = "a number from 1e-30 to 1";
    match fields.positive("rms_norm_eps") {
        Given::Absent => RMS_NORM_EPS,
        // A smaller one is 0 in f32, and a larger one hides the state.
        Given::Value(eps) if (1e-30..1.0).contains(&eps) => eps,
        Given::Value(eps) => {
            fields.invalid("rms_norm_eps", &eps, expected);
            RMS_NORM_EPS
        }
        Given::Null => {
            fields.invalid("rms_norm_eps", &Value::Null, expected);
            RMS_NORM_EPS
        }
    }
}

/// Which earlier keys a layer attends to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LayerKind {
    /// All of them.
    Full,
    /// Those of the sliding window.
    Sliding,
}

impl LayerKind {
    fn of(name: &str) -> Option<Self> {
        match name {
            "full_attention" => Some(LayerKind::Full),
            "sliding_attention" => Some(LayerKind::Sliding),
            _ => None,
        }
    }
}

/// Takes the `layer_types` of newer files, one name for every layer.
pub(super) fn layer_types(fields: &mut Fields<'_>, n_layers: usize) -> Option<Vec<LayerKind>> {
    let value = fields.take("layer_types")?;
    let kind = |value: &Value| value.as_str().and_then(LayerKind::of);
    let kinds: Option<Vec<LayerKind>> = value
        .as_array()
        .and_then(|kinds| kinds.iter().map(kind).collect());
    match kinds {
        Some(kinds) if kinds.len() == n_layers => return Some(kinds),
        Some(kinds) if !fields.has_problems() => {
            let n_kinds = format!("a list of {}", kinds.len());
            let expected = format!("a name for each of num_hidden_layers {n_layers}");
            fields.invalid("layer_types", &n_kinds, &expected);
        }
        Some(_) => {}
        None => {
            let supported = "a list of full_attention and sliding_attention is";
            fields.unsupported("layer_types", &value, supported);
        }
    }
    None
}

/// Checks `layer_types` for a class that has one kind of layers, which the other fields decide. Layers of a window that no
/// text outgrows are of both kinds.
pub(super) fn check_layer_types(fields: &mut Fields<'_>, config: &DecoderConfig) {
    let Some(kinds) = layer_types(fields, config.n_layers) else {
        return;
    };
    let (kind, supported) = match config.sliding_window {
        Some(window) if window >= config.max_context() => return,
        Some(_) => (
            LayerKind::Sliding,
            "sliding_attention in every layer is, by sliding_window",
        ),
        None => (LayerKind::Full, "full_attention in every layer is"),
    };
    if let Some(layer_idx) = kinds.iter().position(|other| *other != kind) {
        let value = format!("{:?} in layer {layer_idx}", kinds[layer_idx]);
        fields.unsupported("layer_types", &value.to_lowercase(), supported);
    }
}
