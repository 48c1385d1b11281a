//! The page: a template, its style and script, and the data, all in one file.

use std::collections::{BTreeMap, HashMap};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lac_core::{GateRounding, Phase};
use serde::Serialize;

use super::{PairReport, Report, TraceReport};
use crate::display::Spelling;
use crate::file::TraceState;
use crate::info::TraceInfo;
use crate::statistics::Summary;
use crate::token::Token;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPTS: [&str; 4] = [
    include_str!("page/data.js"),
    include_str!("page/charts.js"),
    include_str!("page/tokens.js"),
    include_str!("page/page.js"),
];

pub(super) fn render(report: &Report) -> String {
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

/// JSON inside of a script element: nothing in it ends the element or opens a comment.
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
    fn new(pair: &PairReport) -> Self {
        let agreement = &pair.agreement;
        let n_tokens = agreement.n_tokens();
        let equal = agreement.prompt.equal_masks + agreement.response.equal_masks;
        let mut distance = agreement.prompt.delta_distance;
        distance.merge(&agreement.response.delta_distance);
        Self {
            left: pair.left,
            right: pair.right,
            n_tokens,
            prompt: agreement.prompt.flags(),
            response: agreement.response.flags(),
            masks: (n_tokens > 0).then(|| equal as f64 / n_tokens as f64),
            delta_distance: distance.mean,
        }
    }
}

impl<'a> TraceJson<'a> {
    fn new(trace: &'a TraceReport) -> Self {
        let info = &trace.summary.info;
        let spelling = trace.tokens.spelling;
        let worked = trace
            .summary
            .phases()
            .flat_map(|(_, phase)| phase.most_worked.iter().chain(&phase.least_worked));
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
            tokens: trace.tokens.json(),
        }
    }
}

/// The tokens that a page shows one by one.
#[derive(Debug)]
pub(super) struct TokenColumns {
    info: TraceInfo,
    spelling: Spelling,
    sequences: Vec<u32>,
    phases: Vec<u8>,
    positions: Vec<u32>,
    ids: Vec<u32>,
    has_ids: bool,
    piece_idx: Vec<u32>,
    pieces: Vec<(String, String)>,
    known: HashMap<String, u32>,
    embedding_norms: Vec<f32>,
    deltas: Vec<f32>,
    active: Vec<bool>,
    executed: Vec<bool>,
    thresholds: Vec<f32>,
    norms: Vec<f32>,
    cosines: Vec<f32>,
    contributions: Vec<f32>,
}

/// A token as pictures show it.
pub(super) struct ShownToken<'a> {
    pub text: String,
    pub active: &'a [bool],
    pub executed: &'a [bool],
}

impl TokenColumns {
    /// The tokens of a phase of the first sequence.
    pub(super) fn first_sequence(&self, phase: Phase) -> Vec<ShownToken<'_>> {
        let wanted = u8::from(phase == Phase::Response);
        let n_layers = self.info.n_layers;
        (0..self.len())
            .filter(|&idx| self.sequences[idx] == self.sequences[0] && self.phases[idx] == wanted)
            .map(|idx| ShownToken {
                text: self.pieces[self.piece_idx[idx] as usize].1.clone(),
                active: &self.active[idx * n_layers..(idx + 1) * n_layers],
                executed: &self.executed[idx * n_layers..(idx + 1) * n_layers],
            })
            .collect()
    }

    pub(super) fn new(info: &TraceInfo) -> Self {
        Self {
            info: info.clone(),
            spelling: Spelling::Plain,
            sequences: Vec::new(),
            phases: Vec::new(),
            positions: Vec::new(),
            ids: Vec::new(),
            has_ids: false,
            piece_idx: Vec::new(),
            pieces: Vec::new(),
            known: HashMap::new(),
            embedding_norms: Vec::new(),
            deltas: Vec::new(),
            active: Vec::new(),
            executed: Vec::new(),
            thresholds: Vec::new(),
            norms: Vec::new(),
            cosines: Vec::new(),
            contributions: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sequences.len()
    }

    /// Whether thresholds and norms follow from deltas alone, as the page computes them.
    fn can_recompute(&self) -> bool {
        self.info.can_sweep_alpha() && self.info.gate.rounding == GateRounding::F32
    }

    pub(super) fn push(&mut self, token: &Token<'_>) {
        self.sequences.push(token.sequence);
        self.phases.push(match token.phase {
            Phase::Prompt => 0,
            Phase::Response => 1,
        });
        self.positions.push(token.position);
        self.ids.push(token.token_id.unwrap_or_default());
        self.has_ids |= token.token_id.is_some();
        let label = token.label();
        let next = self.pieces.len() as u32;
        let idx = *self.known.entry(label.clone()).or_insert(next);
        if idx == next {
            self.pieces.push((label, String::new()));
        }
        self.piece_idx.push(idx);
        self.embedding_norms.push(token.embedding_norm);
        self.deltas.extend_from_slice(token.deltas);
        self.active.extend_from_slice(token.active);
        self.executed.extend_from_slice(token.executed);
        if !self.can_recompute() {
            self.thresholds.extend_from_slice(token.thresholds);
            self.norms.extend_from_slice(token.norms);
        }
        self.cosines.extend(token.cosines.into_iter().flatten());
        self.contributions
            .extend(token.contributions.into_iter().flatten());
    }

    /// Called when all tokens are there: how pieces are spelled shows in all of them together.
    pub(super) fn finish(&mut self) {
        self.spelling = Spelling::of(self.pieces.iter().map(|(piece, _)| piece.as_str()));
        for (piece, text) in &mut self.pieces {
            *text = self.spelling.read(piece);
        }
    }

    fn json(&self) -> TokensJson<'_> {
        let some = |values: &[f32]| (!values.is_empty()).then(|| floats(values));
        let is_run_everywhere = self.executed.iter().all(|&executed| executed);
        TokensJson {
            n: self.len(),
            has_ids: self.has_ids,
            sequences: words(&self.sequences),
            phases: STANDARD.encode(&self.phases),
            positions: words(&self.positions),
            ids: words(&self.ids),
            piece_idx: words(&self.piece_idx),
            pieces: self
                .pieces
                .iter()
                .map(|(piece, text)| [piece.as_str(), text.as_str()])
                .collect(),
            embedding_norms: floats(&self.embedding_norms),
            deltas: floats(&self.deltas),
            active: bits(&self.active),
            executed: (!is_run_everywhere).then(|| bits(&self.executed)),
            thresholds: some(&self.thresholds),
            norms: some(&self.norms),
            cosines: some(&self.cosines),
            contributions: some(&self.contributions),
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

/// Eight flags a byte, the first one in its lowest bit.
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
