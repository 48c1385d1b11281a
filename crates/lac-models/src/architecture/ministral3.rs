//! Ministral 3: <https://mistral.ai/news/mistral-3>. A Mistral with yarn, whose queries grow with their position.

use serde_json::json;

use super::family::Family;
use super::fields::Fields;
use super::mistral;
use super::rope::{QueryGrowth, RopeDefaults};
use super::shared::{self, ClassDefaults, LLAMA, check_layer_types};
use crate::decoder::DecoderConfig;

pub(super) const FAMILY: Family = Family {
    model_type: "ministral3",
    class_name: "Ministral3ForCausalLM",
    eos_token_id: Some(2),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        vocab_size: 131_072,
        n_layers: 34,
        head_dim: Some(128),
        max_position_embeddings: 262_144,
        rms_norm_eps: 1e-5,
        rope: RopeDefaults {
            queries: QueryGrowth::Required,
            ..LLAMA.rope
        },
        ..mistral::DEFAULTS
    };
    if !fields.has("rope_parameters") && !fields.has("rope_scaling") {
        let parameters = json!({
            "rope_type": "yarn", "rope_theta": 1e6, "factor": 16.0,
            "original_max_position_embeddings": 16_384, "mscale": 1.0, "mscale_all_dim": 1.0,
            "llama_4_scaling_beta": 0.1,
        });
        fields.set("rope_parameters", parameters);
    }
    let sliding_window = fields.limit("sliding_window").or(None, None);
    let mut config = shared::config(fields, defaults);
    config.sliding_window = sliding_window;
    check_layer_types(fields, &config);
    config
}
