//! Settings that change what is computed, and the values with which they do not.

use serde_json::Value;

/// The sizes that a neutral value can depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) hidden_size: usize,
    pub(crate) head_dim: usize,
}

/// The value with which a field of another architecture changes nothing.
#[derive(Clone, Copy, Debug)]
pub(super) enum Neutral {
    /// False, 0, or something empty.
    Off,
    /// True.
    On,
    /// The factor 1.
    One,
    /// Any of these texts.
    Text(&'static [&'static str]),
    /// The width of a head.
    HeadDim,
    /// The width of the residual stream.
    HiddenSize,
    /// The scale of attention that every decoder has, 1/√head_dim, or the factor 1.
    AttentionScale,
    /// No head is removed: an object without entries.
    NoEntries,
}

impl Neutral {
    pub(super) fn has(self, value: &Value, sizes: Sizes) -> bool {
        let is = |expected: f64| {
            value
                .as_f64()
                .is_some_and(|number| (number - expected).abs() <= 1e-6 * expected.abs())
        };
        let is_off = match value {
            Value::Bool(flag) => !flag,
            Value::Number(number) => number.as_f64() == Some(0.0),
            Value::String(text) => text.is_empty(),
            Value::Array(values) => values.is_empty(),
            Value::Object(object) => object.is_empty(),
            Value::Null => true,
        };
        match self {
            Neutral::Off => is_off,
            Neutral::On => value == &Value::Bool(true),
            Neutral::One => is(1.0),
            Neutral::Text(names) => value.as_str().is_some_and(|text| {
                let text = text.to_lowercase();
                names.contains(&text.as_str())
            }),
            Neutral::HeadDim => is(sizes.head_dim as f64),
            Neutral::HiddenSize => is(sizes.hidden_size as f64),
            Neutral::AttentionScale => is(1.0) || is((sizes.head_dim as f64).powf(-0.5)),
            Neutral::NoEntries => match value {
                Value::Object(object) => {
                    object.values().all(|heads| heads == &Value::Array(vec![]))
                }
                _ => is_off,
            },
        }
    }
}

const ROPE: &str = "the two halves of a whole head are rotated against each other";
const DENSE: &str = "one dense MLP in every layer is";
const NO_SCALE: &str = "states and logits are not multiplied; only a factor of 1 is";
const NO_CAP: &str = "scores and logits are not capped";
const NORM: &str = "RMS norms before each sublayer, without biases, are";
const PLAIN_ATTENTION: &str =
    "causal attention of every query to all earlier keys, or to a sliding window, is";
const DECODER: &str = "a decoder alone is";
const BIAS: &str = "biases of q, k, v, o and of the MLP are";

