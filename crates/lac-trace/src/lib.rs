//! Records what the gate of `lac-core` saw, reads it back, counts it and draws it.
//!
//! | module | |
//! | --- | --- |
//! | [`recorder`] | [`Recorder`] keeps the numbers of one row in memory |
//! | [`file`](mod@file) | [`TraceWriter`] streams every token of any number of runs into a Parquet file, with bounded memory; [`TraceReader`] reads it, or what an interrupted run left, and exports JSON and CSV; [`MemoryTrace`](file::MemoryTrace) does without files |
//! | [`measures`], [`lens`] | what was measured beside the norm, and what a lens saw |
//! | [`probe`] | [`Probed`] also records whole hidden states |
//! | [`statistics`] | [`Statistics`] counts, streaming and mergeable: usage, voids, runs, transitions, other α |
//! | [`report`] | [`TraceReport`] makes one self-contained page, and pictures as SVG and PNG; not for WebAssembly |
//! | [`picture`] | [`heat_map`] draws tokens × layers for a terminal |
//!
//! [`Recorder`] and [`TraceWriter`] are [`Observer`](lac_core::Observer)s. Both keep the tokens of the prompt and those
//! of the response apart. docs/traces.md describes the file.
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
//!     routing: Vec::new(),
//!     measures: None,
//!     lens: None,
//! };
//! let mut recorder = Recorder::new(0);
//! recorder.pass(&record)?;
//!
//! let prompt = &recorder.phases.prompt;
//! assert_eq!(prompt.active, [[1, 1], [0, 1]]);
//! let picture = heat_map(prompt, &["Once".into(), " upon".into()], Style::Plain);
//! assert!(picture.contains("Once"));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use error::{Error, Result};
pub use file::{Token, TraceInfo, TraceReader, TraceWriter};
pub use picture::{Style, heat_map};
pub use probe::Probed;
pub use recorder::Recorder;
#[cfg(not(target_family = "wasm"))]
pub use report::TraceReport;
pub use statistics::Statistics;

pub mod display;
pub mod file;
pub mod lens;
pub mod measures;
pub mod picture;
pub mod probe;
pub mod recorder;
#[cfg(not(target_family = "wasm"))]
pub mod report;
pub mod routing;
pub mod statistics;

mod atomic;
mod error;
mod info;
mod token;
