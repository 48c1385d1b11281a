//! Gemma 2: <https://arxiv.org/abs/2408.00118>. Four norms a layer, soft bounds, a window in every second layer.

use super::family::Family;
use super::fields::Fields;
use super::shared::{self, ClassDefaults, LLAMA, LayerKind, attention_bias, sliding_layers};
use crate::decoder::{Activation, DecoderConfig, HeadKind, LayerNorms, NormForm};

pub(super) const FAMILY: Family = Family {
    model_type: "gemma2",
    class_name: "Gemma2ForCausalLM",
    eos_token_id: Some(1),
    decoder_config,
};

/// Those of Gemma 2; Gemma 3 has most of them.
pub(super) const DEFAULTS: ClassDefaults = ClassDefaults {
    vocab_size: 256_000,
    hidden_size: 2304,
    intermediate_size: 9216,
    n_layers: 26,
    n_heads: 8,
    n_kv_heads: Some(4),
    head_dim: Some(256),
    max_position_embeddings: 8192,
    head: HeadKind::Tied,
    activation: ("hidden_activation", Activation::GeluTanh),
    ..LLAMA
};

fn decoder_config(fields: &mut Fields<'_>) -> DecoderConfig {
    let mut config = gemma_config(fields, DEFAULTS, [Some(50.0), Some(30.0)]);
    sliding_layers(fields, &mut config, |layer_idx| {
        LayerKind::sliding_if(layer_idx.is_multiple_of(2))
    });
    config
}

/// Reads what Gemma 2 and Gemma 3 share, with the soft bounds of attention and logits where the file has none.
pub(super) fn gemma_config(
    fields: &mut Fields<'_>,
    defaults: ClassDefaults,
    [attention_cap, logits_cap]: [Option<f64>; 2],
) -> DecoderConfig {
    // An older name, which the class does not heed.
    fields.pass_over("hidden_act");
    let mut config = shared::config(fields, defaults);
    config.layer_norms = LayerNorms::BeforeAndAfter;
    config.norm_form = NormForm::OnePlusWeight;
    config.embedding_multiplier = (config.hidden_size as f64).sqrt();
    let query_scalar = fields.multiplier("query_pre_attn_scalar", 256.0);
    config.attention_multiplier = Some(query_scalar.powf(-0.5));
    let attention_soft_cap = fields.positive("attn_logit_softcapping");
    config.attention_soft_cap = attention_soft_cap.or(attention_cap, None);
    let logits_soft_cap = fields.positive("final_logit_softcapping");
    config.logits_soft_cap = logits_soft_cap.or(logits_cap, None);
    config.sliding_window = fields.limit("sliding_window").or(Some(4096), None);
    attention_bias(fields, &mut config);
    config
}
