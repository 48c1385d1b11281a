//! Mistral: <https://arxiv.org/abs/2310.06825>. A Llama with a sliding window.

use super::fields::Fields;
use super::shared::{ClassDefaults, check_layer_types, shared_config};
use crate::decoder::DecoderConfig;

/// The class's end of a text.
pub(super) const EOS_TOKEN_ID: Option<u32> = Some(2);

pub(super) fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    // Absent, the window is the first Mistral's; null, there is none.
    let sliding_window = fields.limit("sliding_window").or(Some(4096), None);
    let mut config = shared_config(
        fields,
        ClassDefaults {
            vocab_size: 32_000,
            intermediate_size: 14_336,
            n_kv_heads: Some(8),
            max_position_embeddings: 4096 * 32,
        },
    );
    config.sliding_window = sliding_window;
    check_layer_types(fields, &config);
    config
}
