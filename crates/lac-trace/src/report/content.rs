//! What a report says: of every trace its numbers and first tokens, of every pair how far they agree.

use std::path::PathBuf;

use super::token_columns::TokenColumns;
use crate::error::Result;
use crate::file::{TraceReader, TraceState};
use crate::statistics::{Agreement, Statistics, Summary, agreement};

/// What a report holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportConfig {
    /// Tokens of each trace that are shown one by one in the page; charts and tables count all.
    pub max_tokens: usize,
}

impl Default for ReportConfig {
    /// Returns the default: 10,000 tokens of each trace.
    fn default() -> Self {
        Self { max_tokens: 10_000 }
    }
}

/// What is known of one trace: its counts, and its first tokens.
#[derive(Debug)]
pub(super) struct ReportedTrace {
    pub(super) path: PathBuf,
    pub(super) title: String,
    pub(super) state: TraceState,
    pub(super) n_tokens: u64,
    pub(super) summary: Summary,
    pub(super) tokens: TokenColumns,
}

/// Two traces of models of one depth, by their places.
#[derive(Debug)]
pub(super) struct ReportedPair {
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) agreement: Agreement,
}

/// Everything that was read, before anything is drawn.
#[derive(Debug)]
pub struct TraceReport {
    pub(super) traces: Vec<ReportedTrace>,
    pub(super) pairs: Vec<ReportedPair>,
}

impl TraceReport {
    /// Reads traces: each once for its numbers, and once more for each it is compared with.
    ///
    /// # Errors
    /// What is found wrong with a trace.
    pub fn read(traces: &[TraceReader], config: &ReportConfig) -> Result<Self> {
        let mut reports = Vec::with_capacity(traces.len());
        for trace in traces {
            let mut statistics = Statistics::new(trace.info());
            let mut tokens = TokenColumns::new(trace.info());
            trace.for_each(|token| {
                statistics.push(&token);
                if tokens.len() < config.max_tokens {
                    tokens.push(&token);
                }
            })?;
            tokens.finish();
            reports.push(ReportedTrace {
                path: trace.path().to_owned(),
                title: String::new(),
                state: trace.state(),
                n_tokens: trace.n_tokens(),
                summary: statistics.summary(),
                tokens,
            });
        }
        title(&mut reports);
        let mut pairs = Vec::new();
        for right in 1..traces.len() {
            for left in 0..right {
                if traces[left].info().n_layers == traces[right].info().n_layers {
                    pairs.push(ReportedPair {
                        left,
                        right,
                        agreement: agreement(&traces[left], &traces[right])?,
                    });
                }
            }
        }
        // Traces of different texts have nothing to agree on.
        pairs.retain(|pair| pair.agreement.n_tokens() > 0);
        Ok(Self {
            traces: reports,
            pairs,
        })
    }

    /// Iterates over what was found of each trace, in their order.
    pub fn summaries(&self) -> impl Iterator<Item = (&str, &Summary)> {
        self.traces
            .iter()
            .map(|trace| (trace.title.as_str(), &trace.summary))
    }
}

/// Titles that tell the traces apart: what they have in common is left out, and where that leaves
/// nothing, or the same twice, the file's name is put in.
fn title(traces: &mut [ReportedTrace]) {
    let fields = |trace: &ReportedTrace| {
        let info = &trace.summary.info;
        [
            info.short_model().to_owned(),
            info.dtype.clone(),
            info.device.clone(),
            info.policy.clone(),
            format!("α {}", info.gate.alpha),
        ]
    };
    let all: Vec<[String; 5]> = traces.iter().map(fields).collect();
    let differs = |field: usize| all.iter().any(|fields| fields[field] != all[0][field]);
    let titles: Vec<String> = all
        .iter()
        .map(|fields| {
            let parts: Vec<&str> = (0..fields.len())
                .filter(|&field| differs(field))
                .map(|field| fields[field].as_str())
                .collect();
            parts.join(" · ")
        })
        .collect();
    for (idx, trace) in traces.iter_mut().enumerate() {
        let is_unique = titles.iter().filter(|title| **title == titles[idx]).count() == 1;
        trace.title = if titles.len() == 1 {
            trace.summary.info.short_model().to_owned()
        } else if is_unique && !titles[idx].is_empty() {
            titles[idx].clone()
        } else {
            let name = trace.path.file_stem().unwrap_or_default().to_string_lossy();
            [name.as_ref(), &titles[idx]]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" · ")
        };
    }
}
