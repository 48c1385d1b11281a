//! Llama: <https://arxiv.org/abs/2302.13971>, <https://arxiv.org/abs/2407.21783>.

use super::error::ConfigError;
use super::fields::{Defaults, Fields, check_layer_types, shared_config};
use crate::decoder::{DecoderConfig, ProjectionBias};

pub(super) fn decoder_config(fields: &mut Fields<'_>) -> Result<DecoderConfig, ConfigError> {
    let mut config = shared_config(
        fields,
        Defaults {
            n_kv_heads: None,
            max_position_embeddings: 2048,
        },
    )?;
    // One flag for all four projections of the attention.
    if fields.flag("attention_bias", false)? {
        config.qkv_bias = ProjectionBias::Present;
        config.o_bias = ProjectionBias::Present;
    }
    if fields.flag("mlp_bias", false)? {
        config.mlp_bias = ProjectionBias::Present;
    }
    check_layer_types(fields, None)?;
    Ok(config)
}
