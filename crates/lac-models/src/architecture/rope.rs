//! The rotary positions of a `config.json`, in the forms that its writers have given them.

use serde_json::{Map, Value};

use super::fields::{Fields, Given};
use super::scaling::{RopeSizes, attention_factor, query_scale, scaling};
use crate::decoder::{QueryScale, RopeConfig};

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

/// Parameters that transformers heeds in no kind. Files for vLLM have `attn_factor`, which corrects a factor of its own.
const INERT: &[&str] = &["finetuned", "attn_factor"];

/// What a class does where the file says nothing of its rotary positions.
pub(super) struct RopeDefaults {
    /// The base.
    pub(super) theta: f64,
    pub(super) sliding: SlidingRotation,
    pub(super) partial: PartialRotation,
    pub(super) queries: QueryGrowth,
}

/// How a class rotates the layers with a sliding window.
pub(super) enum SlidingRotation {
    /// As the others.
    AsOthers,
    /// With a base of their own, from a field of older files or the class, and without scaling.
    Own { field: &'static str, theta: f64 },
}

/// Whether a class heeds `partial_rotary_factor`.
pub(super) enum PartialRotation {
    /// It rotates whole heads, in one version of transformers at least.
    Refused,
    /// It rotates that part of a head.
    Heeded,
}

/// Whether a class makes queries grow with their position, as parameters beside those of the rotation say.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum QueryGrowth {
    /// It knows of no such parameters.
    Absent,
    /// It cannot do without them.
    Required,
}

/// The rotary positions of a decoder.
pub(super) struct RotaryPositions {
    pub(super) rope: RopeConfig,
    pub(super) query_scale: Option<QueryScale>,
    pub(super) sliding_rope: Option<RopeConfig>,
    pub(super) rotary_dim: Option<usize>,
}

/// Reads `rope_theta` and `rope_scaling`, or the `rope_parameters` of newer files, which hold both. Absent fields mean
/// what they mean to transformers 5, which reads every older form too.
pub(super) fn rotary_positions(
    fields: &mut Fields<'_>,
    defaults: &RopeDefaults,
    max_position_embeddings: usize,
    head_dim: usize,
) -> RotaryPositions {
    let theta = fields.positive("rope_theta");
    let original = fields.limit("original_max_position_embeddings");
    let n_rotated = match defaults.partial {
        PartialRotation::Heeded => n_rotated(fields, head_dim),
        PartialRotation::Refused => None,
    };
    let sizes = RopeSizes {
        max_position_embeddings,
        original: original.or(None, None),
        n_rotated: n_rotated.unwrap_or(head_dim),
    };
    let own_sliding = match defaults.sliding {
        SlidingRotation::AsOthers => None,
        SlidingRotation::Own { field, theta } => {
            Some(RopeConfig::new(fields.multiplier(field, theta)))
        }
    };
    let (full, sliding) = parameter_sets(fields, own_sliding.is_some());
    let mut read = |inner: Option<Fields<'_>>, theta: Given<f64>, default: f64| match inner {
        None => {
            if defaults.queries == QueryGrowth::Required {
                fields.missing("rope_parameters", "an object with llama_4_scaling_beta");
            }
            Parameters {
                rope: RopeConfig::new(outer_theta(fields, theta, default)),
                n_rotated: sizes.n_rotated,
                query_scale: None,
            }
        }
        Some(mut inner) => {
            let parameters = parameters(&mut inner, theta, default, defaults, sizes, head_dim);
            fields.absorb(inner);
            parameters
        }
    };
    let of_full = read(full, theta, defaults.theta);
    let sliding_rope = match (sliding, own_sliding) {
        (Some(inner), Some(own)) => Some(read(Some(inner), Given::Absent, own.theta).rope),
        (_, own_sliding) => own_sliding,
    };
    RotaryPositions {
        rope: of_full.rope,
        query_scale: of_full.query_scale,
        sliding_rope,
        rotary_dim: (of_full.n_rotated != head_dim).then_some(of_full.n_rotated),
    }
}

/// One set of parameters.
struct Parameters {
    rope: RopeConfig,
    /// How many of a head's values are rotated.
    n_rotated: usize,
    query_scale: Option<QueryScale>,
}

