//! The report as lines of text.

use std::fmt::Display;

use super::report::{Report, Shape, TokenizerReport, Weights};

/// What stands in place of something that cannot be told.
const UNKNOWN: &str = "unknown";

pub fn lines(report: &Report) -> Vec<String> {
    let mut rows = vec![(
        "architecture",
        report.architecture.unwrap_or(UNKNOWN).to_owned(),
    )];
    rows.extend(of_shape(&report.shape));
    rows.push(("dtype", known(report.dtype.as_ref())));
    rows.push(("weights", of_weights(&report.weights)));
    rows.push((
        "tokenizer",
        match &report.tokenizer {
            None if report.has_tokenizer => UNKNOWN.to_owned(),
            None => "none".to_owned(),
            Some(tokenizer) => of_tokenizer(tokenizer),
        },
    ));
    let is_unknown = |field: &&String| report.unknown_fields.contains(field);
    let (unknown, inert): (Vec<&String>, Vec<&String>) =
        report.ignored_fields.iter().partition(is_unknown);
    for (name, fields) in [("passed over", inert), ("unknown", unknown)] {
        if !fields.is_empty() {
            let fields: Vec<&str> = fields.into_iter().map(String::as_str).collect();
            rows.push((name, fields.join(", ")));
        }
    }
    for (name, texts) in [("problem", &report.problems), ("warning", &report.warnings)] {
        rows.extend(texts.iter().map(|text| (name, text.clone())));
    }
    rows.into_iter()
        .map(|(name, value)| format!("{name:<13}{value}"))
        .collect()
}

fn of_shape(shape: &Shape) -> Vec<(&'static str, String)> {
    // All sizes are told together, or none of them.
    let (Some(hidden), Some(intermediate), Some(heads), Some(head_dim), Some(kv_heads)) = (
        shape.hidden,
        shape.intermediate,
        shape.heads,
        shape.head_dim,
        shape.kv_heads,
    ) else {
        return Vec::new();
    };
    let mut rows = vec![
        (
            "parameters",
            match shape.parameters_per_token {
                None => known(shape.parameters),
                Some(per_token) => format!("{} ({per_token} per token)", known(shape.parameters)),
            },
        ),
        ("layers", known(shape.layers)),
    ];
    rows.extend(of_experts(shape).map(|experts| ("experts", experts)));
    rows.extend([
        ("hidden", format!("{hidden} (MLP {intermediate})")),
        (
            "heads",
            format!("{heads} of {head_dim}, {kv_heads} for keys and values"),
        ),
        ("vocabulary", known(shape.vocabulary)),
        ("context", known(shape.context)),
        ("positions", of_positions(shape)),
        ("window", of_window(shape)),
        (
            "head",
            match shape.tied_head {
                Some(true) => "the embedding",
                Some(false) => "its own",
                None => UNKNOWN,
            }
            .to_owned(),
        ),
        ("biases", known(shape.biases.as_ref())),
    ]);
    rows
}

fn of_positions(shape: &Shape) -> String {
    let positions = known(shape.rope.as_ref());
    match shape.unrotated_layers.as_deref() {
        None | Some([]) => positions,
        Some(layers) => format!("{positions}; none in layers {}", in_ranges(layers)),
    }
}

fn of_window(shape: &Shape) -> String {
    let Some(window) = shape.sliding_window else {
        return "none".to_owned();
    };
    match &shape.sliding_layers {
        Some(layers) if Some(layers.len()) != shape.layers => {
            format!("{window} in layers {}", in_ranges(layers))
        }
        _ => window.to_string(),
    }
}

/// Writes numbers of layers, those that follow each other as their first and last.
fn in_ranges(layers: &[usize]) -> String {
    let ranges = layers.chunk_by(|layer, next| layer + 1 == *next);
    let ranges = ranges.map(|range| match range {
        [first, .., last] => format!("{first}-{last}"),
        _ => range[0].to_string(),
    });
    ranges.collect::<Vec<_>>().join(", ")
}

fn of_experts(shape: &Shape) -> Option<String> {
    let (n_experts, per_token) = (shape.experts?, shape.experts_per_token?);
    let width = shape.expert_intermediate?;
    let mut text = format!("{n_experts} of width {width}, {per_token} per token");
    if let Some(width) = shape.shared_expert_intermediate {
        text.push_str(&format!(" and one of width {width} for every token"));
    }
    match shape.dense_layers.as_deref() {
        None | Some([]) => {}
        Some(layers) => text.push_str(&format!("; none in layers {}", in_ranges(layers))),
    }
    Some(text)
}

fn of_weights(weights: &Weights) -> String {
    let (Some(files), Some(tensors), Some(bytes)) = (weights.files, weights.tensors, weights.bytes)
    else {
        return UNKNOWN.to_owned();
    };
    let types = weights.weights.iter();
    let types: Vec<String> = types
        .map(|(dtype, count)| format!("{count} {dtype}"))
        .collect();
    format!(
        "{tensors} tensors in {files} file(s), {bytes} bytes ({})",
        types.join(", ")
    )
}

fn of_tokenizer(tokenizer: &TokenizerReport) -> String {
    format!(
        "{} tokens, begins with {}, ends at {}, {} chat template",
        tokenizer.tokens,
        tokenizer.bos.as_deref().unwrap_or("nothing"),
        tokenizer.stop.join(" "),
        if tokenizer.chat_template { "a" } else { "no" },
    )
}

fn known(value: Option<impl Display>) -> String {
    value.map_or_else(|| UNKNOWN.to_owned(), |value| value.to_string())
}
