//! The page: a template, its style and script, and the data, all in one file.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lac_core::released_code::GateRounding;
use serde::Serialize;

use super::content::{ReportedPair, ReportedTrace, TraceReport};
use super::token_columns::TokenColumns;
use crate::file::TraceState;
use crate::statistics::Summary;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 4] = [
    include_str!("page/data.js"),
    include_str!("page/charts.js"),
    include_str!("page/tokens.js"),
    include_str!("page/page.js"),
];

pub(super) fn render(report: &TraceReport) -> String {
    let json = Json {
        traces: report.traces.iter().map(TraceJson::new).collect(),
        agreements: report.pairs.iter().map(PairJson::new).collect(),
    };
    // What is serialised are numbers, texts, lists and maps with texts as keys.
    let json = serde_json::to_string(&json).unwrap_or_else(|error| {
        format!("{{\"traces\": [], \"agreements\": [], \"error\": \"{error}\"}}")
    });
    let names: Vec<&str> = report
        .traces
        .iter()
        .map(|trace| trace.summary.info.short_model())
        .collect();
    let mut distinct = names.clone();
    distinct.dedup();
    let title = format!("Which layers work: {}", distinct.join(", "));

    // The parts go in one after the other, so that nothing in one is taken for a place of another.
    let mut page = String::with_capacity(TEMPLATE.len() + json.len() + 65_536);
    let mut rest = TEMPLATE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        page.push_str(before);
        match name {
            "title" => page.push_str(&escape_html(&title)),
            "style" => page.push_str(STYLE),
            "script" => SCRIPTS.iter().for_each(|script| page.push_str(script)),
            _ => page.push_str(&escape_json(&json)),
        }
        rest = after;
    }
    page.push_str(rest);
    page
}

fn escape_html(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\'' => "&#39;".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// Escapes JSON for a script element, so that nothing in it ends the element or opens a comment.
fn escape_json(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\u{7f}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => escaped.push(c),
        }
    }
    escaped
}

#[derive(Serialize)]
struct Json<'a> {
    traces: Vec<TraceJson<'a>>,
    agreements: Vec<PairJson>,
}

#[derive(Serialize)]
struct TraceJson<'a> {
    title: &'a str,
    file: String,
    state: &'static str,
    info: InfoJson<'a>,
    n_tokens: u64,
    summary: &'a Summary,
    /// Readable texts of the ids in the lists of most and least worked tokens.
    labels: BTreeMap<u32, String>,
    tokens: TokensJson<'a>,
}

#[derive(Serialize)]
struct InfoJson<'a> {
    model: &'a str,
    n_layers: usize,
    dtype: &'a str,
    device: &'a str,
    policy: &'a str,
    alpha: f32,
    rounding: &'static str,
    seed: Option<u64>,
    lac_version: &'a str,
    notes: &'a BTreeMap<String, String>,
    /// Whether the page may recompute masks for other α.
    can_sweep: bool,
}

/// Columns as base64 of their little-endian bytes.
#[derive(Serialize)]
struct TokensJson<'a> {
    n: usize,
    has_ids: bool,
    sequences: String,
    phases: String,
    positions: String,
    ids: String,
    piece_idx: String,
    /// Spelling and readable text of each distinct piece.
    pieces: Vec<[&'a str; 2]>,
    embedding_norms: String,
    deltas: String,
    active: String,
    executed: Option<String>,
    thresholds: Option<String>,
    norms: Option<String>,
    cosines: Option<String>,
    contributions: Option<String>,
}

#[derive(Serialize)]
struct PairJson {
    left: usize,
    right: usize,
    n_tokens: u64,
    prompt: Option<f64>,
    response: Option<f64>,
    masks: Option<f64>,
    delta_distance: f64,
}

