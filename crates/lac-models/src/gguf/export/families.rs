//! What a file says of each family beside the sizes: the inverse of what the reader takes from it.

use super::tensors::PlannedTensor;
use crate::architecture::Architecture;
use crate::decoder::{
    Activation, DecoderConfig, ProjectionBias, RampEnds, RopeConfig, RopeScaling,
};
use crate::gguf::families::{Biases, FAMILIES, Family};
use crate::gguf::layout::{ROPE_FACTORS, ROPE_LONG_FACTORS, ROPE_SHORT_FACTORS};
use crate::gguf::metadata::{MetadataArray, MetadataValue};

/// Factors of rotary wavelengths, with the tensor that they are written as.
pub(super) type RopeFactors = Vec<(PlannedTensor, Vec<f32>)>;

/// Returns the family that a model is written as.
///
/// # Errors
/// Says which can be written.
pub(super) fn family(architecture: Architecture) -> Result<&'static Family, String> {
    let name = match architecture {
        Architecture::Llama | Architecture::Mistral => "llama",
        Architecture::Olmo2 | Architecture::Olmo3 => "olmo2",
        Architecture::Gemma3 => "gemma3",
        other => other.model_type(),
    };
    let mut families = FAMILIES.iter();
    let family = families.find(|family| family.name == name);
    family.ok_or_else(|| {
        let names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        format!(
            "models of the family {name} are not written as GGUF: expected one of {}",
            names.join(", ")
        )
    })
}

/// Adds what a family has beside the sizes, and refuses what its files do not say: llama.cpp would compute something
/// else.
pub(super) fn add_own(
    family: &Family,
    decoder: &DecoderConfig,
    add: &mut dyn FnMut(&str, MetadataValue),
) -> Result<(), String> {
    check_shared(family, decoder)?;
    match family.name {
        "gemma2" => {
            let caps = [
                ("attn_logit_softcapping", decoder.attention_soft_cap),
                ("final_logit_softcapping", decoder.logits_soft_cap),
            ];
            for (key, cap) in caps {
                let cap =
                    cap.ok_or_else(|| format!("a Gemma 2 without {key} is not written as GGUF"))?;
                add(key, number(cap));
            }
            check_query_scale(decoder, 46)?;
        }
        "gemma3" => {
            if let Some(cap) = decoder.logits_soft_cap {
                add("final_logit_softcapping", number(cap));
            }
            if let Some(rope) = &decoder.sliding_rope {
                add("rope.freq_base_swa", number(rope.theta));
            }
            check_query_scale(decoder, 62)?;
        }
        "granite" => {
            add("attention.scale", number(decoder.attention_scale()));
            add("embedding_scale", number(decoder.embedding_multiplier));
            add("residual_scale", number(decoder.residual_multiplier));
            add("logit_scale", number(decoder.logits_divisor));
        }
        _ => {}
    }
    add_window(family, decoder, add)
}

/// Refuses what a family's files have no key for.
fn check_shared(family: &Family, decoder: &DecoderConfig) -> Result<(), String> {
    let refused = |what: &str| Err(format!("{what} is not written as GGUF for {}", family.name));
    let is_gemma = family.name.starts_with("gemma");
    let activation = if is_gemma {
        Activation::GeluTanh
    } else {
        Activation::Silu
    };
    if decoder.activation != activation {
        return refused("another activation than the family's own");
    }
    if decoder.experts.is_some() {
        return refused("a model with experts");
    }
    let has = |bias: ProjectionBias| bias == ProjectionBias::Present;
    let biases = (
        has(decoder.qkv_bias),
        has(decoder.o_bias),
        has(decoder.mlp_bias),
    );
    let own_biases = (family.name == "qwen2", false, false);
    if matches!(family.biases, Biases::OfFamily) && biases != own_biases {
        return refused("a bias where the family has none, or none where it has one,");
    }
    if decoder.rotary_dim.is_some() && family.name != "phi3" {
        return refused("a rotation of a part of each head");
    }
    let is_fourth = |&layer_idx: &usize| layer_idx % 4 == 3;
    let unrotated: Vec<usize> = match family.name {
        "smollm3" => (0..decoder.n_layers).filter(is_fourth).collect(),
        _ => Vec::new(),
    };
    if decoder.unrotated_layers != unrotated {
        return refused("another choice of layers without rotary positions than the family's own");
    }
    let Some(sliding) = &decoder.sliding_rope else {
        return Ok(());
    };
    let is_written = match family.name {
        "gemma3" => sliding.scaling == RopeScaling::None,
        // Layers with a window are not stretched.
        "olmo2" => *sliding == RopeConfig::new(decoder.rope.theta),
        _ => false,
    };
    if is_written || *sliding == decoder.rope {
        return Ok(());
    }
    refused("a rotation of its own in layers with a window")
}

