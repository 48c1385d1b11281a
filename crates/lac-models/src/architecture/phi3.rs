//! Phi-3, Phi-3.5, Phi-4 and Phi-4-mini: <https://arxiv.org/abs/2404.14219>. A Llama whose projections of one input are
//! stored as one tensor, and that may rotate a part of each head.

use super::family::Family;
use super::fields::Fields;
use super::rope::{PartialRotation, RopeDefaults};
use super::shared::{self, ClassDefaults, LLAMA, check_layer_types};
use crate::decoder::{DecoderConfig, ProjectionLayout};

pub(super) const FAMILY: Family = Family {
    model_type: "phi3",
    class_name: "Phi3ForCausalLM",
    eos_token_id: Some(32_000),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        vocab_size: 32_064,
        hidden_size: 3072,
        intermediate_size: 8192,
        max_position_embeddings: 4096,
        rms_norm_eps: 1e-5,
        rope: RopeDefaults {
            partial: PartialRotation::Heeded,
            ..LLAMA.rope
        },
        ..LLAMA
    };
    let sliding_window = fields.limit("sliding_window").or(None, None);
    let mut config = shared::config(fields, defaults);
    config.projections = ProjectionLayout::Fused;
    config.sliding_window = sliding_window;
    check_layer_types(fields, &config);
    config
}
