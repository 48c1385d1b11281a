//! Lossless self-speculation: the planned, shallower model drafts, the full model verifies.
//!
//! Sources: speculative decoding, Leviathan et al. 2023 (arXiv 2211.17192) and Chen et al. 2023
//! (arXiv 2302.01318); with layers of the model itself as the draft, Zhang et al. 2023
//! (arXiv 2309.08168) and SWIFT (arXiv 2410.06916).
//!
//! A [`Speculator`] holds the drafting plan and what was learned of it; [`generate_speculative`] continues a prompt
//! with it, [`verify_speculation`] compares its text with the full model's, token by token, and
//! [`search_by_agreement`] looks for layers to draft with.

mod acceptance;
mod adaptive_plan;
mod agreement;
mod config;
mod decode_loop;
mod draft_keys;
mod draft_length;
mod generate;
mod near_ties;
mod speculator;
mod stats;
mod verification;

pub use adaptive_plan::FollowConfig;
pub use agreement::{AgreementSearch, CalibrationText, SearchStep, agreement, search_by_agreement};
pub use config::{DraftCost, DraftLength, PlanUpdates, SpeculationConfig};
pub use decode_loop::SpeculationOutput;
pub use generate::{SpeculateArgs, generate_speculative};
pub(crate) use near_ties::REPLAY_FACTOR;
pub use near_ties::Ties;
pub use speculator::Speculator;
pub use stats::{SpeculationStats, speed_up_bound};
pub use verification::{Divergence, Verification, verify_speculation};
