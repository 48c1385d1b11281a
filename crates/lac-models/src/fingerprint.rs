//! The fingerprint of a model: everything in its files that decides results.

use lac_core::plan::ModelFingerprint;

use crate::architecture::ModelConfig;
use crate::decoder::{
    Activation, DecoderConfig, ExpertsConfig, HeadNorms, LayerNorms, NormForm, ProjectionBias,
    RopeConfig, RopeScaling,
};
use crate::hash::FieldHasher;
use crate::tokenizer::TextSettings;

/// Makes a fingerprint of a model's configuration and tokenizer and of a hash of the weights.
pub(crate) fn fingerprint(
    config: &ModelConfig,
    text: TextSettings,
    weights: String,
) -> ModelFingerprint {
    ModelFingerprint {
        architecture: config.architecture.model_type().to_owned(),
        n_layers: config.decoder.n_layers,
        hidden_size: config.decoder.hidden_size,
        vocab_size: config.decoder.vocab_size,
        weights,
        config: Some(config_hash(&config.decoder)),
        tokenizer: text.tokenizer,
        chat_template: text.chat_template,
        stop_tokens: text.stop_tokens,
    }
}

/// Hashes the settings of `config.json` that decide what the layers compute, whichever fields the file has for them.
fn config_hash(config: &DecoderConfig) -> String {
    let mut hasher = FieldHasher::default();
    hasher.field(config_text(config));
    hasher.finish()
}

/// Writes the settings in one fixed order. A setting that the model does not use is left out, so settings that are added
/// later leave the hashes of older models as they are.
fn config_text(config: &DecoderConfig) -> String {
    let DecoderConfig {
        vocab_size,
        hidden_size,
        intermediate_size,
        experts,
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        rms_norm_eps,
        max_position_embeddings,
        rope,
        sliding_rope,
        rotary_dim,
        unrotated_layers,
        query_scale,
        sliding_window,
        full_attention_layers,
        qkv_bias,
        o_bias,
        mlp_bias,
        head,
        // The names of the tensors, which the hash of the weights has.
        projections: _,
        activation,
        norm_form,
        layer_norms,
        head_norms,
        embedding_multiplier,
        residual_multiplier,
        attention_multiplier,
        attention_soft_cap,
        logits_divisor,
        logits_soft_cap,
    } = config;
    let mut text = format!(
        "vocab_size {vocab_size} hidden_size {hidden_size} intermediate_size {intermediate_size} \
         n_layers {n_layers} n_heads {n_heads} n_kv_heads {n_kv_heads} head_dim {head_dim} \
         rms_norm_eps {rms_norm_eps:e} max_position_embeddings {max_position_embeddings} \
         rope_theta {theta:e} head {head:?}",
        theta = rope.theta,
    );
    text.push_str(&stretch_text(rope));
    let mut add = |is_used: bool, setting: String| {
        if is_used {
            text.push(' ');
            text.push_str(&setting);
        }
    };
    if let Some(window) = sliding_window {
        add(true, format!("sliding_window {window}"));
    }
    for (name, bias) in [
        ("qkv_bias", qkv_bias),
        ("o_bias", o_bias),
        ("mlp_bias", mlp_bias),
    ] {
        add(*bias == ProjectionBias::Present, name.to_owned());
    }
    if let Some(rope) = sliding_rope {
        let stretch = stretch_text(rope);
        add(
            true,
            format!("sliding_rope_theta {:e}{stretch}", rope.theta),
        );
    }
    for (name, layers) in [
        ("unrotated_layers", unrotated_layers),
        ("full_attention_layers", full_attention_layers),
    ] {
        add(!layers.is_empty(), format!("{name} {layers:?}"));
    }
    if let Some(rotary_dim) = rotary_dim {
        add(rotary_dim != head_dim, format!("rotary_dim {rotary_dim}"));
    }
    add(
        *activation != Activation::Silu,
        format!("activation {activation:?}"),
    );
    add(
        *norm_form != NormForm::Weight,
        format!("norm_form {norm_form:?}"),
    );
    add(
        *layer_norms != LayerNorms::Before,
        format!("layer_norms {layer_norms:?}"),
    );
    add(
        *head_norms != HeadNorms::Absent,
        format!("head_norms {head_norms:?}"),
    );
    for (name, multiplier) in [
        ("embedding_multiplier", embedding_multiplier),
        ("residual_multiplier", residual_multiplier),
        ("logits_divisor", logits_divisor),
    ] {
        add(*multiplier != 1.0, format!("{name} {multiplier:e}"));
    }
    for (name, value) in [
        ("attention_multiplier", attention_multiplier),
        ("attention_soft_cap", attention_soft_cap),
        ("logits_soft_cap", logits_soft_cap),
    ] {
        if let Some(value) = value {
            add(true, format!("{name} {value:e}"));
        }
    }
    if let Some(scale) = query_scale {
        let context = scale.original_max_position_embeddings;
        add(true, format!("query_scale {:e} {context}", scale.beta));
    }
    if let Some(experts) = experts {
        text.push_str(&experts_text(experts));
    }
    text
}

/// Writes the experts, with a space before every setting.
fn experts_text(experts: &ExpertsConfig) -> String {
    let ExpertsConfig {
        n_experts,
        n_chosen,
        intermediate_size,
        shared_intermediate_size,
        weights,
        dense_layers,
    } = experts;
    let mut text = format!(" experts {n_experts} {n_chosen} {intermediate_size} {weights:?}");
    if let Some(width) = shared_intermediate_size {
        text.push_str(&format!(" shared_expert {width}"));
    }
    if !dense_layers.is_empty() {
        text.push_str(&format!(" dense_layers {dense_layers:?}"));
    }
    text
}

/// Writes how rotary positions are stretched, with a space before every setting.
fn stretch_text(rope: &RopeConfig) -> String {
    let scaling = match &rope.scaling {
        RopeScaling::None => String::new(),
        RopeScaling::Linear { factor } => format!(" rope_linear {factor:e}"),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => format!(
            " rope_llama3 {factor:e} {low_freq_factor:e} {high_freq_factor:e} \
             {original_max_position_embeddings}"
        ),
        RopeScaling::Dynamic {
            factor,
            original_max_position_embeddings,
        } => format!(" rope_dynamic {factor:e} {original_max_position_embeddings}"),
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            ramp,
        } => format!(
            " rope_yarn {factor:e} {beta_fast:e} {beta_slow:e} {original_max_position_embeddings} {ramp:?}"
        ),
        RopeScaling::LongRope {
            short_factor,
            long_factor,
            original_max_position_embeddings,
        } => format!(
            " rope_long {short_factor:?} {long_factor:?} {original_max_position_embeddings}"
        ),
        RopeScaling::Factors { factors } => format!(" rope_factors {factors:?}"),
    };
    match rope.attention_factor {
        1.0 => scaling,
        factor => format!("{scaling} rope_attention_factor {factor:e}"),
    }
}
