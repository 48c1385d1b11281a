//! Plans: which layers are not run in each phase, learned from traces and kept with their provenance.
//!
//! A [`PlanLearner`] observes traced passes and chooses a [`PhasePlan`] by a [`Selection`]; a [`VoidPlan`] joins the
//! plans of both phases with the model that they were made on; [`Planned`] is the policy that follows them.

mod evidence;
mod fingerprint;
mod learner;
mod phase_plan;
mod planned;
mod provenance;
mod selection;
mod split;
mod void_plan;

pub use crate::error::PlanError;
pub use evidence::Evidence;
pub use fingerprint::{FingerprintDifference, FingerprintPart, ModelFingerprint};
pub use learner::PlanLearner;
pub use phase_plan::PhasePlan;
pub use planned::Planned;
pub use provenance::Provenance;
pub use selection::{Granularity, Keep, Ranking, Selection};
pub use split::SplitLayers;
pub use void_plan::VoidPlan;