/// Names of settings that change what is computed, the value with which they do not, and what is supported.
pub(super) const CHANGING: &[(&[&str], Neutral, &str)] = &[
    (
        &[
            "partial_rotary_factor",
            "rotary_pct",
            "rotary_percent",
            "rope_pct",
            "rope_percentage",
            "rope_ratio",
            "rope_condense_ratio",
            "rope_scaling_factor",
            "rotary_scaling_factor",
        ],
        Neutral::One,
        ROPE,
    ),
    (
        &["rotary_dim", "rope_dim", "rotary_ndims", "qk_rope_head_dim"],
        Neutral::HeadDim,
        ROPE,
    ),
    (
        &[
            "rope_interleaved",
            "rope_interleave",
            "rotary_interleaved",
            "interleaved_rope",
            "rope_traditional",
            "use_dynamic_ntk",
            "use_logn_attn",
            "use_mrope",
            "mrope_section",
            "rope_local_base_freq",
            "rope_local_theta",
            "no_rope_layers",
            "no_rope_layer_interval",
            "no_rope_layer",
            "nope_layer_interval",
            "nope_layers",
            "alibi",
            "use_alibi",
            "learned_pos_emb",
            "use_position_embedding",
        ],
        Neutral::Off,
        ROPE,
    ),
    (
        &["position_embedding_type", "pos_emb", "position_encoding"],
        Neutral::Text(&["rope", "rotary", "absolute", "none"]),
        ROPE,
    ),
    (
        &["use_rope", "use_rotary", "use_rotary_embedding", "rotary"],
        Neutral::On,
        ROPE,
    ),
    (
        &[
            "embedding_multiplier",
            "residual_multiplier",
            "lm_head_multiplier",
            "logits_scaling",
            "logit_scale",
            "logits_scale",
            "logit_multiplier",
            "output_multiplier",
            "scale_emb",
            "embedding_scale",
            "emb_scale",
            "residual_scale",
            "scale_depth",
            "mup_width_multiplier",
            "key_multiplier",
            "attention_in_multiplier",
            "attention_out_multiplier",
        ],
        Neutral::One,
        NO_SCALE,
    ),
    (
        &[
            "scale_embeddings",
            "scale_embedding",
            "normalize_embedding",
            "embedding_norm",
            "use_mup",
        ],
        Neutral::Off,
        NO_SCALE,
    ),
    (&["dim_model_base"], Neutral::HiddenSize, NO_SCALE),
    (
        &[
            "attention_multiplier",
            "attn_scale",
            "attention_scale",
            "softmax_scale",
        ],
        Neutral::AttentionScale,
        "scores are multiplied by 1/√head_dim alone",
    ),
    (
        &["query_pre_attn_scalar"],
        Neutral::HeadDim,
        "scores are multiplied by 1/√head_dim alone",
    ),
    (
        &["scale_attn_weights"],
        Neutral::On,
        "scores are multiplied by 1/√head_dim alone",
    ),
    (
        &[
            "scale_attn_by_inverse_layer_idx",
            "attn_temperature_tuning",
            "attention_temperature",
        ],
        Neutral::Off,
        "scores are multiplied by 1/√head_dim alone",
    ),
    (
        &[
            "final_logit_softcapping",
            "attn_logit_softcapping",
            "logit_softcap",
            "logits_soft_cap",
            "attn_logit_cap",
            "clip_qkv",
            "qkv_clip",
        ],
        Neutral::Off,
        NO_CAP,
    ),
    (
        &[
            "num_local_experts",
            "num_experts",
            "n_routed_experts",
            "n_shared_experts",
            "num_shared_experts",
            "num_experts_per_tok",
            "num_experts_per_token",
            "moe_num_experts",
            "moe_top_k",
            "moe_intermediate_size",
            "moe_layer_freq",
            "shared_expert_intermediate_size",
            "first_k_dense_replace",
            "mlp_only_layers",
            "decoder_sparse_step",
        ],
        Neutral::Off,
        DENSE,
    ),
    (
        &[
            "use_qk_norm",
            "qk_norm",
            "qk_layernorm",
            "qk_layer_norm",
            "qk_ln",
            "norm_bias",
            "rms_norm_bias",
            "use_post_norm",
            "post_norm",
            "sandwich_norm",
            "use_pre_norm_only",
            "parallel_attn",
            "parallel_residual",
            "use_parallel_residual",
            "norm_after",
            "add_unit_offset",
            "apply_residual_connection_post_layernorm",
        ],
        Neutral::Off,
        NORM,
    ),
    (
        &[
            "norm",
            "norm_type",
            "norm_class",
            "layernorm_type",
            "layer_norm_type",
            "normalization_type",
            "normalization",
        ],
        Neutral::Text(&["rms", "rms_norm", "rmsnorm", "llamarmsnorm"]),
        NORM,
    ),
    (
        &[
            "kv_lora_rank",
            "q_lora_rank",
            "qk_nope_head_dim",
            "v_head_dim",
            "multi_query",
            "num_kv_shared_layers",
            "cla_share_factor",
            "attention_sinks",
            "use_attention_sinks",
            "attention_chunk_size",
            "sliding_window_pattern",
            "sparse_attention_config",
            "use_bidirectional_attention",
            "bidirectional",
            "prefix_lm",
            "mem_layers",
        ],
        Neutral::Off,
        PLAIN_ATTENTION,
    ),
    (&["is_causal", "causal"], Neutral::On, PLAIN_ATTENTION),
    (
        &[
            "lm_head_bias",
            "head_bias",
            "use_bias",
            "bias",
            "add_bias_linear",
            "attention_out_bias",
            "attn_bias",
        ],
        Neutral::Off,
        BIAS,
    ),
    (&["no_bias"], Neutral::On, BIAS),
    (
        &[
            "is_encoder_decoder",
            "add_cross_attention",
            "cross_attention_hidden_size",
            "cross_attention_layers",
            "tie_encoder_decoder",
            "vision_config",
            "audio_config",
            "text_config",
            "mm_vision_tower",
            "draft_vocab_size",
            "per_layer_config",
            "block_configs",
        ],
        Neutral::Off,
        DECODER,
    ),
    (
        &["pruned_heads"],
        Neutral::NoEntries,
        "whole layers are: heads cannot be left out",
    ),
    (
        &[
            "hidden_act_param",
            "mlp_activation_sparsity",
            "activation_sparsity_pattern",
        ],
        Neutral::Off,
        "the gated MLP with silu is",
    ),
];
