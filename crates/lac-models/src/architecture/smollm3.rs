//! SmolLM3: <https://huggingface.co/blog/smollm3>. A Llama that rotates no heads in every fourth layer.

use super::family::Family;
use super::fields::{Fields, Given};
use super::rope::RopeDefaults;
use super::shared::{self, ClassDefaults, LLAMA, LayerKind, sliding_layers};
use crate::decoder::{DecoderConfig, HeadKind};

pub(super) const FAMILY: Family = Family {
    model_type: "smollm3",
    class_name: "SmolLM3ForCausalLM",
    eos_token_id: Some(128_001),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        vocab_size: 128_256,
        hidden_size: 2048,
        n_layers: 36,
        n_heads: 16,
        n_kv_heads: Some(4),
        max_position_embeddings: 32_768,
        head: HeadKind::Tied,
        rope: RopeDefaults {
            theta: 2_000_000.0,
            ..LLAMA.rope
        },
        ..LLAMA
    };
    let mut config = shared::config(fields, defaults);
    shared::attention_bias(fields, &mut config);
    shared::mlp_bias(fields, &mut config);
    let period = fields.size("no_rope_layer_interval", 4);
    let is_rotated = match fields.flags("no_rope_layers") {
        Given::Value(flags) if flags.len() >= config.n_layers => flags,
        Given::Value(flags) => {
            let found = format!("a list of {}", flags.len());
            fields.invalid("no_rope_layers", &found, "1 or 0 for each of the layers");
            flags
        }
        // Rotated are those that the name seems to exclude.
        _ => (0..config.n_layers)
            .map(|layer_idx| !(layer_idx + 1).is_multiple_of(period))
            .collect(),
    };
    let is_unrotated = |&layer_idx: &usize| is_rotated.get(layer_idx) == Some(&false);
    config.unrotated_layers = (0..config.n_layers).filter(is_unrotated).collect();
    if fields.flag("use_sliding_window") {
        config.sliding_window = fields.limit("sliding_window").or(None, None);
    } else {
        fields.pass_over("sliding_window");
    }
    sliding_layers(fields, &mut config, |layer_idx| {
        LayerKind::sliding_if(is_rotated.get(layer_idx) == Some(&false))
    });
    config
}
