//! What the fields of a `config.json` that no reader takes mean for a result: the one table, with the reason of each row.

use serde_json::Value;

/// What a field means for what the layers compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It changes nothing.
    Inert,
    /// It asks for something that is not computed here; the text says what is.
    Unsupported(&'static str),
    /// Nothing is known of it.
    Unknown,
}

/// The sizes that a neutral value can depend on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) hidden_size: usize,
    pub(super) head_dim: usize,
}

/// Returns what a field with a value means. A field that is null says nothing.
pub(super) fn meaning(field: &str, value: &Value, sizes: Sizes) -> Meaning {
    if value.is_null() || is_inert(field) {
        return Meaning::Inert;
    }
    let row = CHANGING
        .iter()
        .find(|(fields, _, _)| fields.contains(&field));
    match row {
        None => Meaning::Unknown,
        Some((_, neutral, _)) if neutral.has(value, sizes) => Meaning::Inert,
        Some((_, _, supported)) => Meaning::Unsupported(supported),
    }
}

fn is_inert(field: &str) -> bool {
    INERT.iter().any(|(_, fields)| fields.contains(&field))
        || INERT_BEGINNINGS.iter().any(|part| field.starts_with(part))
        || INERT_ENDS.iter().any(|part| field.ends_with(part))
}

/// Beginnings of names that only tell how a file was made.
const INERT_BEGINNINGS: &[&str] = &[
    // Private attributes of Python objects.
    "_",
    // What trainers and converters note about themselves.
    "transformers.js",
    "transformers_",
    "unsloth_",
    "axolotl_",
    "mergekit_",
    "llamafactory_",
    "peft_",
    "lora_",
    "mlx_",
    "onnx_",
    "vllm_",
    "tgi_",
    "wandb_",
    "deepspeed_",
    "megatron_",
    "neftune_",
    // The first weights, before training.
    "initializer_",
    "init_",
];

/// Ends of names that say of any field that it changes nothing here.
const INERT_ENDS: &[&str] = &[
    // Tokens, which the tokenizer and generation_config.json decide.
    "_token_id",
    "_token_ids",
    "_token_index",
    // Dropout and losses act in training.
    "_dropout",
    "_pdrop",
    "_dropout_prob",
    "_loss",
    "_loss_coef",
    "_loss_weight",
    // Notes.
    "_version",
    // Which of several kernels of the same operation.
    "_implementation",
];

