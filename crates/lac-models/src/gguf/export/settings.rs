//! A model's sizes and choices, as the metadata of a GGUF file says them.

use super::families::{RopeFactors, add_own, add_scaling, family};
use crate::architecture::ModelConfig;
use crate::gguf::layout::Layout;
use crate::gguf::metadata::MetadataValue;

/// What a file says of a configuration.
pub(crate) struct Settings {
    pub(crate) metadata: Vec<(String, MetadataValue)>,
    /// The factors of the rotary wavelengths, which are tensors.
    pub(crate) rope_factors: RopeFactors,
    /// How the tensors are named and changed.
    pub(crate) layout: Layout,
}

/// Makes the metadata of a configuration.
///
/// # Errors
/// Says what has no form in GGUF files, or none that is written.
pub(crate) fn settings(config: &ModelConfig, name: &str) -> Result<Settings, String> {
    let family = family(config.architecture)?;
    let decoder = &config.decoder;
    let mut metadata: Vec<(String, MetadataValue)> = [
        ("general.architecture", family.name),
        ("general.type", "model"),
        ("general.name", name),
    ]
    .map(|(key, text)| (key.to_owned(), MetadataValue::Text(text.to_owned())))
    .to_vec();
    let mut own = |key: &str, value: MetadataValue| {
        metadata.push((format!("{}.{key}", family.name), value));
    };
    for (key, size) in [
        ("block_count", decoder.n_layers),
        ("context_length", decoder.max_position_embeddings),
        ("embedding_length", decoder.hidden_size),
        ("feed_forward_length", decoder.intermediate_size),
        ("attention.head_count", decoder.n_heads),
        ("attention.head_count_kv", decoder.n_kv_heads),
        ("attention.key_length", decoder.head_dim),
        ("attention.value_length", decoder.head_dim),
        ("rope.dimension_count", decoder.n_rotated()),
        ("vocab_size", decoder.vocab_size),
    ] {
        own(key, MetadataValue::Unsigned(size as u64));
    }
    for (key, number) in [
        ("attention.layer_norm_rms_epsilon", decoder.rms_norm_eps),
        ("rope.freq_base", decoder.rope.theta),
    ] {
        own(key, MetadataValue::F32(number as f32));
    }
    add_own(family, decoder, &mut own)?;
    let rope_factors = add_scaling(family, decoder, &mut own)?;
    Ok(Settings {
        metadata,
        rope_factors,
        layout: Layout {
            qk_rows: family.qk_rows,
            norm_weights: family.norm_weights,
            layer_norms: decoder.layer_norms,
        },
    })
}
