//! Qwen2 and Qwen2.5: <https://arxiv.org/abs/2407.10671>. A Llama with biases on q, k and v.

use super::family::Family;
use super::fields::Fields;
use super::shared::{self, ClassDefaults, LLAMA, LayerKind, check_layer_types, sliding_layers};
use crate::decoder::{DecoderConfig, ProjectionBias};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen2",
    class_name: "Qwen2ForCausalLM",
    eos_token_id: None,
    decoder_config,
};

/// Those of Qwen2 and Qwen3.
pub(super) const DEFAULTS: ClassDefaults = ClassDefaults {
    vocab_size: 151_936,
    intermediate_size: 22_016,
    n_kv_heads: Some(32),
    max_position_embeddings: 32_768,
    ..LLAMA
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let mut config = shared::config(fields, DEFAULTS);
    config.qkv_bias = ProjectionBias::Present;
    sliding_window(fields, &mut config);
    config
}

/// Reads the window, if it is switched on. It slides in the layers from `max_window_layers` on, or in those that
/// `layer_types` names.
pub(super) fn sliding_window(fields: &mut Fields<'_>, config: &mut DecoderConfig) {
    if !fields.flag("use_sliding_window") {
        fields.pass_over("sliding_window");
        fields.pass_over("max_window_layers");
        check_layer_types(fields, config);
        return;
    }
    config.sliding_window = fields.limit("sliding_window").or(Some(4096), None);
    let n_full = fields.index("max_window_layers").or(Some(28), Some(28));
    sliding_layers(fields, config, |layer_idx| {
        LayerKind::sliding_if(layer_idx >= n_full.unwrap_or(28))
    });
}