/// Names that change nothing, by the reason.
const INERT: &[(&str, &[&str])] = &[
    (
        "training alone",
        &[
            "classifier_dropout",
            "dropout",
            "dropout_rate",
            "gradient_checkpointing",
            "gradient_checkpointing_use_reentrant",
            "label_smoothing",
            "label_smoothing_factor",
            "layerdrop",
            "loss_type",
            "output_router_logits",
            "pretraining_tp",
            "router_jitter_noise",
            "sample_packing",
            "use_neftune",
            "z_loss_weight",
        ],
    ),
    (
        "where the file comes from, and what reads it",
        &[
            "adapters",
            "auto_map",
            "base_model",
            "base_model_name_or_path",
            "base_model_pp_plan",
            "base_model_tp_plan",
            "custom_pipelines",
            "finetuned_from",
            "internal_version",
            "is_llama_config",
            "license",
            "max_sequence_length",
            "model_name",
            "model_size",
            "model_version",
            "name",
            "name_or_path",
            "tags",
            "tokenizer_class",
            "tokenizer_name",
            "tokenizer_name_or_path",
            "torchscript",
            "version",
        ],
    ),
    (
        "lengths under other names; max_position_embeddings decides",
        &[
            "context_length",
            "max_length",
            "max_model_len",
            "max_seq_len",
            "max_seq_length",
            "max_window_layers",
            "model_max_length",
            "n_ctx",
            "n_positions",
            "original_max_position_embeddings",
            "seq_len",
            "seq_length",
            "tokenizer_model_max_length",
            "train_max_seq_length",
            "training_seq_len",
            "training_sequence_length",
        ],
    ),
    (
        "other programs than transformers read it",
        &["dual_chunk_attention_config"],
    ),
    (
        "no code of the three families reads it, other architectures of transformers do",
        &[
            "activation",
            "activation_function",
            "attention_bias",
            "hidden_activation",
            "is_decoder",
            "mlp_bias",
            "qkv_bias",
            "sliding_window",
            "use_sliding_window",
        ],
    ),
    (
        "how an implementation computes the same numbers",
        &[
            "attn_impl",
            "attn_implementation",
            "attention_implementation",
            "attention_softmax_in_fp32",
            "bf16",
            "chunk_size_feed_forward",
            "flash_attention",
            "fp16",
            "fp32",
            "fused_bias_fc",
            "fused_dropout_add_ln",
            "fused_mlp",
            "fused_qkv",
            "logits_to_keep",
            "low_cpu_mem_usage",
            "num_logits_to_keep",
            "reorder_and_upcast_attn",
            "softmax_in_fp32",
            "tensor_parallel",
            "tp_size",
            "use_bfloat16",
            "use_cache",
            "use_flash_attention",
            "use_flash_attention_2",
            "use_flash_attn",
            "use_flash_attn_2",
            "use_flash_rotary",
            "use_memory_efficient_attention",
            "use_mtp",
            "use_sdpa",
            "use_xformers",
        ],
    ),
    (
        "what a call returns, and labels of classifiers",
        &[
            "finetuning_task",
            "id2label",
            "keys_to_ignore_at_inference",
            "label2id",
            "num_labels",
            "output_attentions",
            "output_hidden_states",
            "output_past",
            "problem_type",
            "return_dict",
            "summary_activation",
            "summary_first_dropout",
            "summary_proj_to_labels",
            "summary_type",
            "summary_use_proj",
            "task_specific_params",
            "tf_legacy_loss",
            "use_return_dict",
            "xla_device",
        ],
    ),
    (
        "how tokens are chosen; generation_config.json and flags decide",
        &[
            "assistant_confidence_threshold",
            "assistant_early_exit",
            "assistant_ensemble_weight",
            "assistant_lookbehind",
            "bad_words_ids",
            "begin_suppress_tokens",
            "cache_config",
            "cache_implementation",
            "compile_config",
            "constraints",
            "continuous_batching_config",
            "disable_compile",
            "diversity_penalty",
            "do_sample",
            "dola_layers",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "encoder_repetition_penalty",
            "epsilon_cutoff",
            "eta_cutoff",
            "exponential_decay_length_penalty",
            "force_words_ids",
            "forced_decoder_ids",
            "generation_config",
            "generation_kwargs",
            "guidance_scale",
            "is_assistant",
            "length_penalty",
            "low_memory",
            "max_cache_len",
            "max_matching_ngram_size",
            "max_new_tokens",
            "max_time",
            "min_length",
            "min_new_tokens",
            "min_p",
            "no_repeat_ngram_size",
            "num_assistant_tokens",
            "num_assistant_tokens_schedule",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "output_logits",
            "output_scores",
            "penalty_alpha",
            "prefill_chunk_size",
            "prefix",
            "prompt_lookup_num_tokens",
            "remove_invalid_values",
            "renormalize_logits",
            "repetition_penalty",
            "return_dict_in_generate",
            "return_legacy_cache",
            "sequence_bias",
            "speculation_type",
            "stop_strings",
            "suppress_tokens",
            "target_lookbehind",
            "temperature",
            "token_healing",
            "top_h",
            "top_k",
            "top_p",
            "typical_p",
            "watermarking_config",
        ],
    ),
];

/// The value with which a field of another architecture changes nothing.
#[derive(Clone, Copy, Debug)]
enum Neutral {
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
    fn has(self, value: &Value, sizes: Sizes) -> bool {
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
const CHANGING: &[(&[&str], Neutral, &str)] = &[
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_field_stands_in_one_row() {
        let inert = INERT.iter().flat_map(|(_, fields)| *fields);
        let changing = CHANGING.iter().flat_map(|(fields, _, _)| *fields);
        let mut seen = BTreeSet::new();
        for field in inert.chain(changing) {
            assert!(seen.insert(field), "{field}");
        }
        // A row of settings that change results is reached: no pattern of harmless names hides it.
        for field in CHANGING.iter().flat_map(|(fields, _, _)| *fields) {
            assert!(!is_inert(field), "{field}");
        }
    }

    #[test]
    fn neutral_values_change_nothing() {
        let sizes = Sizes {
            hidden_size: 64,
            head_dim: 16,
        };
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (field, neutral, other) in [
            ("partial_rotary_factor", "1.0", "0.5"),
            ("rotary_dim", "16", "8"),
            ("rope_interleaved", "false", "true"),
            ("logit_scale", "1", "0.0625"),
            ("attention_multiplier", "0.25", "0.0078125"),
            ("query_pre_attn_scalar", "16", "256"),
            ("final_logit_softcapping", "null", "30.0"),
            ("num_local_experts", "0", "8"),
            ("norm_type", "\"RMSNorm\"", "\"layernorm\""),
            ("is_causal", "true", "false"),
            ("dim_model_base", "64", "256"),
            ("pruned_heads", "{}", "{\"1\": [0]}"),
            ("position_embedding_type", "\"rope\"", "\"alibi\""),
        ] {
            assert_eq!(
                meaning(field, &value(neutral), sizes),
                Meaning::Inert,
                "{field}"
            );
            let other = meaning(field, &value(other), sizes);
            assert!(
                matches!(other, Meaning::Unsupported(_)),
                "{field}: {other:?}"
            );
        }
        assert_eq!(meaning("frobnicate", &value("1"), sizes), Meaning::Unknown);
        assert_eq!(
            meaning("frobnicate", &value("false"), sizes),
            Meaning::Unknown
        );
        assert_eq!(meaning("frobnicate", &value("null"), sizes), Meaning::Inert);
    }
}
