//! Qwen2 and Qwen2.5: <https://arxiv.org/abs/2407.10671>. A Llama with biases on q, k and v.

use super::fields::{Fields, Given};
use super::shared::{ClassDefaults, shared_config};
use crate::decoder::{DecoderConfig, ProjectionBias};

/// The class's end of a text: it has none.
pub(super) const EOS_TOKEN_ID: Option<u32> = None;

pub(super) fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let has_window = fields.flag("use_sliding_window");
    if !has_window {
        // Without use_sliding_window these two have no effect.
        fields.pass_over("sliding_window");
        fields.pass_over("max_window_layers");
    }
    let mut config = shared_config(
        fields,
        ClassDefaults {
            vocab_size: 151_936,
            intermediate_size: 22_016,
            n_kv_heads: Some(32),
            max_position_embeddings: 32_768,
        },
        None,
    );
    config.qkv_bias = ProjectionBias::Present;
    if has_window {
        let window = fields.limit("sliding_window");
        let reaches_everything = match window {
            Given::Absent => config.max_context() <= 4096,
            Given::Null => true,
            Given::Value(window) => config.max_context() <= window,
        };
        if !reaches_everything {
            // transformers 4.50 lets it slide in all layers, 5 in those above max_window_layers.
            let supported = "false is, or a sliding_window that no text outgrows";
            fields.unsupported("use_sliding_window", &true, supported);
        }
    }
    config
}
