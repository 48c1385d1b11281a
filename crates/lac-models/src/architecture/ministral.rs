//! Ministral: <https://mistral.ai/news/ministraux>. A Mistral whose window slides in some layers.

use super::family::Family;
use super::fields::Fields;
use super::mistral::DEFAULTS;
use super::shared::{self, LayerKind, sliding_layers};
use crate::decoder::DecoderConfig;

pub(super) const FAMILY: Family = Family {
    model_type: "ministral",
    class_name: "MinistralForCausalLM",
    eos_token_id: Some(2),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let mut config = shared::config(fields, DEFAULTS);
    config.sliding_window = fields.limit("sliding_window").or(Some(4096), None);
    sliding_layers(fields, &mut config, |_| LayerKind::Sliding);
    config
}
