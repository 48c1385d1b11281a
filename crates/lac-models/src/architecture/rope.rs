//! The rotary positions of a `config.json`, in the forms that its writers have given them.

use serde_json::{Map, Value};

use super::fields::{Fields, Given};
use crate::decoder::{RopeConfig, RopeScaling};

const DEFAULT_THETA: f64 = 10_000.0;

/// Parameters of some kind of scaling.
const PARAMETERS: &[&str] = &[
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "truncate",
    "short_factor",
    "long_factor",
    "short_mscale",
    "long_mscale",
    "mrope_section",
    "alpha",
];

/// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` of newer files, which hold both. Absent fields mean
/// what they mean to transformers 5, which reads every older form too.
pub(super) fn rope_config(fields: &mut Fields<'_>, max_position_embeddings: usize) -> RopeConfig {
    let theta = fields.positive("rope_theta");
    let original = fields.limit("original_max_position_embeddings");
    let mut inner = match scaling_fields(fields) {
        None => {
            return RopeConfig::new(outer_theta(fields, theta));
        }
        Some(inner) => inner,
    };
    let kind = kind(&mut inner);
    let theta = match inner.positive("rope_theta") {
        Given::Value(theta) => theta,
        Given::Null if theta == Given::Absent => {
            inner.missing("rope_theta", "a number above 0 in place of null");
            DEFAULT_THETA
        }
        _ => outer_theta(fields, theta),
    };
    let partial = inner.take("partial_rotary_factor");
    if let Some(partial) = partial.filter(|factor| factor.as_f64() != Some(1.0)) {
        inner.unsupported("partial_rotary_factor", &partial, "1 is");
    }
    let scaling = match kind.as_deref() {
        None => RopeScaling::None,
        Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear {
            factor: factor(&mut inner, "factor"),
        },
        Some("llama3") => llama3(&mut inner, original, max_position_embeddings),
        Some(kind @ ("dynamic" | "yarn")) => {
            if stretches(&mut inner) {
                let supported = format!(
                    "default, linear and llama3 are, and {kind} with a factor of 1, which changes nothing"
                );
                inner.unsupported("rope_type", &kind, &supported);
            }
            RopeScaling::None
        }
        Some(other) => {
            inner.unsupported("rope_type", &other, "default, linear and llama3 are");
            RopeScaling::None
        }
    };
    let is_plain = kind.as_deref() == Some("default");
    for (field, value) in inner.take_left() {
        if value.is_null() || field == "finetuned" || field.starts_with('_') {
            inner.ignore(&field);
        } else if !PARAMETERS.contains(&field.as_str()) {
            inner.ignore_unknown(&field);
        } else if is_plain || inner.has_problems() || field == "original_max_position_embeddings" {
            inner.ignore(&field);
        } else {
            inner.unsupported(&field, &value, "it belongs to another rope_type");
        }
    }
    fields.absorb(inner);
    RopeConfig::new(theta).with_scaling(scaling)
}

fn outer_theta(fields: &mut Fields<'_>, theta: Given<f64>) -> f64 {
    match theta {
        Given::Value(theta) => theta,
        Given::Absent => DEFAULT_THETA,
        Given::Null => {
            fields.missing("rope_theta", "a number above 0 in place of null");
            DEFAULT_THETA
        }
    }
}

/// Takes the object with the parameters: `rope_scaling` where it is given, else `rope_parameters`.
fn scaling_fields<'a>(fields: &mut Fields<'a>) -> Option<Fields<'a>> {
    let (field, value) = match fields.take("rope_scaling") {
        Some(value) => {
            fields.pass_over("rope_parameters");
            ("rope_scaling", value)
        }
        None => {
            // The newer field always holds the base; empty, it is all defaults.
            let newer = fields.take("rope_parameters")?;
            if newer.as_object().is_some_and(Map::is_empty) {
                return None;
            }
            ("rope_parameters", newer)
        }
    };
    let Value::Object(object) = value else {
        fields.invalid(field, &value, "an object or null");
        return None;
    };
    if !is_nested(&object) {
        return Some(fields.inner(field, object));
    }
    // Parameters for each kind of layers. These families have one kind.
    let mut sets = object.values().filter(|value| !value.is_null());
    let Value::Object(first) = sets.next()? else {
        return None;
    };
    if sets.any(|other| other.as_object() != Some(first)) {
        let value = Value::from(object.clone());
        fields.unsupported(
            field,
            &value,
            "the same parameters for all kinds of layers are",
        );
    }
    Some(fields.inner(field, first.clone()))
}

/// Returns whether there are parameters for each kind of layers.
fn is_nested(object: &Map<String, Value>) -> bool {
    !object.is_empty()
        && object.iter().all(|(field, value)| {
            field.ends_with("_attention") && (value.is_object() || value.is_null())
        })
}

/// Takes the kind's name. Older files say `type`, newer ones `rope_type`, some both.
fn kind(inner: &mut Fields<'_>) -> Option<String> {
    let old = inner.text("type").or(None, None);
    let new = inner.text("rope_type").or(None, None);
    match (new, old) {
        // Qwen2-VL's rotation of text is the plain one, and its files name both.
        (Some(new), Some(old)) if new != old && !(new == "default" && old == "mrope") => {
            let expected = format!("the type {old}, which stands beside it, or no type");
            inner.invalid("rope_type", &new, &expected);
            None
        }
        (Some(new), _) => Some(new),
        (None, Some(old)) => Some(old),
        // transformers 4 asks for it, and 5 writes it into every rope_parameters.
        (None, None)
            if !inner.has("rope_theta") || PARAMETERS.iter().any(|field| inner.has(field)) =>
        {
            inner.missing("rope_type", "default, linear or llama3");
            None
        }
        (None, None) => Some("default".to_owned()),
    }
}

/// Takes a factor that the kind cannot do without.
fn factor(inner: &mut Fields<'_>, field: &str) -> f64 {
    match inner.positive(field) {
        Given::Value(factor) => factor,
        _ if inner.has_problems() => 1.0,
        _ => {
            inner.missing(field, "a number above 0");
            1.0
        }
    }
}

/// Returns whether a kind by one factor changes anything: a factor of 1 does not.
fn stretches(inner: &mut Fields<'_>) -> bool {
    let is_one = |given: Given<f64>| matches!(given, Given::Value(factor) if factor == 1.0);
    let factor = inner.positive("factor");
    let attention = inner.positive("attention_factor");
    let is_neutral = is_one(factor) && (is_one(attention) || !matches!(attention, Given::Value(_)));
    if is_neutral {
        // Without stretching they bound nothing.
        for field in PARAMETERS {
            inner.pass_over(field);
        }
    }
    !is_neutral
}

fn llama3(
    inner: &mut Fields<'_>,
    original: Given<usize>,
    max_position_embeddings: usize,
) -> RopeScaling {
    let scale = factor(inner, "factor");
    let low_freq_factor = factor(inner, "low_freq_factor");
    let high_freq_factor = factor(inner, "high_freq_factor");
    // Beside the object, transformers 5 prefers it.
    let own = inner.limit("original_max_position_embeddings");
    let original_max_position_embeddings = original
        .or(None, None)
        .or(own.or(None, None))
        .unwrap_or(max_position_embeddings);
    if !inner.has_problems() && high_freq_factor <= low_freq_factor {
        let expected = format!("more than low_freq_factor {low_freq_factor}");
        inner.invalid("high_freq_factor", &high_freq_factor, &expected);
    }
    RopeScaling::Llama3 {
        factor: scale,
        low_freq_factor,
        high_freq_factor,
        original_max_position_embeddings,
    }
}
