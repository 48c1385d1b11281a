//! Scoring answers of any model that implements lac-core's traits.
//!
//! For now this crate holds the arithmetic that every benchmark shares: log-likelihoods of
//! continuations, and greedy answers that are exactly right. Data sets, prompts and the runner
//! build on it.
//!
//! ```
//! use lac_eval::log_softmax;
//!
//! let log_probabilities = log_softmax(&[0.0, 3f32.ln()]);
//! assert!((log_probabilities[1].exp() - 0.75).abs() < 1e-6);
//! ```
#![deny(missing_docs)]

pub use exact_match::{ExactMatch, Exercise, exact_match};
pub use likelihood::{Continuation, log_likelihoods, log_softmax};

mod exact_match;
mod likelihood;
#[cfg(test)]
mod test_model;
