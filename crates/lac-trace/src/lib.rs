//! What the gate saw, kept and shown.
//!
//! A [`Recorder`] is an [`Observer`](lac_core::Observer): it keeps norms, deltas, thresholds and
//! flags of one row's tokens, the prompt's and the response's apart. [`heat_map`] draws the flags
//! as a small token × layer picture for a terminal.
//!
//! ```
//! use lac_core::{Decision, GateRecord, Observer, Pass, PassRecord};
//! use lac_trace::{Recorder, Style, heat_map};
//!
//! // One pass over two tokens through two layers, as the layer loop reports it.
//! let record = PassRecord {
//!     pass: Pass::prompt(&[[7, 8]], 0)?,
//!     executed: vec![true, true],
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
#![deny(missing_docs)]

pub use picture::{Style, heat_map};
pub use recorder::{PhaseTrace, Recorder};

mod picture;
mod recorder;
