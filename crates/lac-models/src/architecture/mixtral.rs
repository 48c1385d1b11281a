//! Mixtral: <https://arxiv.org/abs/2401.04088>. A Mistral with experts in place of the MLP.

use super::experts::{ExpertDefaults, experts};
use super::family::Family;
use super::fields::Fields;
use super::mistral;
use super::rope::RopeDefaults;
use super::shared::{self, ClassDefaults, LLAMA, check_layer_types};
use crate::decoder::DecoderConfig;

pub(super) const FAMILY: Family = Family {
    model_type: "mixtral",
    class_name: "MixtralForCausalLM",
    eos_token_id: Some(2),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let defaults = ClassDefaults {
        rms_norm_eps: 1e-5,
        rope: RopeDefaults {
            theta: 1e6,
            ..LLAMA.rope
        },
        ..mistral::DEFAULTS
    };
    let sliding_window = fields.limit("sliding_window").or(None, None);
    let mut config = shared::config(fields, defaults);
    config.sliding_window = sliding_window;
    check_layer_types(fields, &config);
    let defaults = ExpertDefaults {
        n_experts: 8,
        n_chosen: 2,
    };
    config.experts = Some(experts(fields, config.intermediate_size, &defaults));
    config
}
