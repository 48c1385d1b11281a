//! L2 Adaptive Computation for [burn]: finds and skips the *voids* of a language model, the layers that, for a given
//! token, leave the L2 norm of the residual stream as it is.
//!
//! Your model implements [`LayerStack`] (a hidden state passes through layers), and [`CausalLm`] if it is to be prompted.
//! One function, [`run_layers`], has the loop over layers, and [`generate`] continues prompts through it. A
//! [`LayerPolicy`] decides what happens to void layers ([`Off`], [`Trace`], [`LastActive`], [`Bypass`], [`Halt`],
//! [`Planned`], or your own). An [`Observer`] receives what the [`Gate`] saw, for the tokens of the prompt and of the
//! response apart ([`Phase`]).
//!
//! A [`VoidPlan`](plan::VoidPlan), learned from traces, names layers that are not run at all. [`Planned`] follows it.
//! [`generate_speculative`](speculation::generate_speculative) drafts with it and has the full model verify the drafts, so
//! that the text is the full model's.
//!
//! The method is that of "Void in Language Models" (arXiv 2505.14467). **Masking a layer saves no time**: whether a layer
//! was void is known only after it has run. So executed layers, flagged layers and measured time are three different
//! numbers everywhere.
//!
//! This crate opens no file and knows no checkpoint format, tokenizer or data set. The repository's docs/guide.md goes
//! from a first run of the command to a model and a policy of your own.
//!
//! # How to gate your own model
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use lac_core::{Gate, GateConfig, LayerStack, Observer, Pass, Trace, Usage, run_layers};
//!
//! /// Three layers; each multiplies the hidden state by a factor.
//! struct Scales([f32; 3]);
//!
//! impl LayerStack for Scales {
//!     type Context = ();
//!
//!     fn n_layers(&self) -> usize {
//!         self.0.len()
//!     }
//!
//!     fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
//!         hidden * self.0[layer_idx]
//!     }
//! }
//!
//! let device = Device::flex();
//! // One row of two tokens with norms 5 and 1.
//! let embedding = Tensor::<3>::from_floats([[[3.0, 4.0], [0.0, 1.0]]], &device);
//! let pass = Pass::states(1, 2);
//! let mut policy = Trace::new(GateConfig::new(0.8));
//!
//! let out = run_layers(&Scales([2.0, 0.5, 1.5]), embedding, &mut (), &pass, &mut policy)?;
//! let record = out.readings.read(&pass)?;
//! let gate = record.gate.as_ref().expect("Trace gates");
//!
//! // The first token's norms go 5 → 10 → 5 → 7.5: the second layer shrinks the norm, and the
//! // third adds 2.5 where 0.8 × (5 − (−5)) = 8 would be needed. Both are voids.
//! assert_eq!(gate.norms, [10.0, 2.0, 5.0, 1.0, 7.5, 1.5]);
//! assert_eq!(gate.active, [true, true, false, false, false, false]);
//! assert_eq!(record.executed(), [true, true, true]);
//!
//! let mut usage = Usage::default();
//! usage.pass(&record)?;
//! assert_eq!(usage.prompt.per_layer(), Some(vec![1.0, 0.0, 0.0]));
//! # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
//! ```
//!
//! # Backends
//!
//! The crate alone pulls in no backend. burn's `Device` decides at run time where tensors lie; the features `flex`,
//! `wgpu`, `vulkan`, `metal`, `cuda` and `rocm`, all off by default, decide what is compiled in. Each brings the gate's
//! kernel for its devices: one launch per layer that reads the state once (one launch per pass when decoding under
//! [`Trace`] or [`LastActive`]). A backend that was compiled in by other means is gated with tensor operations, with the
//! same results. [`mod@reference`] is the gate on the host, without tensors.
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use decision::{Decision, SkippedKeys};
pub use error::{BoxError, Error, Result};
pub use gate::{Gate, GateConfig};
pub use generation::{GenerateArgs, GenerationConfig, generate};
pub use observer::Observer;
pub use pass::Pass;
pub use phase::{PerPhase, Phase};
pub use plan::Planned;
pub use policy::{
    Bypass, Halt, LastActive, LayerPolicy, LayerStep, NextState, Observed, Off, PolicyEffect, Trace,
};
pub use record::{GateRecord, PassRecord};
pub use run::{PassOutput, run_layers};
pub use stack::{CausalLm, LayerStack};
pub use usage::Usage;

pub mod error;
pub mod gate;
pub mod generation;
pub mod intervention;
pub mod kv_cache;
pub mod lens;
pub mod measures;
pub mod named;
pub mod plan;
pub mod policy;
pub mod record;
pub mod reference;
pub mod released_code;
pub mod routing;
pub mod run;
pub mod speculation;
pub mod stack;
pub mod text_model;
pub mod usage;

mod decision;
mod kernel;
mod observer;
mod pass;
mod phase;
