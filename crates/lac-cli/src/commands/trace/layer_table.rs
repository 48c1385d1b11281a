//! What was measured of every layer, as a table for a terminal: means over the tokens of a phase.

use lac_core::measures::{Measure, angular_distance, block_influence};
use lac_trace::recorder::PhaseTrace;

/// A column: its title, and a number for each layer.
type Column = (&'static str, Vec<String>);

/// Returns a line per layer; `None` where nothing was measured beside the norm and there was no lens.
pub fn layer_table(trace: &PhaseTrace) -> Option<String> {
    let mut columns = measure_columns(trace);
    columns.extend(lens_columns(trace));
    let n_layers = columns.first()?.1.len();
    let mut first: Vec<Column> =
        vec![("layer", (0..n_layers).map(|idx| idx.to_string()).collect())];
    if trace.active.len() == n_layers {
        let share = |flags: &Vec<u8>| mean(flags.iter().map(|&flag| f64::from(flag)));
        let shares = trace.active.iter().map(|flags| percent(share(flags)));
        first.push(("active", shares.collect()));
    }
    first.append(&mut columns);
    let widths: Vec<usize> = first
        .iter()
        .map(|(title, cells)| cells.iter().map(String::len).fold(title.len(), usize::max))
        .collect();
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:>width$}"))
            .collect();
        cells.join("  ")
    };
    let mut lines = vec![line(first.iter().map(|(title, _)| *title).collect())];
    for layer_idx in 0..n_layers {
        lines.push(line(
            first
                .iter()
                .map(|(_, cells)| cells[layer_idx].as_str())
                .collect(),
        ));
    }
    Some(lines.join("\n"))
}

fn measure_columns(trace: &PhaseTrace) -> Vec<Column> {
    let measured = |measure: Measure, title, derive: fn(f32) -> f32| -> Option<Column> {
        let layers = trace.measures.get(measure.name())?.iter();
        let cells = layers.map(|layer| {
            let values = layer.iter().map(|&value| f64::from(derive(value)));
            format!("{:.4}", mean(values))
        });
        Some((title, cells.collect()))
    };
    let same = |value| value;
    [
        measured(Measure::Cosine, "influence", block_influence),
        measured(Measure::Cosine, "angle", angular_distance),
        measured(Measure::Contribution, "contribution", same),
        measured(Measure::AttentionContribution, "attention", same),
        measured(Measure::MlpContribution, "MLP", same),
        measured(Measure::AttentionShare, "attention's share", same),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn lens_columns(trace: &PhaseTrace) -> Vec<Column> {
    let layers = &trace.lens.layers;
    if layers.is_empty() {
        return Vec::new();
    }
    let n_layers = layers.len();
    let entropy = layers
        .iter()
        .map(|layer| mean(layer.iter().map(|seen| f64::from(seen.entropy))));
    let kl = layers
        .iter()
        .map(|layer| mean(layer.iter().map(|seen| f64::from(seen.kl))));
    let decided = (0..n_layers).map(|layer_idx| {
        let tokens = trace.lens.decided_at.iter();
        mean(tokens.map(|&decided_at| f64::from(u8::from(decided_at <= layer_idx))))
    });
    vec![
        (
            "entropy",
            entropy.map(|value| format!("{value:.3}")).collect(),
        ),
        (
            "KL to last",
            kl.map(|value| format!("{value:.3}")).collect(),
        ),
        ("decided", decided.map(percent).collect()),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_a_line_each() {
        let mut trace = PhaseTrace::default();
        assert_eq!(layer_table(&trace), None);
        trace.active = vec![vec![1, 1], vec![0, 1]];
        trace
            .measures
            .insert("cosine", vec![vec![1.0, 0.0], vec![0.5, 0.5]]);
        trace
            .measures
            .insert("contribution", vec![vec![0.25, 0.75], vec![1.0, 2.0]]);
        let expected = "\
layer  active  influence   angle  contribution
    0   100 %     0.5000  0.2500        0.5000
    1    50 %     0.5000  0.3333        1.5000";
        assert_eq!(layer_table(&trace).unwrap(), expected);
    }
}
