//! The fingerprint of a model folder: everything in it that decides results.

use std::path::Path;

use lac_core::plan::ModelFingerprint;

use crate::architecture::ModelConfig;
use crate::decoder::{DecoderConfig, ProjectionBias, RopeConfig, RopeScaling};
use crate::hash::FieldHasher;
use crate::tokenizer::{TextSettings, TokenizerError};

/// Makes a fingerprint of a folder's configuration and tokenizer and of a hash of the weights.
///
/// # Errors
/// A file of the tokenizer that cannot be read or is malformed.
pub(crate) fn fingerprint(
    config: &ModelConfig,
    folder: &Path,
    weights: String,
) -> Result<ModelFingerprint, TokenizerError> {
    let text = TextSettings::read(folder)?;
    Ok(ModelFingerprint {
        architecture: config.architecture.model_type().to_owned(),
        n_layers: config.decoder.n_layers,
        hidden_size: config.decoder.hidden_size,
        vocab_size: config.decoder.vocab_size,
        weights,
        config: Some(config_hash(&config.decoder)),
        tokenizer: text.tokenizer,
        chat_template: text.chat_template,
        stop_tokens: text.stop_tokens,
    })
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
        n_layers,
        n_heads,
        n_kv_heads,
        head_dim,
        rms_norm_eps,
        max_position_embeddings,
        rope: RopeConfig { theta, scaling },
        sliding_window,
        qkv_bias,
        o_bias,
        mlp_bias,
        head,
    } = config;
    let mut text = format!(
        "vocab_size {vocab_size} hidden_size {hidden_size} intermediate_size {intermediate_size} \
         n_layers {n_layers} n_heads {n_heads} n_kv_heads {n_kv_heads} head_dim {head_dim} \
         rms_norm_eps {rms_norm_eps:e} max_position_embeddings {max_position_embeddings} \
         rope_theta {theta:e} head {head:?}"
    );
    let mut add = |setting: &str| {
        text.push(' ');
        text.push_str(setting);
    };
    match scaling {
        RopeScaling::None => {}
        RopeScaling::Linear { factor } => add(&format!("rope_linear {factor:e}")),
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => add(&format!(
            "rope_llama3 {factor:e} {low_freq_factor:e} {high_freq_factor:e} \
             {original_max_position_embeddings}"
        )),
    }
    if let Some(window) = sliding_window {
        add(&format!("sliding_window {window}"));
    }
    for (name, bias) in [
        ("qkv_bias", qkv_bias),
        ("o_bias", o_bias),
        ("mlp_bias", mlp_bias),
    ] {
        if *bias == ProjectionBias::Present {
            add(name);
        }
    }
    text
}
