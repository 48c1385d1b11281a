//! Qwen2 and Qwen2.5: <https://arxiv.org/abs/2407.10671>. A Llama with biases on q, k and v.

use super::error::ConfigError;
use super::fields::{Defaults, Fields, check_layer_types, shared_config};
use crate::decoder::{DecoderConfig, ProjectionBias};

pub(super) fn decoder_config(fields: &mut Fields<'_>) -> Result<DecoderConfig, ConfigError> {
    let mut config = shared_config(
        fields,
        Defaults {
            n_kv_heads: Some(32),
            max_position_embeddings: 32_768,
        },
    )?;
    config.qkv_bias = ProjectionBias::Present;
    if fields.flag("use_sliding_window", false)? {
        return Err(fields.unsupported("use_sliding_window", &true, "false is"));
    }
    // Without use_sliding_window these two have no effect.
    fields.take("sliding_window");
    fields.take("max_window_layers");
    check_layer_types(fields, None)?;
    Ok(config)
}