/// Reads one set of parameters.
fn parameters(
    inner: &mut Fields<'_>,
    theta: Given<f64>,
    default_theta: f64,
    defaults: &RopeDefaults,
    sizes: RopeSizes,
    head_dim: usize,
) -> Parameters {
    let kind = kind(inner);
    let theta = match inner.positive("rope_theta") {
        Given::Value(theta) => theta,
        Given::Null if theta == Given::Absent => {
            inner.missing("rope_theta", "a number above 0 in place of null");
            default_theta
        }
        _ => outer_theta(inner, theta, default_theta),
    };
    let own_n_rotated = match defaults.partial {
        PartialRotation::Heeded => n_rotated(inner, head_dim),
        PartialRotation::Refused => {
            let partial = inner.take("partial_rotary_factor");
            if let Some(partial) = partial.filter(|factor| factor.as_f64() != Some(1.0)) {
                inner.unsupported("partial_rotary_factor", &partial, "1 is");
            }
            None
        }
    };
    let sizes = RopeSizes {
        n_rotated: own_n_rotated.unwrap_or(sizes.n_rotated),
        ..sizes
    };
    let scaling = scaling(inner, kind.as_deref(), sizes);
    let attention_factor = attention_factor(inner, &scaling, sizes);
    let query_scale = match defaults.queries {
        QueryGrowth::Absent => None,
        QueryGrowth::Required => query_scale(inner, &scaling),
    };
    let is_plain = kind.as_deref() == Some("default");
    for (field, value) in inner.take_left() {
        if value.is_null() || INERT.contains(&field.as_str()) || field.starts_with('_') {
            inner.ignore(&field);
        } else if !PARAMETERS.contains(&field.as_str()) {
            inner.ignore_unknown(&field);
        } else if is_plain || inner.has_problems() || field == "original_max_position_embeddings" {
            inner.ignore(&field);
        } else {
            inner.unsupported(&field, &value, "it belongs to another rope_type");
        }
    }
    let rope = RopeConfig::new(theta)
        .with_scaling(scaling)
        .with_attention_factor(attention_factor);
    Parameters {
        rope,
        n_rotated: sizes.n_rotated,
        query_scale,
    }
}

/// Takes which part of a head is rotated, and returns how many values that is: rounded down, as transformers does.
fn n_rotated(fields: &mut Fields<'_>, head_dim: usize) -> Option<usize> {
    let partial = fields.positive("partial_rotary_factor").or(None, None)?;
    let n_rotated = (head_dim as f64 * partial) as usize;
    if !fields.has_problems()
        && (n_rotated == 0 || n_rotated > head_dim || !n_rotated.is_multiple_of(2))
    {
        let expected =
            format!("a part, at most 1, that makes an even number of head_dim {head_dim}");
        fields.invalid("partial_rotary_factor", &partial, &expected);
        return None;
    }
    Some(n_rotated)
}

fn outer_theta(fields: &mut Fields<'_>, theta: Given<f64>, default: f64) -> f64 {
    match theta {
        Given::Value(theta) => theta,
        Given::Absent => default,
        Given::Null => {
            fields.missing("rope_theta", "a number above 0 in place of null");
            default
        }
    }
}

/// Takes the objects with the parameters, `rope_scaling` where it is given, else `rope_parameters`: those of all layers,
/// and those of the layers with a sliding window where a class has such layers and the file parameters of their own.
fn parameter_sets<'a>(
    fields: &mut Fields<'a>,
    has_two_kinds: bool,
) -> (Option<Fields<'a>>, Option<Fields<'a>>) {
    let (field, value) = match fields.take("rope_scaling") {
        Some(value) => {
            fields.pass_over("rope_parameters");
            ("rope_scaling", value)
        }
        None => match fields.take("rope_parameters") {
            None => return (None, None),
            // The newer field always holds the base; empty, it is all defaults.
            Some(newer) if newer.as_object().is_some_and(Map::is_empty) => return (None, None),
            Some(newer) => ("rope_parameters", newer),
        },
    };
    let Value::Object(object) = value else {
        fields.invalid(field, &value, "an object or null");
        return (None, None);
    };
    if !is_nested(&object) {
        return (Some(fields.inner(field, object)), None);
    }
    let set = |name: &str| {
        let set = object.get(name).and_then(Value::as_object);
        set.map(|set| fields.inner(&format!("{field}.{name}"), set.clone()))
    };
    let kinds = ["full_attention", "sliding_attention"];
    if has_two_kinds && object.keys().all(|name| kinds.contains(&name.as_str())) {
        let [full, sliding] = kinds.map(set);
        return (full, sliding);
    }
    // All layers of the other classes are rotated alike.
    let mut sets = object.values().filter(|value| !value.is_null());
    let first = sets.next();
    if sets.any(|other| Some(other) != first) {
        let value = Value::from(object.clone());
        fields.unsupported(
            field,
            &value,
            "the same parameters for all kinds of layers are",
        );
    }
    let first = first.and_then(Value::as_object);
    (first.map(|first| fields.inner(field, first.clone())), None)
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
        (Some(kind), _) | (None, Some(kind)) => Some(kind),
        // transformers 4 asks for it, and 5 writes it into every rope_parameters.
        (None, None)
            if !inner.has("rope_theta") || PARAMETERS.iter().any(|field| inner.has(field)) =>
        {
            inner.missing(
                "rope_type",
                "default, linear, dynamic, yarn, longrope or llama3",
            );
            None
        }
        (None, None) => Some("default".to_owned()),
    }
}
