//! Interventions: layers that are ablated, vectors that are added to the residual stream, and states of another run that
//! take the place of a run's own.
//!
//! [`Intervened`] does so around any policy, and whatever goes through the loop over layers (traces, texts, scores,
//! perplexities) goes with it. [`Captured`] keeps the states that are put into another run.

mod captured;
mod intervened;
mod tokens;

pub use captured::Captured;
pub use intervened::{Ablated, Intervened, Intervention};
pub use tokens::TokenSelection;