/// Refuses another scale of queries than the one that llama.cpp takes: that of a head's width, but for one model, known by
/// its number of layers, that of the residual stream's share of a head.
fn check_query_scale(decoder: &DecoderConfig, n_layers: usize) -> Result<(), String> {
    let width = if decoder.n_layers == n_layers {
        decoder.hidden_size / decoder.n_heads
    } else {
        decoder.head_dim
    };
    let expected = (width as f64).powf(-0.5);
    if (decoder.attention_scale() / expected - 1.0).abs() < 1e-6 {
        return Ok(());
    }
    Err(format!(
        "query_pre_attn_scalar {:.6} is not written as GGUF for Gemmas: expected {width}, which llama.cpp takes",
        decoder.attention_scale().powi(-2)
    ))
}

/// Adds the window, and in which layers it slides.
fn add_window(
    family: &Family,
    decoder: &DecoderConfig,
    add: &mut dyn FnMut(&str, MetadataValue),
) -> Result<(), String> {
    let Some(window) = decoder.sliding_window else {
        return Ok(());
    };
    let is_everywhere = decoder.full_attention_layers.is_empty();
    match family.name {
        "gemma2" | "gemma3" | "olmo2" => {
            let slides =
                (0..decoder.n_layers).map(|layer_idx| decoder.window_of(layer_idx).is_some());
            let slides = MetadataArray::Bool(slides.collect());
            add(
                "attention.sliding_window_pattern",
                MetadataValue::Array(slides),
            );
        }
        "llama" | "phi3" if is_everywhere => {}
        _ => {
            return Err(
                "windows in some of its layers are not written as GGUF: llama.cpp would not read them".to_owned(),
            );
        }
    }
    add(
        "attention.sliding_window",
        MetadataValue::Unsigned(window as u64),
    );
    Ok(())
}

/// Adds how rotary positions are stretched, and returns the factors that are tensors.
pub(super) fn add_scaling(
    family: &Family,
    decoder: &DecoderConfig,
    add: &mut dyn FnMut(&str, MetadataValue),
) -> Result<RopeFactors, String> {
    let text = |text: &str| MetadataValue::Text(text.to_owned());
    let size = |size: usize| MetadataValue::Unsigned(size as u64);
    let n_rotated = decoder.n_rotated();
    let factors = |name: &str, factors: &[f64]| {
        let factors = factors.iter().map(|&factor| factor as f32).collect();
        (PlannedTensor::rope_factors(name, n_rotated / 2), factors)
    };
    let rope = &decoder.rope;
    let is_unchanged = rope.attention_factor == 1.0;
    match &rope.scaling {
        RopeScaling::None if is_unchanged => Ok(Vec::new()),
        RopeScaling::Linear { factor } if is_unchanged => {
            add("rope.scaling.type", text("linear"));
            add("rope.scaling.factor", number(*factor));
            Ok(Vec::new())
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            ramp: RampEnds::WholePairs,
        } => {
            // What llama.cpp multiplies by of itself.
            let own = 1.0 + 0.1 * factor.ln();
            if (rope.attention_factor / own - 1.0).abs() > 1e-6 {
                return Err(format!(
                    "an attention factor of {} beside yarn is not written as GGUF: expected {own}",
                    rope.attention_factor
                ));
            }
            if (*beta_fast, *beta_slow) != (32.0, 1.0) {
                return Err(format!(
                    "yarn with beta_fast {beta_fast} and beta_slow {beta_slow} is not written as GGUF: expected 32 and 1, \
                     which llama.cpp takes"
                ));
            }
            add("rope.scaling.type", text("yarn"));
            add("rope.scaling.factor", number(*factor));
            add(
                "rope.scaling.original_context_length",
                size(*original_max_position_embeddings),
            );
            Ok(Vec::new())
        }
        RopeScaling::LongRope {
            short_factor,
            long_factor,
            original_max_position_embeddings,
        } if family.name == "phi3" => {
            add(
                "rope.scaling.original_context_length",
                size(*original_max_position_embeddings),
            );
            add("rope.scaling.attn_factor", number(rope.attention_factor));
            Ok(vec![
                factors(ROPE_SHORT_FACTORS, short_factor),
                factors(ROPE_LONG_FACTORS, long_factor),
            ])
        }
        RopeScaling::Llama3 { .. } | RopeScaling::Factors { .. } if is_unchanged => {
            let stretched = rope.wavelength_factors(n_rotated);
            Ok(vec![factors(ROPE_FACTORS, &stretched)])
        }
        _ => Err(
            "this scaling of rotary positions is not written as GGUF: expected none, linear, llama3, yarn, or a \
             Phi's longrope"
                .to_owned(),
        ),
    }
}

fn number(value: f64) -> MetadataValue {
    MetadataValue::F32(value as f32)
}
