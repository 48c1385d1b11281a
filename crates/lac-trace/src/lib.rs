//! What the gate saw, kept and shown.
//!
//! A [`Recorder`] is an [`Observer`](lac_core::Observer): it keeps norms, deltas, thresholds and
//! flags of one row's tokens, the prompt's and the response's apart. [`heat_map`] draws the flags
//! as a small token × layer picture for a terminal.
//!
//! ```
//! use lac_core::{GateRecord, Observer, Pass, PassRecord};
//! use lac_trace::{Recorder, Style, heat_map};
//!
//! // One pass over two tokens through two layers, as the layer loop reports it.
//! let record = PassRecord {
//!     pass: Pass::prompt(&[[7, 8]], 0)?,
//!     executed: vec![true, true],
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
#![deny(missing_docs)]

pub use error::{Error, Result};
pub use export::SequenceJson;
pub use file::{FlushLimits, TraceReader, TraceState, TraceWriter};
pub use info::{FORMAT_VERSION, TraceInfo};
pub use picture::{Style, heat_map};
pub use probe::{Probe, ProbeConfig, Probed};
pub use recorder::{PhaseTrace, Recorder};
pub use regate::regate;
pub use report::{Report, ReportConfig};
pub use statistics::Statistics;
pub use token::{HiddenStates, Token, TokenBatch};

pub mod statistics;

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
