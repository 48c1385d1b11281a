//! Llama: <https://arxiv.org/abs/2302.13971>, <https://arxiv.org/abs/2407.21783>.

use super::family::Family;
use super::fields::{Fields, Given};
use super::shared::{self, LLAMA, attention_bias, check_layer_types, mlp_bias};
use crate::decoder::DecoderConfig;

pub(super) const FAMILY: Family = Family {
    model_type: "llama",
    class_name: "LlamaForCausalLM",
    eos_token_id: Some(2),
    decoder_config,
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    // The class has no window: whatever the file says, attention is to all earlier keys.
    if let Given::Value(_) = fields.limit("sliding_window") {
        fields.ignore("sliding_window");
    }
    let mut config = shared::config(fields, LLAMA);
    check_layer_types(fields, &config);
    attention_bias(fields, &mut config);
    mlp_bias(fields, &mut config);
    config
}
