//! Llama: <https://arxiv.org/abs/2302.13971>, <https://arxiv.org/abs/2407.21783>.

use super::fields::{Fields, Given};
use super::shared::{ClassDefaults, check_layer_types, shared_config};
use crate::decoder::{DecoderConfig, ProjectionBias};

/// The class's end of a text.
pub(super) const EOS_TOKEN_ID: Option<u32> = Some(2);

pub(super) fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    // The class has no window: whatever the file says, attention is to all earlier keys.
    if let Given::Value(_) = fields.limit("sliding_window") {
        fields.ignore("sliding_window");
    }
    let mut config = shared_config(
        fields,
        ClassDefaults {
            vocab_size: 32_000,
            intermediate_size: 11_008,
            n_kv_heads: None,
            max_position_embeddings: 2048,
        },
    );
    check_layer_types(fields, &config);
    // One flag for all four projections of the attention.
    if fields.flag("attention_bias") {
        config.qkv_bias = ProjectionBias::Present;
        config.o_bias = ProjectionBias::Present;
    }
    if fields.flag("mlp_bias") {
        config.mlp_bias = ProjectionBias::Present;
    }
    config
}
