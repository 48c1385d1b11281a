//! Qwen3 with experts: <https://arxiv.org/abs/2505.09388>. A Qwen3 with experts in place of the MLP of most layers.

use super::experts::{ExpertDefaults, qwen_experts};
use super::family::Family;
use super::fields::Fields;
use super::qwen2;
use super::shared::{self, ClassDefaults, attention_bias, check_layer_types};
use crate::decoder::{DecoderConfig, HeadNorms};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen3_moe",
    class_name: "Qwen3MoeForCausalLM",
    eos_token_id: None,
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        hidden_size: 2048,
        intermediate_size: 6144,
        n_layers: 24,
        n_kv_heads: Some(4),
        ..qwen2::DEFAULTS
    };
    let mut config = shared::config(fields, defaults);
    config.head_norms = HeadNorms::PerHead;
    attention_bias(fields, &mut config);
    // The window slides in every layer.
    if fields.flag("use_sliding_window") {
        config.sliding_window = fields.limit("sliding_window").or(Some(4096), None);
    } else {
        fields.pass_over("sliding_window");
    }
    fields.pass_over("max_window_layers");
    check_layer_types(fields, &config);
    let defaults = ExpertDefaults {
        n_experts: 128,
        n_chosen: 8,
    };
    config.experts = Some(qwen_experts(fields, &config, 768, &defaults));
    config
}
