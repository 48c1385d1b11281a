//! A report as text for a terminal.

use std::fmt::Write;

use lac_core::Phase;

use super::content::{ReportedPair, ReportedTrace, TraceReport};
use crate::display::on_one_line;
use crate::picture::{Style, TokenLines};
use crate::statistics::{PhaseSummary, Summary, TokenActivity};

/// How a report is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalConfig {
    /// Characters in a line.
    pub width: usize,
    /// Tokens of the first sequence that are drawn, of each phase.
    pub max_tokens: usize,
    /// With colours or without.
    pub style: Style,
}

impl Default for TerminalConfig {
    /// Returns the default: 80 characters, 40 tokens of each phase, coloured.
    fn default() -> Self {
        Self {
            width: 80,
            max_tokens: 40,
            style: Style::Coloured,
        }
    }
}

impl TraceReport {
    /// Returns the report as text: per trace the numbers of both phases, a picture of the first sequence, and what
    /// follows from the deltas for other α; then the agreement of traces.
    pub fn to_terminal(&self, config: &TerminalConfig) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for (idx, trace) in self.traces.iter().enumerate() {
            if idx > 0 {
                text.push('\n');
            }
            let _ = write_trace(&mut text, trace, config);
        }
        for pair in &self.pairs {
            let _ = self.write_pair(&mut text, pair);
        }
        text
    }

    fn write_pair(&self, text: &mut String, pair: &ReportedPair) -> std::fmt::Result {
        let agreement = &pair.agreement;
        let percent = |share: Option<f64>| share.map_or("–".to_owned(), percent);
        writeln!(
            text,
            "\n{} against {}: {} tokens compared; equal flags: prompt {}, response {}",
            on_one_line(&self.traces[pair.left].title),
            on_one_line(&self.traces[pair.right].title),
            agreement.n_tokens(),
            percent(agreement.phases.prompt.flags()),
            percent(agreement.phases.response.flags()),
        )
    }
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn write_trace(
    text: &mut String,
    trace: &ReportedTrace,
    config: &TerminalConfig,
) -> std::fmt::Result {
    let Summary {
        info, comparison, ..
    } = &trace.summary;
    writeln!(text, "== {}", on_one_line(&info.title()))?;
    for (name, phase) in trace.summary.seen_phases() {
        write_phase(text, name, phase, info.n_layers)?;
        let which = if name == "prompt" {
            Phase::Prompt
        } else {
            Phase::Response
        };
        let tokens = trace.tokens.first_sequence(which);
        let lines = TokenLines::new(info.n_layers, config.style).with_width(config.width);
        for token in tokens.iter().take(config.max_tokens) {
            text.push_str(&lines.token(&token.text, token.active, which));
        }
        if tokens.len() > config.max_tokens {
            let rest = tokens.len() - config.max_tokens;
            writeln!(text, "{:>14} {rest} more of this sequence", "…")?;
        }
        text.push('\n');
    }
    if let Some(comparison) = comparison {
        let number = |value: Option<f64>| value.map_or("–".to_owned(), |v| format!("{v:.2}"));
        writeln!(
            text,
            "prompt against response: Jaccard index of the layers in use {}, of the usages {}, rank correlation {}",
            number(comparison.jaccard),
            number(comparison.weighted_jaccard),
            number(comparison.spearman)
        )?;
    }
    if let Some(sweep) = &trace.summary.alpha_sweep {
        // Every fourth α: steps of 0.2 unless others were asked for.
        let steps = || (0..sweep.alphas.len()).step_by(4);
        write!(text, "other α, active   ")?;
        steps().try_for_each(|idx| write!(text, "{:>6}", sweep.alphas[idx]))?;
        for (name, usage) in [("prompt", &sweep.prompt), ("response", &sweep.response)] {
            if !usage.is_empty() {
                write!(text, "\n{name:18}")?;
                steps().try_for_each(|idx| write!(text, "{:>4.0} %", 100.0 * usage[idx]))?;
            }
        }
        text.push('\n');
    }
    Ok(())
}

