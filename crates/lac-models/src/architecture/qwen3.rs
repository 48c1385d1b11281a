//! Qwen3: <https://arxiv.org/abs/2505.09388>. A Llama with norms of every head's queries and keys.

use super::family::Family;
use super::fields::Fields;
use super::qwen2::{self, sliding_window};
use super::shared::{self, ClassDefaults, attention_bias};
use crate::decoder::{DecoderConfig, HeadNorms};

pub(super) const FAMILY: Family = Family {
    model_type: "qwen3",
    class_name: "Qwen3ForCausalLM",
    eos_token_id: None,
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        head_dim: Some(128),
        ..qwen2::DEFAULTS
    };
    let mut config = shared::config(fields, defaults);
    config.head_norms = HeadNorms::PerHead;
    attention_bias(fields, &mut config);
    sliding_window(fields, &mut config);
    config
}
