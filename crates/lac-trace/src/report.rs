//! Reports of traces: pictures as SVG and PNG, one self-contained page, and the numbers as JSON.

mod page;
mod pictures;
mod terminal;

pub use terminal::TerminalConfig;

use std::path::{Path, PathBuf};

use lac_files::FolderLock;
use serde::Serialize;

use crate::atomic::write_atomically;
use crate::error::{Error, Result};
use crate::file::{TraceReader, TraceState};
use crate::statistics::{Agreement, Statistics, Summary, agreement};
use page::TokenColumns;

/// What a report holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportConfig {
    /// Tokens of each trace that are shown one by one in the page; charts and tables count all.
    pub max_tokens: usize,
}

impl Default for ReportConfig {
    /// 10,000 tokens of each trace.
    fn default() -> Self {
        Self { max_tokens: 10_000 }
    }
}

/// What is known of one trace: its counts, and its first tokens.
#[derive(Debug)]
struct TraceReport {
    path: PathBuf,
    title: String,
    state: TraceState,
    n_tokens: u64,
    summary: Summary,
    tokens: TokenColumns,
}

/// Two traces of models of one depth, by their places.
#[derive(Debug)]
struct PairReport {
    left: usize,
    right: usize,
    agreement: Agreement,
}

/// Everything that was read, before anything is drawn.
#[derive(Debug)]
pub struct Report {
    traces: Vec<TraceReport>,
    pairs: Vec<PairReport>,
}

impl Report {
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
            reports.push(TraceReport {
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
                    pairs.push(PairReport {
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

    /// What was found of each trace, in their order.
    pub fn summaries(&self) -> impl Iterator<Item = (&str, &Summary)> {
        self.traces
            .iter()
            .map(|trace| (trace.title.as_str(), &trace.summary))
    }

    /// Writes the page, self-contained: it works offline and loads nothing.
    ///
    /// # Errors
    /// What the system reports.
    pub fn write_page(&self, path: &Path) -> Result<()> {
        let page = page::render(self);
        write_atomically(path, |file| file.write_all(page.as_bytes()))
    }

    /// Writes the numbers: one object per trace, and the agreement of each pair.
    ///
    /// # Errors
    /// What the system reports.
    pub fn write_statistics(&self, path: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct Json<'a> {
            traces: Vec<&'a Summary>,
            agreements: Vec<PairJson<'a>>,
        }
        #[derive(Serialize)]
        struct PairJson<'a> {
            left: usize,
            right: usize,
            #[serde(flatten)]
            agreement: &'a Agreement,
        }
        let json = Json {
            traces: self.traces.iter().map(|trace| &trace.summary).collect(),
            agreements: self
                .pairs
                .iter()
                .map(|pair| PairJson {
                    left: pair.left,
                    right: pair.right,
                    agreement: &pair.agreement,
                })
                .collect(),
        };
        write_atomically(path, |file| {
            serde_json::to_writer_pretty(&mut *file, &json)?;
            writeln!(file)
        })
    }

    /// Writes everything into a folder, which is made if need be: `report.html`,
    /// `statistics.json`, and the pictures. Returns the files written.
    ///
    /// # Errors
    /// What the system and the drawing library report; each file is whole or as it was. A folder that another
    /// process writes a report into is refused.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let _only_writer = FolderLock::take(folder).map_err(Error::io("write into", folder))?;
        let page = folder.join("report.html");
        self.write_page(&page)?;
        let numbers = folder.join("statistics.json");
        self.write_statistics(&numbers)?;
        let mut files = vec![page, numbers];
        files.extend(pictures::write(self, folder)?);
        Ok(files)
    }
}

/// Titles that tell the traces apart: what they have in common is left out, and where that leaves
/// nothing, or the same twice, the file's name is put in.
fn title(traces: &mut [TraceReport]) {
    let fields = |trace: &TraceReport| {
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
