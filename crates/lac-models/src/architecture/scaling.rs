//! How rotary positions are stretched: the parameters of each kind.

use super::fields::{Fields, Given};
use crate::decoder::{QueryScale, RampEnds, RopeScaling};

const SUPPORTED: &str = "default, linear, dynamic, yarn, longrope and llama3 are";

/// What parameters refer to.
#[derive(Clone, Copy)]
pub(super) struct RopeSizes {
    pub(super) max_position_embeddings: usize,
    /// `original_max_position_embeddings` beside the parameters, which transformers 5 prefers to the one among them.
    pub(super) original: Option<usize>,
    /// How many of a head's values are rotated.
    pub(super) n_rotated: usize,
}

/// Reads the parameters of a kind.
pub(super) fn scaling(inner: &mut Fields<'_>, kind: Option<&str>, sizes: RopeSizes) -> RopeScaling {
    match kind {
        None | Some("default") => RopeScaling::None,
        Some("linear") => RopeScaling::Linear {
            factor: factor(inner, "factor"),
        },
        Some("llama3") => llama3(inner, sizes),
        Some("dynamic") => RopeScaling::Dynamic {
            factor: factor(inner, "factor"),
            // Whatever else the file says: transformers heeds no other length.
            original_max_position_embeddings: sizes.max_position_embeddings,
        },
        // Phi-3's first files call it su or yarn.
        Some("longrope" | "su") => longrope(inner, sizes),
        Some("yarn") if inner.has("short_factor") => longrope(inner, sizes),
        Some("yarn") => yarn(inner, sizes),
        Some(other) => {
            inner.unsupported("rope_type", &other, SUPPORTED);
            RopeScaling::None
        }
    }
}

/// Reads the number that cosines and sines are multiplied by, or computes it from the factor of the kind.
pub(super) fn attention_factor(
    inner: &mut Fields<'_>,
    scaling: &RopeScaling,
    sizes: RopeSizes,
) -> f64 {
    match scaling {
        RopeScaling::Yarn { factor, .. } => {
            let given = inner.positive("attention_factor").or(None, None);
            let scales = ["mscale", "mscale_all_dim"].map(|field| {
                // 0 counts as absent.
                let value = inner.take(field)?;
                let scale = value.as_f64();
                if scale.is_none_or(|scale| !scale.is_finite() || scale < 0.0) {
                    inner.invalid(field, &value, "a number of at least 0");
                }
                scale.filter(|&scale| scale > 0.0)
            });
            let by_factor = |scale: f64| match *factor {
                factor if factor <= 1.0 => 1.0,
                factor => 0.1 * scale * factor.ln() + 1.0,
            };
            given.unwrap_or(match scales {
                [Some(scale), Some(of_all)] => by_factor(scale) / by_factor(of_all),
                _ => by_factor(1.0),
            })
        }
        RopeScaling::LongRope {
            original_max_position_embeddings: original,
            ..
        } => {
            let ratio = sizes.max_position_embeddings as f64 / *original as f64;
            let factor = inner.positive("factor").or(None, None).unwrap_or(ratio);
            let given = inner.positive("attention_factor").or(None, None);
            given.unwrap_or_else(|| match factor {
                factor if factor <= 1.0 => 1.0,
                factor => (1.0 + factor.ln() / (*original as f64).ln()).sqrt(),
            })
        }
        _ => 1.0,
    }
}

/// Reads how queries grow with their position, which a class cannot do without.
pub(super) fn query_scale(inner: &mut Fields<'_>, scaling: &RopeScaling) -> Option<QueryScale> {
    // A copy of the field beside the parameters, which nothing reads.
    inner.pass_over("max_position_embeddings");
    let context = match scaling {
        RopeScaling::Yarn {
            original_max_position_embeddings: context,
            ..
        }
        | RopeScaling::Llama3 {
            original_max_position_embeddings: context,
            ..
        }
        | RopeScaling::LongRope {
            original_max_position_embeddings: context,
            ..
        } => Some(*context),
        _ => inner
            .limit("original_max_position_embeddings")
            .or(None, None),
    };
    let beta = inner.not_negative("llama_4_scaling_beta").or(None, None);
    for (field, is_there) in [
        ("original_max_position_embeddings", context.is_some()),
        ("llama_4_scaling_beta", beta.is_some()),
    ] {
        if !is_there && !inner.has_problems() {
            inner.missing(field, "a number: the queries of this family grow with it");
        }
    }
    Some(QueryScale::new(beta?, context?))
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

/// Takes the length of the training context.
fn original(inner: &mut Fields<'_>, sizes: RopeSizes) -> usize {
    let own = inner.limit("original_max_position_embeddings");
    sizes
        .original
        .or(own.or(None, None))
        .unwrap_or(sizes.max_position_embeddings)
}

fn llama3(inner: &mut Fields<'_>, sizes: RopeSizes) -> RopeScaling {
    let scale = factor(inner, "factor");
    let low_freq_factor = factor(inner, "low_freq_factor");
    let high_freq_factor = factor(inner, "high_freq_factor");
    let original_max_position_embeddings = original(inner, sizes);
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

fn yarn(inner: &mut Fields<'_>, sizes: RopeSizes) -> RopeScaling {
    let original_max_position_embeddings = original(inner, sizes);
    let ratio = sizes.max_position_embeddings as f64 / original_max_position_embeddings as f64;
    let factor = match inner.positive("factor") {
        // DeepSeek's files leave it to the lengths.
        Given::Null => ratio,
        Given::Value(factor) => factor,
        Given::Absent => {
            if !inner.has_problems() {
                inner.missing("factor", "a number above 0");
            }
            1.0
        }
    };
    let mut bound = |field: &str, default: f64| {
        let bound = inner.positive(field);
        bound.or(Some(default), Some(default)).unwrap_or(default)
    };
    let (beta_fast, beta_slow) = (bound("beta_fast", 32.0), bound("beta_slow", 1.0));
    RopeScaling::Yarn {
        factor,
        beta_fast,
        beta_slow,
        original_max_position_embeddings,
        ramp: if inner.flag_or("truncate", true) {
            RampEnds::WholePairs
        } else {
            RampEnds::Exact
        },
    }
}

fn longrope(inner: &mut Fields<'_>, sizes: RopeSizes) -> RopeScaling {
    let original_max_position_embeddings = original(inner, sizes);
    let mut factors = |field: &str| match inner.positives(field) {
        Given::Value(factors) => factors,
        _ => {
            if !inner.has_problems() {
                inner.missing(field, "a list of numbers, one for each rotated pair");
            }
            Vec::new()
        }
    };
    let (short_factor, long_factor) = (factors("short_factor"), factors("long_factor"));
    let n_pairs = sizes.n_rotated / 2;
    for (field, factors) in [
        ("short_factor", &short_factor),
        ("long_factor", &long_factor),
    ] {
        if !inner.has_problems() && factors.len() != n_pairs {
            let found = format!("a list of {}", factors.len());
            let expected = format!("a number for each of {n_pairs} rotated pairs");
            inner.invalid(field, &found, &expected);
        }
    }
    RopeScaling::LongRope {
        short_factor,
        long_factor,
        original_max_position_embeddings,
    }
}
