//! Mistral: <https://arxiv.org/abs/2310.06825>. A Llama with a sliding window.

use super::family::Family;
use super::fields::Fields;
use super::shared::{self, ClassDefaults, LLAMA, check_layer_types};
use crate::decoder::DecoderConfig;

pub(super) const FAMILY: Family = Family {
    model_type: "mistral",
    class_name: "MistralForCausalLM",
    eos_token_id: Some(2),
    decoder_config,
};

/// Those of Mistral and Ministral.
pub(super) const DEFAULTS: ClassDefaults = ClassDefaults {
    intermediate_size: 14_336,
    n_kv_heads: Some(8),
    max_position_embeddings: 4096 * 32,
    ..LLAMA
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    // Absent, the window is the first Mistral's; null, there is none.
    let sliding_window = fields.limit("sliding_window").or(Some(4096), None);
    let mut config = shared::config(fields, DEFAULTS);
    config.sliding_window = sliding_window;
    check_layer_types(fields, &config);
    config
}
