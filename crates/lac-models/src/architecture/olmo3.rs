//! OLMo 3: <https://allenai.org/olmo>. An OLMo 2 whose window slides in three layers of four.

use super::family::Family;
use super::fields::Fields;
use super::olmo2::{self, olmo_config};
use super::rope::{RopeDefaults, SlidingRotation};
use super::shared::{ClassDefaults, LLAMA, LayerKind, sliding_layers};
use crate::decoder::DecoderConfig;

pub(super) const FAMILY: Family = Family {
    model_type: "olmo3",
    class_name: "Olmo3ForCausalLM",
    eos_token_id: Some(50_279),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        rope: RopeDefaults {
            theta: 500_000.0,
            // Scaling acts in the other layers alone.
            sliding: SlidingRotation::Own {
                field: "rope_theta",
                theta: 500_000.0,
            },
            ..LLAMA.rope
        },
        ..olmo2::DEFAULTS
    };
    let mut config = olmo_config(fields, defaults);
    config.sliding_window = fields.limit("sliding_window").or(Some(4096), None);
    sliding_layers(fields, &mut config, |layer_idx| {
        LayerKind::sliding_if(!(layer_idx + 1).is_multiple_of(4))
    });
    config
}
