//! CPU kernels on burn-flex: the operations of a decoder, the gate of L2 adaptive computation, and the threads that
//! compute them.
//!
//! **Threads.** The first operation that is worth spreading starts one thread fewer than rayon's pool has (the caller
//! computes too). These threads never end. After an operation they stay awake for half a millisecond, spinning on a
//! core each, because a decoded token is a hundred short operations and waking a thread costs a tenth of one; then
//! they sleep until the next operation. [`threads::configure`] changes that before the first operation: another number
//! of threads, no spinning (`awake(Duration::ZERO)`), or no threads at all and a pool that the host program lends
//! ([`threads::HostThreads`]).
//!
//! Weights are read once per operation in the data type they have (f32, f16 or bf16, layout `[out, in]`, never copied)
//! and summed in f32. Every output is one sum whose order depends on its own row and weight alone. So a token gives
//! the same bits whether it goes through a model alone, in a batch or in the middle of a prompt.
//!
//! [`has_cpu_kernel`] says whether a tensor can be given to a kernel: it lies on burn-flex, is of one of the three data
//! types, is not followed by autodiff and is not empty. Without the feature `flex` the answer is always no, and the
//! crate pulls in no backend. This crate knows nothing of lac-core.
//!
//! ```
//! # #[cfg(feature = "flex")] {
//! use burn::tensor::{Device, Tensor};
//!
//! let device = Device::flex();
//! // Two rows of three values, and a weight of two rows.
//! let input = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]], &device);
//! let weight = Tensor::<2>::from_floats([[1.0, 1.0, 1.0], [0.0, 0.0, 2.0]], &device);
//! assert!(lac_kernels::has_cpu_kernel(&input));
//!
//! let [output] = lac_kernels::linear(input, [weight], [None]);
//! assert_eq!(output.into_data().try_to_vec::<f32>()?, [6.0, 6.0, 1.0, 0.0]);
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc)]

#[cfg(feature = "flex")]
pub use bandwidth::parallel_read;
#[cfg(feature = "flex")]
pub use cpu::{
    GatedMlp, LinearMap, Norm, QkvHeads, QkvProjection, Residual, add_linear, add_mlp, add_outputs,
    attend, experts, fuses_sequences, fuses_tokens, gated_linear, has_cpu_kernel, layer, linear,
    queries_keys_values, rms_norm, rotate, route, soft_cap,
};
#[cfg(feature = "flex")]
pub use large_pages::use_large_pages;
pub use routing::{ExpertTokens, RouterWeights, Routing};
pub use settings::{Activation, NormForm, Scores};
pub use slots::AttendedSlots;
#[cfg(not(feature = "flex"))]
pub use stub::{
    GatedMlp, LinearMap, Norm, QkvHeads, QkvProjection, Residual, add_linear, add_mlp, add_outputs,
    attend, experts, fuses_sequences, fuses_tokens, gated_linear, has_cpu_kernel, layer, linear,
    queries_keys_values, rms_norm, rotate, route, soft_cap, use_large_pages,
};

#[cfg(feature = "flex")]
pub mod gate;
pub mod quantized;
#[cfg(feature = "flex")]
pub mod threads;

#[cfg(feature = "flex")]
mod bandwidth;
#[cfg(feature = "flex")]
mod cpu;
mod half_precision;
#[cfg(feature = "flex")]
mod large_pages;
mod routing;
mod settings;
mod slots;
#[cfg(not(feature = "flex"))]
mod stub;
#[cfg(feature = "flex")]
mod value;
