//! A model's sizes and choices, as the metadata of a GGUF file says them.

use super::tensors::PlannedTensor;
use crate::architecture::{Architecture, ModelConfig};
use crate::decoder::{DecoderConfig, RopeScaling};
use crate::gguf::layout::RowOrder;
use crate::gguf::metadata::MetadataValue;

/// What a file says of a configuration.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) metadata: Vec<(String, MetadataValue)>,
    /// The factors of the rotary wavelengths, which are a tensor, with that tensor.
    pub(crate) rope_factors: Option<(PlannedTensor, Vec<f32>)>,
    /// How the rows of q and k stand in the file.
    pub(crate) qk_rows: RowOrder,
}

/// Makes the metadata of a configuration.
///
/// # Errors
/// Says what has no form in GGUF files, or none that is written.
pub(crate) fn settings(config: &ModelConfig, name: &str) -> Result<Settings, String> {
    let (family, qk_rows) = match config.architecture {
        Architecture::Llama | Architecture::Mistral => ("llama", RowOrder::Pairs),
        Architecture::Qwen2 => ("qwen2", RowOrder::Halves),
        other => {
            return Err(format!(
                "models of the family {} are not written as GGUF yet: expected Llama, Mistral or Qwen2; llama.cpp's \
                 convert_hf_to_gguf.py writes them",
                other.model_type()
            ));
        }
    };
    let decoder = &config.decoder;
    let mut metadata = Vec::new();
    let mut add = |key: &str, value: MetadataValue| metadata.push((key.to_owned(), value));
    add(
        "general.architecture",
        MetadataValue::Text(family.to_owned()),
    );
    add("general.type", MetadataValue::Text("model".to_owned()));
    add("general.name", MetadataValue::Text(name.to_owned()));
    let mut own = |key: &str, value: MetadataValue| {
        metadata.push((format!("{family}.{key}"), value));
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
        ("rope.dimension_count", decoder.head_dim),
        ("vocab_size", decoder.vocab_size),
    ] {
        own(key, MetadataValue::Unsigned(size as u64));
    }
    let number = |value: f64| MetadataValue::F32(value as f32);
    own(
        "attention.layer_norm_rms_epsilon",
        number(decoder.rms_norm_eps),
    );
    own("rope.freq_base", number(decoder.rope.theta));
    if let Some(window) = decoder.sliding_window {
        if !decoder.full_attention_layers.is_empty() || family != "llama" {
            return Err(
                "windows in some of its layers are not written as GGUF: llama.cpp would not read them"
                    .to_owned(),
            );
        }
        own(
            "attention.sliding_window",
            MetadataValue::Unsigned(window as u64),
        );
    }
    let rope_factors = scaling(decoder, &mut own)?;
    Ok(Settings {
        metadata,
        rope_factors,
        qk_rows,
    })
}

/// Adds how rotary positions are stretched.
fn scaling(
    decoder: &DecoderConfig,
    own: &mut dyn FnMut(&str, MetadataValue),
) -> Result<Option<(PlannedTensor, Vec<f32>)>, String> {
    let number = |value: f64| MetadataValue::F32(value as f32);
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let n_pairs = decoder.head_dim / 2;
    let factors = |factors: &[f64]| {
        let factors = factors.iter().map(|&factor| factor as f32).collect();
        Some((PlannedTensor::rope_factors(n_pairs), factors))
    };
    let rope = &decoder.rope;
    match &rope.scaling {
        RopeScaling::None if rope.attention_factor == 1.0 => Ok(None),
        RopeScaling::Linear { factor } if rope.attention_factor == 1.0 => {
            own("rope.scaling.type", text("linear"));
            own("rope.scaling.factor", number(*factor));
            Ok(None)
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            let context = *original_max_position_embeddings as f64;
            let ramp = LlamaRamp {
                factor: *factor,
                longest_kept: context / high_freq_factor,
                shortest_stretched: context / low_freq_factor,
                context,
                frequencies: (*low_freq_factor, *high_freq_factor),
            };
            let wavelengths = wavelengths(rope.theta, decoder.head_dim);
            let stretched: Vec<f64> = wavelengths.map(|wavelength| ramp.stretch(wavelength)).collect();
            Ok(factors(&stretched))
        }
        RopeScaling::Factors { factors: stretched } => Ok(factors(stretched)),
        _ => Err(
            "this scaling of rotary positions is not written as GGUF: expected none, linear or llama3; llama.cpp's \
             convert_hf_to_gguf.py writes others"
                .to_owned(),
        ),
    }
}

/// Returns the wavelengths of the pairs of a head, in positions.
fn wavelengths(theta: f64, head_dim: usize) -> impl Iterator<Item = f64> {
    (0..head_dim / 2).map(move |pair| {
        let frequency = theta.powf(-2.0 * pair as f64 / head_dim as f64);
        std::f64::consts::TAU / frequency
    })
}

/// How Llama 3.1 stretches wavelengths.
struct LlamaRamp {
    factor: f64,
    longest_kept: f64,
    shortest_stretched: f64,
    context: f64,
    /// The factors for low and for high frequencies.
    frequencies: (f64, f64),
}

impl LlamaRamp {
    /// Returns the factor that a wavelength is stretched by.
    fn stretch(&self, wavelength: f64) -> f64 {
        if wavelength < self.longest_kept {
            1.0
        } else if wavelength > self.shortest_stretched {
            self.factor
        } else {
            let (low, high) = self.frequencies;
            let smooth = (self.context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / self.factor + smooth)
        }
    }
}
