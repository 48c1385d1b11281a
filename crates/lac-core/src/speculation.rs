//! Lossless speculation: something cheap drafts tokens, the full model verifies them in one pass.
//!
//! Sources: speculative decoding, Leviathan et al. 2023 (arXiv 2211.17192) and Chen et al. 2023
//! (arXiv 2302.01318); with layers of the model itself as the draft, Zhang et al. 2023
//! (arXiv 2309.08168) and SWIFT (arXiv 2410.06916).
//!
//! A [`Drafter`] proposes: layers of the model that a plan keeps, or the same layers with cheaper weights
//! ([`PlanDrafter`]), what the text has said before ([`NgramDrafter`]), another model ([`ModelDrafter`]), or anything of
//! your own. A [`Speculator`] holds drafters and what was learned of them: in every round it takes what pays most at this
//! moment, and nothing where nothing pays. [`generate_speculative`] continues a prompt with it, [`verify_speculation`]
//! compares its text with the full model's, token by token, and [`search_by_agreement`] looks for layers to draft with.

mod acceptance;
mod adaptive_plan;
mod agreement;
mod config;
mod control;
mod costs;
mod decode_loop;
mod draft_keys;
mod draft_round;
mod draft_weights;
mod drafter;
mod drafters;
mod generate;
mod losses;
mod near_ties;
mod own_passes;
mod proposals;
mod second_weights;
mod shares;
mod speculator;
mod stats;
mod verification;

pub use adaptive_plan::FollowConfig;
pub use agreement::{
    AgreementSearch, AgreementSearcher, CalibrationText, SearchStep, agreement, search_by_agreement,
};
pub use config::{DraftCost, DraftLength, PlanUpdates, SpeculationConfig};
pub use decode_loop::SpeculationOutput;
pub use draft_round::DraftRound;
pub use draft_weights::DraftWeights;
pub use drafter::Drafter;
pub use drafters::{ModelDrafter, NgramDrafter, NgramMemory, PlanDrafter};
pub use generate::{SpeculateArgs, generate_speculative};
pub(crate) use near_ties::REPLAY_FACTOR;
pub use near_ties::Ties;
pub use second_weights::WithSecondWeights;
pub use speculator::Speculator;
pub use stats::{DrafterStats, SpeculationStats, speed_up_bound};
pub use verification::{Divergence, Verification, verify_speculation};
