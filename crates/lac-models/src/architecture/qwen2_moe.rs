//! Qwen1.5-MoE and Qwen2-57B-A14B: <https://arxiv.org/abs/2407.10671>. A Qwen2 with experts in place of the MLP of most
//! layers, one of which every token goes through.

use super::experts::{ExpertDefaults, qwen_experts};
use super::family::Family;
use super::fields::Fields;
use super::qwen2;
use super::shared::{self, ClassDefaults, LayerKind, check_layer_types, sliding_layers};
use crate::decoder::{DecoderConfig, ProjectionBias};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen2_moe",
    class_name: "Qwen2MoeForCausalLM",
    eos_token_id: None,
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        hidden_size: 2048,
        intermediate_size: 5632,
        n_layers: 24,
        n_heads: 16,
        n_kv_heads: Some(16),
        ..qwen2::DEFAULTS
    };
    let mut config = shared::config(fields, defaults);
    if fields.flag_or("qkv_bias", true) {
        config.qkv_bias = ProjectionBias::Present;
    }
    if fields.flag("use_sliding_window") {
        config.sliding_window = fields.limit("sliding_window").or(Some(4096), None);
        let n_sliding = fields.index("max_window_layers").or(Some(28), Some(28));
        // Every other layer, as this class has it.
        sliding_layers(fields, &mut config, |layer_idx| {
            let is_sliding = layer_idx < n_sliding.unwrap_or(28) && layer_idx.is_multiple_of(2);
            LayerKind::sliding_if(is_sliding)
        });
    } else {
        fields.pass_over("sliding_window");
        fields.pass_over("max_window_layers");
        check_layer_types(fields, &config);
    }
    let defaults = ExpertDefaults {
        n_experts: 60,
        n_chosen: 4,
    };
    let shared_width = fields.size("shared_expert_intermediate_size", 5632);
    let experts = qwen_experts(fields, &config, 1408, &defaults);
    config.experts = Some(experts.with_shared_intermediate_size(Some(shared_width)));
    config
}
