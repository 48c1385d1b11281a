//! `general.sampling.*`: how a GGUF file's model is meant to choose its tokens.

use lac_core::generation::{LogitsProcessors, SamplingConfig};

use super::error::GgufError;
use super::metadata::{Metadata, MetadataValue};
use crate::generation_defaults::{DrawDefaults, GenerationDefaults};

const TEMPERATURE: &str = "general.sampling.temp";
const TOP_K: &str = "general.sampling.top_k";
const TOP_P: &str = "general.sampling.top_p";
const MIN_P: &str = "general.sampling.min_p";
const REPETITION_PENALTY: &str = "general.sampling.penalty_repeat";

/// Settings that would change a text in llama.cpp and are not supported, with the values that change nothing.
/// `penalty_last_n` bounds the tokens that a penalty looks back on: converters write a penalty that was meant for all of
/// them.
const NOT_USED: &[(&str, &[f64])] = &[
    ("general.sampling.xtc_probability", &[0.0]),
    ("general.sampling.mirostat", &[0.0]),
    ("general.sampling.penalty_last_n", &[-1.0]),
];

/// Reads what a file says. A file that says nothing means greedy text, as a folder does.
///
/// # Errors
/// A value of another kind, or one that cannot be drawn with.
pub(super) fn read_sampling(metadata: &Metadata) -> Result<GenerationDefaults, GgufError> {
    let number = |key: &str| Ok::<_, GgufError>(metadata.number(key)?.map(|value| value as f32));
    let temperature = number(TEMPERATURE)?;
    if temperature.is_some_and(|temperature| temperature < 0.0) {
        return Err(metadata.invalid(TEMPERATURE, "a number of at least 0"));
    }
    let share = |key: &str| match number(key)? {
        Some(share) if !(0.0..=1.0).contains(&share) => {
            Err(metadata.invalid(key, "a number from 0 to 1"))
        }
        share => Ok(share),
    };
    let (top_k, top_p, min_p) = (top_k(metadata)?, share(TOP_P)?, share(MIN_P)?);
    let penalty = number(REPETITION_PENALTY)?;
    if penalty.is_some_and(|penalty| penalty <= 0.0) {
        return Err(metadata.invalid(REPETITION_PENALTY, "a number above 0"));
    }
    let not_used = not_used(metadata)?;

    let draws = DrawDefaults {
        temperature: temperature.filter(|&temperature| temperature != 1.0),
        top_k: top_k.filter(|&top_k| top_k > 0),
        top_p: top_p.filter(|&top_p| top_p != 1.0),
        min_p: min_p.filter(|&min_p| min_p != 0.0),
    };
    // A file that says how to draw asks for draws, unless its temperature is 0.
    let asks = temperature.is_some() || top_k.is_some() || top_p.is_some() || min_p.is_some();
    let temperature = temperature.unwrap_or(1.0);
    let sampling = (asks && temperature > 0.0).then(|| {
        SamplingConfig::new(temperature, 0)
            .with_top_k(draws.top_k)
            .with_top_p(draws.top_p)
            .with_min_p(draws.min_p)
    });
    let processors = LogitsProcessors::default().with_repetition_penalty(penalty.unwrap_or(1.0));
    let is_silent = !asks && penalty.is_none() && not_used.is_empty();
    Ok(GenerationDefaults {
        path: (!is_silent).then(|| metadata.path().to_owned()),
        sampling,
        draws,
        processors,
        not_used,
    })
}

/// llama.cpp takes 0 and less for no bound.
fn top_k(metadata: &Metadata) -> Result<Option<usize>, GgufError> {
    match metadata.get(TOP_K) {
        Some(&MetadataValue::Signed(top_k)) if top_k < 0 => Ok(Some(0)),
        _ => match metadata.integer(TOP_K)? {
            None => Ok(None),
            Some(top_k) => match usize::try_from(top_k) {
                Ok(top_k) => Ok(Some(top_k)),
                Err(_) => Err(metadata.invalid(TOP_K, "a number of tokens")),
            },
        },
    }
}

fn not_used(metadata: &Metadata) -> Result<Vec<String>, GgufError> {
    let mut not_used = Vec::new();
    for &(key, neutral) in NOT_USED {
        if let Some(value) = metadata.number(key)?
            && !neutral.contains(&value)
        {
            not_used.push(format!("{key} {value}"));
        }
    }
    Ok(not_used)
}

/// Returns the keys by which a file says the same to llama.cpp; none for greedy text, for which there is no key.
/// What else changes logits has no form in GGUF files and is left out.
pub(crate) fn sampling_entries(defaults: &GenerationDefaults) -> Vec<(String, MetadataValue)> {
    let mut entries = Vec::new();
    let mut push = |key: &str, value| entries.push((key.to_owned(), value));
    if let Some(sampling) = &defaults.sampling {
        push(TEMPERATURE, MetadataValue::F32(sampling.temperature));
        if let Some(top_k) = sampling.top_k.and_then(|top_k| i32::try_from(top_k).ok()) {
            push(TOP_K, MetadataValue::Signed(top_k.into()));
        }
        for (key, share) in [(TOP_P, sampling.top_p), (MIN_P, sampling.min_p)] {
            if let Some(share) = share {
                push(key, MetadataValue::F32(share));
            }
        }
    }
    let penalty = defaults.processors.repetition_penalty;
    if penalty != 1.0 {
        push(REPETITION_PENALTY, MetadataValue::F32(penalty));
    }
    entries
}
