//! Granite: <https://arxiv.org/abs/2405.04324>. A Llama with multipliers.

use super::family::Family;
use super::fields::Fields;
use super::shared::{self, LLAMA, attention_bias, check_layer_types, mlp_bias};
use crate::decoder::DecoderConfig;

pub(super) const FAMILY: Family = Family {
    model_type: "granite",
    class_name: "GraniteForCausalLM",
    eos_token_id: Some(2),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let mut config = shared::config(fields, LLAMA);
    check_layer_types(fields, &config);
    attention_bias(fields, &mut config);
    mlp_bias(fields, &mut config);
    config.embedding_multiplier = fields.multiplier("embedding_multiplier", 1.0);
    config.residual_multiplier = fields.multiplier("residual_multiplier", 1.0);
    config.attention_multiplier = Some(fields.multiplier("attention_multiplier", 1.0));
    config.logits_divisor = fields.multiplier("logits_scaling", 1.0);
    config
}