fn write_phase(
    text: &mut String,
    name: &str,
    phase: &PhaseSummary,
    n_layers: usize,
) -> std::fmt::Result {
    writeln!(
        text,
        "{name}: {} tokens, {} of the layers active (95 %: {} to {}), {:.1} of {n_layers} run",
        phase.n_tokens,
        percent(phase.usage),
        percent(phase.usage_interval.low),
        percent(phase.usage_interval.high),
        phase.executed_layers,
    )?;
    writeln!(
        text,
        "voids per token: {:.1} on average, {} in the median; longest run {:.1} on average",
        phase.voids.mean, phase.voids.median, phase.longest_void_run.mean
    )?;
    let bars: String = phase
        .usage_per_layer
        .iter()
        .map(|share| bar(share.share))
        .collect();
    writeln!(text, "usage per layer: {bars}")?;
    write_experts(text, phase)?;
    write_relations(text, phase)?;
    let words = |tokens: &[TokenActivity]| {
        let words = tokens.iter().take(5).map(|token| {
            let piece = token.piece.as_deref().unwrap_or("–");
            format!("{} {:.1}", on_one_line(piece), token.mean_active)
        });
        words.collect::<Vec<_>>().join(", ")
    };
    if !phase.most_active.is_empty() {
        writeln!(text, "most worked: {}", words(&phase.most_active))?;
        writeln!(text, "least worked: {}", words(&phase.least_active))?;
    }
    Ok(())
}

/// Writes a line for each layer with experts: whether the norm sees what the router sees.
fn write_experts(text: &mut String, phase: &PhaseSummary) -> std::fmt::Result {
    if phase.experts.iter().all(Option::is_none) {
        return Ok(());
    }
    writeln!(
        text,
        "{:>8}{:>9}{:>9}{:>9}{:>11}{:>9}   weight and delta, 95 %",
        "experts", "active", "entropy", "used", "top weight", "in voids"
    )?;
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    for (layer_idx, layer) in phase.experts.iter().enumerate() {
        let Some(layer) = layer else { continue };
        let interval = layer
            .correlation_interval
            .map(|interval| format!(" ({:+.2} to {:+.2})", interval.low, interval.high));
        let correlation = layer
            .correlation
            .map_or("–".to_owned(), |value| format!("{value:+.2}"));
        writeln!(
            text,
            "layer {layer_idx:>2}{:>9}{:>9.3}{:>9}{:>11}{:>9}   {correlation}{}",
            percent(layer.active.share),
            layer.entropy,
            layer.experts_used,
            number(layer.top_weight_active),
            number(layer.top_weight_void),
            interval.unwrap_or_default(),
        )?;
    }
    Ok(())
}

/// Writes how voids by the norm, voids by influence and decided answers go together.
fn write_relations(text: &mut String, phase: &PhaseSummary) -> std::fmt::Result {
    let Some(relations) = &phase.relations else {
        return Ok(());
    };
    if let Some(decided_at) = relations.decided_at {
        writeln!(
            text,
            "answers are decided at layer {decided_at:.1} on average"
        )?;
    }
    for (what, table) in [
        (
            "void by influence, if void by the norm",
            &relations.norm_and_influence,
        ),
        ("decided, if void by the norm", &relations.norm_and_decided),
        (
            "decided, if void by influence",
            &relations.influence_and_decided,
        ),
    ] {
        let Some(table) = table else { continue };
        let phi = table.phi.map_or("–".to_owned(), |phi| format!("{phi:+.2}"));
        writeln!(
            text,
            "{what}: {}, if not {}; φ {phi}",
            percent(table.given.share),
            percent(table.otherwise.share),
        )?;
    }
    Ok(())
}

/// Returns a share as a bar of eight heights.
fn bar(share: f64) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    BARS[((share * 8.0) as usize).min(7)]
}
