//! What the gate saw, kept and shown.
//!
//! | | |
//! | --- | --- |
//! | [`Recorder`] | keeps one row's numbers in memory |
//! | [`TraceWriter`] | streams every token of any number of runs into a Parquet file, with bounded memory |
//! | [`Probed`] | looks also at cosines, contributions and whole hidden states |
//! | [`TraceReader`] | reads a trace, or what an interrupted run left; exports JSON and CSV |
//! | [`Statistics`] | counts, streaming and mergeable: usage, voids, runs, transitions, other α |
//! | [`Report`] | one self-contained page, and pictures as SVG and PNG |
//! | [`heat_map`], [`Lines`] | token × layer pictures for a terminal |
//!
//! [`Recorder`] and [`TraceWriter`] are [`Observer`](lac_core::Observer)s; both keep the prompt's and
//! the response's tokens apart. docs/traces.md describes the file.
//!
//! ```
//! use lac_core::{Decision, GateRecord, Observer, Pass, PassRecord};
//! use lac_trace::{Recorder, Style, heat_map};
//!
//! // One pass over two tokens through two layers, as the layer loop reports it.
//! let record = PassRecord {
//!     pass: Pass::prompt(&[[7, 8]], 0)?,
//!     decisions: vec![Decision::Run; 2],
//!     gate: Some(GateRecord {
//!         embedding_norms: vec![1.0, 1.0],
//!         norms: vec![2.0, 3.0, 1.5, 5.0],
//!         deltas: vec![1.0, 2.0, -0.5, 2.0],
//!         thresholds: vec![0.0; 4],
//!         active: vec![true, true, false, true],
//!     }),
//! };
//! let mut recorder = Recorder::new(0);
//! recorder.pass(&record)?;
//!
//! let prompt = &recorder.prompt;
//! assert_eq!(prompt.active, [[1, 1], [0, 1]]);
//! let picture = heat_map(prompt, &["Once".into(), " upon".into()], Style::Plain);
//! assert!(picture.contains("Once"));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use error::{Error, Result};
pub use export::SequenceJson;
pub use file::{FlushLimits, TraceReader, TraceState, TraceWriter};
pub use info::{FORMAT_VERSION, TraceInfo};
pub use picture::{Lines, Style, heat_map};
pub use probe::{Probe, ProbeConfig, Probed};
pub use recorder::{PhaseTrace, Recorder};
pub use regate::regate;
pub use report::{Report, ReportConfig, TerminalConfig};
pub use statistics::Statistics;
pub use token::{HiddenStates, Token, TokenBatch};

pub mod statistics;

mod atomic;
mod display;
mod error;
mod export;
mod file;
mod info;
mod picture;
mod probe;
mod recorder;
mod regate;
mod report;
mod token;
