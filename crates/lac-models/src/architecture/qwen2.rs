//! Qwen2 and Qwen2.5: <https://arxiv.org/abs/2407.10671>. A Llama with biases on q, k and v.

use super::fields::Fields;
use super::shared::{ClassDefaults, LayerKind, check_layer_types, layer_types, shared_config};
use crate::decoder::{DecoderConfig, ProjectionBias};

/// The class's end of a text: it has none.
pub(super) const EOS_TOKEN_ID: Option<u32> = None;

pub(super) fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let mut config = shared_config(
        fields,
        ClassDefaults {
            vocab_size: 151_936,
            intermediate_size: 22_016,
            n_kv_heads: Some(32),
            max_position_embeddings: 32_768,
        },
    );
    config.qkv_bias = ProjectionBias::Present;
    config.sliding_window = sliding_window(fields, &config);
    config
}

/// Returns the window of all layers. It slides in those from `max_window_layers` on, or in those that `layer_types`
/// names.
fn sliding_window(fields: &mut Fields<'_>, config: &DecoderConfig) -> Option<usize> {
    if !fields.flag("use_sliding_window") {
        fields.pass_over("sliding_window");
        fields.pass_over("max_window_layers");
        check_layer_types(fields, config);
        return None;
    }
    let window = fields.limit("sliding_window").or(Some(4096), None);
    let first = fields.index("max_window_layers").or(Some(28), Some(28));
    let n_full = first.unwrap_or(28).min(config.n_layers);
    let Some(window) = window else {
        check_layer_types(fields, config);
        return None;
    };
    let n_sliding = match layer_types(fields, config.n_layers) {
        Some(kinds) => {
            let is_sliding = |kind: &&LayerKind| **kind == LayerKind::Sliding;
            kinds.iter().filter(is_sliding).count()
        }
        None => config.n_layers - n_full,
    };
    if n_sliding == 0 || window >= config.max_context() {
        return None;
    }
    if n_sliding < config.n_layers {
        let supported = "a window in all layers is (max_window_layers 0), or in none (max_window_layers \
                         num_hidden_layers), or one that no text outgrows";
        let value = format!("true, for {n_sliding} of {} layers", config.n_layers);
        fields.unsupported("use_sliding_window", &value, supported);
    }
    Some(window)
}
