//! Gemma 3, models of text alone: <https://arxiv.org/abs/2503.19786>. A Gemma 2 with norms of queries and keys in place of
//! soft bounds, and another base of rotary positions in the layers with a window.

use super::family::Family;
use super::fields::Fields;
use super::gemma2::{self, gemma_config};
use super::rope::{RopeDefaults, SlidingRotation};
use super::shared::{ClassDefaults, LLAMA, LayerKind, sliding_layers};
use crate::decoder::{DecoderConfig, HeadNorms};

pub(super) const FAMILY: Family = Family {
    model_type: "gemma3_text",
    class_name: "Gemma3ForCausalLM",
    eos_token_id: Some(1),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        vocab_size: 262_208,
        max_position_embeddings: 131_072,
        rope: RopeDefaults {
            theta: 1_000_000.0,
            sliding: SlidingRotation::Own {
                field: "rope_local_base_freq",
                theta: 10_000.0,
            },
            ..LLAMA.rope
        },
        ..gemma2::DEFAULTS
    };
    let mut config = gemma_config(fields, defaults, [None, None]);
    config.head_norms = HeadNorms::PerHead;
    let period = fields.count("sliding_window_pattern").or(Some(6), Some(6));
    let period = period.unwrap_or(6);
    sliding_layers(fields, &mut config, |layer_idx| {
        LayerKind::sliding_if(!(layer_idx + 1).is_multiple_of(period))
    });
    config
}
