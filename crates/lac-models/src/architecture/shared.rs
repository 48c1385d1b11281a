//! What all families read in the same way, with each class's own defaults.

use serde_json::Value;

use super::error::MAX_PARAMETERS;
use super::fields::{Fields, Given};
use super::rope::{PartialRotation, QueryGrowth, RopeDefaults, SlidingRotation, rotary_positions};
use crate::decoder::{Activation, DecoderConfig, HeadKind, ProjectionBias};

/// What a class of transformers takes for fields that the file does not have.
pub(super) struct ClassDefaults {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) n_layers: usize,
    pub(super) n_heads: usize,
    /// `None` for as many as query heads.
    pub(super) n_kv_heads: Option<usize>,
    /// `None` for `hidden_size / n_heads`.
    pub(super) head_dim: Option<usize>,
    pub(super) max_position_embeddings: usize,
    pub(super) rms_norm_eps: f64,
    pub(super) head: HeadKind,
    /// The field that names the activation, and the activation without it.
    pub(super) activation: (&'static str, Activation),
    pub(super) rope: RopeDefaults,
}

/// Those of Llama, with which other classes have most in common.
pub(super) const LLAMA: ClassDefaults = ClassDefaults {
    vocab_size: 32_000,
    hidden_size: 4096,
    intermediate_size: 11_008,
    n_layers: 32,
    n_heads: 32,
    n_kv_heads: None,
    head_dim: None,
    max_position_embeddings: 2048,
    rms_norm_eps: 1e-6,
    head: HeadKind::Untied,
    activation: ("hidden_act", Activation::Silu),
    rope: RopeDefaults {
        theta: 10_000.0,
        sliding: SlidingRotation::AsOthers,
        partial: PartialRotation::Refused,
        queries: QueryGrowth::Absent,
    },
};

/// Plans and traces number layers in 16 bits.
const MOST_LAYERS: usize = 65_535;

/// Reads what all families share. There are no biases and no window; the caller may change that.
pub(super) fn config(fields: &mut Fields<'_>, defaults: ClassDefaults) -> DecoderConfig {
    let activation = activation(fields, defaults.activation);
    let vocab_size = fields.size("vocab_size", defaults.vocab_size);
    let hidden_size = fields.size("hidden_size", defaults.hidden_size);
    let intermediate_size = fields.size("intermediate_size", defaults.intermediate_size);
    let mut n_layers = fields.size("num_hidden_layers", defaults.n_layers);
    if n_layers > MOST_LAYERS {
        fields.invalid(
            "num_hidden_layers",
            &n_layers,
            "a whole number from 1 to 65535",
        );
        n_layers = defaults.n_layers;
    }
    let n_heads = fields.size("num_attention_heads", defaults.n_heads);
    // As transformers divides: rounded down.
    let quotient = Some(hidden_size / n_heads);
    let head_dim = fields.count("head_dim");
    let head_dim = head_dim.or(defaults.head_dim.or(quotient), quotient);
    let head_dim = head_dim.unwrap_or(0);
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
    let is_tied = defaults.head == HeadKind::Tied;
    let head = if fields.flag_or("tie_word_embeddings", is_tied) {
        HeadKind::Tied
    } else {
        HeadKind::Untied
    };
    let rotary = rotary_positions(fields, &defaults.rope, max_position_embeddings, head_dim);
    let rms_norm_eps = rms_norm_eps(fields, defaults.rms_norm_eps);
    let config = DecoderConfig {
        intermediate_size,
        n_kv_heads,
        head_dim,
        rms_norm_eps,
        max_position_embeddings,
        rope: rotary.rope,
        sliding_rope: rotary.sliding_rope,
        rotary_dim: rotary.rotary_dim,
        query_scale: rotary.query_scale,
        head,
        activation,
        ..DecoderConfig::new(vocab_size, hidden_size, n_layers, n_heads)
    };
    if !fields.has_problems() && !config.has_finite_angles() {
        let expected = "a base and factors that give finite angles: a base of 1 or more, factors not \
                        next to 0";
        fields.invalid("rope_theta", &format!("{:?}", config.rope), expected);
    }
    config
}

/// Reads whether the four projections of the attention have biases, which one flag says of all of them.
pub(super) fn attention_bias(fields: &mut Fields<'_>, config: &mut DecoderConfig) {
    if fields.flag("attention_bias") {
        config.qkv_bias = ProjectionBias::Present;
        config.o_bias = ProjectionBias::Present;
    }
}

/// Reads whether gate, up and down have biases.
pub(super) fn mlp_bias(fields: &mut Fields<'_>, config: &mut DecoderConfig) {
    if fields.flag("mlp_bias") {
        config.mlp_bias = ProjectionBias::Present;
    }
}

/// Checks that the parameters of a configuration can be counted.
pub(super) fn check_size(fields: &mut Fields<'_>, config: &DecoderConfig) {
    let n_parameters = config.n_parameters();
    if !fields.has_problems() && n_parameters > MAX_PARAMETERS {
        fields.too_large(n_parameters);
    }
}

/// Reads the activation. transformers knows two of them by several names.
fn activation(fields: &mut Fields<'_>, (field, default): (&'static str, Activation)) -> Activation {
    let supported = "silu (or swish) and gelu_pytorch_tanh are";
    match fields.text(field) {
        Given::Absent => default,
        Given::Value(name) => match name.as_str() {
            "silu" | "swish" => Activation::Silu,
            "gelu_pytorch_tanh" | "gelu_new" => Activation::GeluTanh,
            _ => {
                fields.unsupported(field, &name, supported);
                default
            }
        },
        Given::Null => {
            fields.invalid(field, &Value::Null, "silu or gelu_pytorch_tanh");
            default
        }
    }
}

/// Reads the number that norms add to mean squares: 1e-5 or 1e-6 in every checkpoint.
fn rms_norm_eps(fields: &mut Fields<'_>, default: f64) -> f64 {
    let expected = "a number from 1e-30 to 1";
    match fields.positive("rms_norm_eps") {
        Given::Absent => default,
        // A smaller one is 0 in f32, and a larger one hides the state.
        Given::Value(eps) if (1e-30..1.0).contains(&eps) => eps,
        Given::Value(eps) => {
            fields.invalid("rms_norm_eps", &eps, expected);
            default
        }
        Given::Null => {
            fields.invalid("rms_norm_eps", &Value::Null, expected);
            default
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
    /// Returns the kind of a layer that the window slides in, or not.
    pub(super) fn sliding_if(is_sliding: bool) -> Self {
        if is_sliding {
            LayerKind::Sliding
        } else {
            LayerKind::Full
        }
    }

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

/// Reads which layers the window of a class with two kinds of layers slides in: those that `layer_types` names, else those
/// that older fields mean.
pub(super) fn sliding_layers(
    fields: &mut Fields<'_>,
    config: &mut DecoderConfig,
    older: impl Fn(usize) -> LayerKind,
) {
    let Some(window) = config.sliding_window else {
        check_layer_types(fields, config);
        return;
    };
    let kinds = layer_types(fields, config.n_layers)
        .unwrap_or_else(|| (0..config.n_layers).map(older).collect());
    let is_full = |&layer_idx: &usize| kinds.get(layer_idx) != Some(&LayerKind::Sliding);
    let full: Vec<usize> = (0..config.n_layers).filter(is_full).collect();
    // A window that no text outgrows hides nothing.
    let is_wide = config.sliding_rope.is_none() && window >= config.max_context();
    if is_wide || full.len() == config.n_layers {
        config.sliding_window = None;
        config.sliding_rope = None;
    } else {
        config.full_attention_layers = full;
    }
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
