//! Mistral: <https://arxiv.org/abs/2310.06825>. A Llama with a sliding window.

use super::error::ConfigError;
use super::fields::{Defaults, Fields, check_layer_types, shared_config};
use crate::decoder::DecoderConfig;

pub(super) fn decoder_config(fields: &mut Fields<'_>) -> Result<DecoderConfig, ConfigError> {
    let mut config = shared_config(
        fields,
        Defaults {
            n_kv_heads: Some(8),
            max_position_embeddings: 4096 * 32,
        },
    )?;
    config.sliding_window = fields.count("sliding_window")?;
    check_layer_types(fields, config.sliding_window)?;
    Ok(config)
}