impl PairJson {
    fn new(pair: &ReportedPair) -> Self {
        let agreement = &pair.agreement;
        let n_tokens = agreement.n_tokens();
        let equal = agreement.phases.prompt.equal_masks + agreement.phases.response.equal_masks;
        let mut distance = agreement.phases.prompt.delta_distance;
        distance.merge(&agreement.phases.response.delta_distance);
        Self {
            left: pair.left,
            right: pair.right,
            n_tokens,
            prompt: agreement.phases.prompt.flags(),
            response: agreement.phases.response.flags(),
            masks: (n_tokens > 0).then(|| equal as f64 / n_tokens as f64),
            delta_distance: distance.mean,
        }
    }
}

impl<'a> TraceJson<'a> {
    fn new(trace: &'a ReportedTrace) -> Self {
        let info = &trace.summary.info;
        let spelling = trace.tokens.spelling;
        let worked = trace
            .summary
            .seen_phases()
            .flat_map(|(_, phase)| phase.most_active.iter().chain(&phase.least_active));
        let labels = worked
            .filter_map(|token| Some((token.token_id, spelling.read(token.piece.as_deref()?))))
            .collect();
        Self {
            title: &trace.title,
            file: trace
                .path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            state: match trace.state {
                TraceState::Complete => "complete",
                TraceState::Interrupted => "interrupted",
            },
            info: InfoJson {
                model: &info.model,
                n_layers: info.n_layers,
                dtype: &info.dtype,
                device: &info.device,
                policy: &info.policy,
                alpha: info.gate.alpha,
                rounding: match info.gate.rounding {
                    GateRounding::F32 => "f32",
                    GateRounding::Bf16 => "bf16",
                },
                seed: info.seed,
                lac_version: &info.lac_version,
                notes: &info.notes,
                can_sweep: trace.tokens.can_recompute(),
            },
            n_tokens: trace.n_tokens,
            summary: &trace.summary,
            labels,
            tokens: TokensJson::new(&trace.tokens),
        }
    }
}

impl<'a> TokensJson<'a> {
    fn new(tokens: &'a TokenColumns) -> Self {
        let some = |values: &[f32]| (!values.is_empty()).then(|| floats(values));
        let is_run_everywhere = tokens.executed.iter().all(|&executed| executed);
        Self {
            n: tokens.len(),
            has_ids: tokens.has_ids,
            sequences: words(&tokens.sequences),
            phases: STANDARD.encode(&tokens.phases),
            positions: words(&tokens.positions),
            ids: words(&tokens.ids),
            piece_idx: words(&tokens.piece_idx),
            pieces: tokens
                .pieces
                .iter()
                .map(|(piece, text)| [piece.as_str(), text.as_str()])
                .collect(),
            embedding_norms: floats(&tokens.embedding_norms),
            deltas: floats(&tokens.deltas),
            active: bits(&tokens.active),
            executed: (!is_run_everywhere).then(|| bits(&tokens.executed)),
            thresholds: some(&tokens.thresholds),
            norms: some(&tokens.norms),
            cosines: some(&tokens.cosines),
            contributions: some(&tokens.contributions),
        }
    }
}

fn words(values: &[u32]) -> String {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    STANDARD.encode(bytes)
}

fn floats(values: &[f32]) -> String {
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    STANDARD.encode(bytes)
}

/// Packs eight flags into each byte, the first one in its lowest bit.
fn bits(flags: &[bool]) -> String {
    let bytes: Vec<u8> = flags
        .chunks(8)
        .map(|flags| {
            flags
                .iter()
                .rev()
                .fold(0, |byte, &flag| byte << 1 | u8::from(flag))
        })
        .collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_the_data_ends_its_element() {
        let json = serde_json::to_string("</script><!--\u{2028}&\"").unwrap_or_default();
        let escaped = escape_json(&json);
        assert!(!escaped.contains(['<', '>', '&', '\u{2028}']));
        let back: String = serde_json::from_str(&escaped).unwrap_or_default();
        assert_eq!(back, "</script><!--\u{2028}&\"");
    }

    #[test]
    fn flags_are_packed_from_the_lowest_bit() {
        let flags = [true, false, false, true, false, false, false, false, true];
        assert_eq!(bits(&flags), STANDARD.encode([0b1001, 1]));
    }
}
