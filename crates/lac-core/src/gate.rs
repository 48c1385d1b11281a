//! The gate: which layers do something for a token that the L2 norm can see.
//!
//! Source: arXiv 2505.14467, section 3. With `n_l` the norm after layer `l`, `Δ_l = n_l − n_{l−1}`
//! and `λ_l = α (max_{j<l} Δ_j − min_{j<l} Δ_j)`, layer `l` is active for the token iff
//! `Δ_l ≥ λ_l`, and a void otherwise. `λ_0 = λ_1 = 0`.

mod config;
mod layers;
mod portable;
mod record;
mod select;
mod waiting;

pub use config::{DEFAULT_ALPHA, GateConfig};
pub use layers::Gate;
pub use record::GateReading;
pub use select::l2_norm;

pub(crate) use record::Record;
pub(crate) use select::select_tokens;
pub(crate) use waiting::{GatedAtOnce, WaitingGate};
