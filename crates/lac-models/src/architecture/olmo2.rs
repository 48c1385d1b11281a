//! OLMo 2: <https://arxiv.org/abs/2501.00656>. Norms after the sublayers, and of all heads' queries and keys together.

use super::family::Family;
use super::fields::Fields;
use super::shared::{self, ClassDefaults, LLAMA, attention_bias, check_layer_types};
use crate::decoder::{DecoderConfig, HeadNorms, LayerNorms, NormForm};

pub(super) const FAMILY: Family = Family {
    model_type: "olmo2",
    class_name: "Olmo2ForCausalLM",
    eos_token_id: Some(50_279),
    decoder_config,
};

/// Those of OLMo 2 and OLMo 3.
pub(super) const DEFAULTS: ClassDefaults = ClassDefaults {
    vocab_size: 50_304,
    rms_norm_eps: 1e-5,
    ..LLAMA
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let config = olmo_config(fields, DEFAULTS);
    check_layer_types(fields, &config);
    config
}

/// Reads what OLMo 2 and OLMo 3 share.
pub(super) fn olmo_config(fields: &mut Fields<'_>, defaults: ClassDefaults) -> DecoderConfig {
    let mut config = shared::config(fields, defaults);
    config.layer_norms = LayerNorms::After;
    config.head_norms = HeadNorms::AllHeads;
    config.norm_form = NormForm::WeightInF32;
    attention_bias(fields, &mut config);
    config
}
