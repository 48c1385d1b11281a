//! Lossless self-speculation: the planned, shallower model drafts, the full model verifies.
//!
//! Sources: speculative decoding, Leviathan et al. 2023 (arXiv 2211.17192) and Chen et al. 2023
//! (arXiv 2302.01318); with layers of the model itself as the draft, Zhang et al. 2023
//! (arXiv 2309.08168) and SWIFT (arXiv 2410.06916).

mod choice;
mod draft_length;
mod drafting;
mod follow;
mod stats;
mod ties;
mod verification;

pub use follow::FollowConfig;
pub use stats::{SpeculationStats, speed_up_bound};
pub(crate) use ties::REPLAY_FACTOR;
pub use ties::Ties;
pub use verification::{Divergence, Verification, verify_speculation};

use crate::error::{Error, Result};
use crate::gate::GateConfig;
use crate::generation::{GenerationConfig, GenerationOutput, TokenSink};
use crate::observer::Observer;
use crate::plan::{ModelFingerprint, PhasePlan, PlanError, VoidPlan, check_depth};
use crate::stack::CausalLm;

use draft_length::DraftControl;
use follow::Follower;

/// How speculation goes about it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SpeculationConfig {
    /// How many tokens are drafted before the full model is asked.
    pub draft_length: DraftLength,
    /// What a drafted token is taken to cost.
    pub draft_cost: DraftCost,
    /// What happens where the two most probable tokens are too close to tell apart.
    pub ties: Ties,
    /// The gate of the full model's passes, for observers and for plans that follow the text.
    pub gate: Option<GateConfig>,
    /// Whether the plan changes while the text grows.
    pub plan_updates: PlanUpdates,
}

impl Default for SpeculationConfig {
    /// At most eight drafted tokens, as many as pay by measured times; exact ties; no gate; the
    /// plan as it is.
    fn default() -> Self {
        Self {
            draft_length: DraftLength::Adaptive { at_most: 8 },
            draft_cost: DraftCost::Measured,
            ties: Ties::default(),
            gate: None,
            plan_updates: PlanUpdates::Fixed,
        }
    }
}

impl SpeculationConfig {
    /// The same with other lengths of drafts.
    pub fn with_draft_length(self, draft_length: DraftLength) -> Self {
        Self {
            draft_length,
            ..self
        }
    }

    /// The same with another cost of a drafted token.
    pub fn with_draft_cost(self, draft_cost: DraftCost) -> Self {
        Self { draft_cost, ..self }
    }

    /// The same with near ties treated in another way.
    pub fn with_ties(self, ties: Ties) -> Self {
        Self { ties, ..self }
    }

    /// The same with a gate, or without one.
    pub fn with_gate(self, gate: impl Into<Option<GateConfig>>) -> Self {
        let gate = gate.into();
        Self { gate, ..self }
    }

    /// The same with a plan that changes while the text grows, or does not.
    pub fn with_plan_updates(self, plan_updates: PlanUpdates) -> Self {
        Self {
            plan_updates,
            ..self
        }
    }
}

/// How many tokens are drafted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DraftLength {
    /// As many as pay, by how often drafts of like confidence were accepted and what passes cost;
    /// none where none pays.
    Adaptive {
        /// Never more than this.
        at_most: usize,
    },
    /// Always this many.
    Fixed(usize),
}

impl DraftLength {
    fn at_most(self) -> usize {
        match self {
            DraftLength::Adaptive { at_most } => at_most,
            DraftLength::Fixed(n_tokens) => n_tokens,
        }
    }
}

/// What a drafting pass is taken to cost, when the draft's length adapts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum DraftCost {
    /// The time it takes, as measured while generating. How much is drafted then differs from run
    /// to run: greedy text does not depend on it, and neither does the distribution of sampled
    /// text, but sampled text does.
    Measured,
    /// This share of a pass of the full model, above 0: the same seed gives the same text.
    Ratio(f64),
}

/// Whether the drafting plan changes while the text grows.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PlanUpdates {
    /// It stays as it was given.
    Fixed,
    /// The verifying passes' traces and the drafts' acceptance move it; needs a gate.
    Follow(FollowConfig),
}

/// What a generation by speculation returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpeculationOutput {
    /// As [`generate`](crate::generate) returns it. Its decode passes are those of the full model.
    pub generation: GenerationOutput,
    /// What it took.
    pub stats: SpeculationStats,
}

/// A drafting plan, and what has been learned of it: kept from one generation to the next.
#[derive(Clone, Debug)]
pub struct Speculator {
    config: SpeculationConfig,
    plan: PhasePlan,
    control: DraftControl,
    follower: Option<Follower>,
    ties: Ties,
}

impl Speculator {
    /// Drafts with the layers that a list keeps.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for settings that are impossible.
    pub fn new(plan: PhasePlan, config: SpeculationConfig) -> Result<Self> {
        let invalid = |field, value: String, expected| Error::InvalidConfig {
            field,
            value,
            expected,
        };
        if let DraftCost::Ratio(ratio) = config.draft_cost
            && !(ratio.is_finite() && ratio > 0.0)
        {
            let expected = "a finite number above 0";
            return Err(invalid("draft_cost", ratio.to_string(), expected));
        }
        config.ties.validate()?;
        if let Some(gate) = &config.gate {
            gate.validate()?;
        }
        let follower = match config.plan_updates {
            PlanUpdates::Fixed => None,
            PlanUpdates::Follow(_) if config.gate.is_none() => {
                let expected = "a gate, whose traces the plan is to follow";
                return Err(invalid("gate", "absent".to_owned(), expected));
            }
            PlanUpdates::Follow(follow) => Some(Follower::new(follow, plan.n_layers())?),
        };
        Ok(Self {
            control: DraftControl::new(&config, plan.executed_share()),
            ties: config.ties,
            follower,
            plan,
            config,
        })
    }

    /// Drafts with a plan's response phase, on the model that the plan was made on.
    ///
    /// # Errors
    /// [`PlanError::OtherModel`] (as [`Error::Plan`]), and as [`Speculator::new`].
    pub fn from_plan(
        plan: &VoidPlan,
        model: &ModelFingerprint,
        config: SpeculationConfig,
    ) -> Result<Self> {
        plan.check(model)?;
        Self::new(plan.response.clone(), config)
    }

    /// The settings.
    pub fn config(&self) -> &SpeculationConfig {
        &self.config
    }

    /// The plan that drafts, as it stands now.
    pub fn plan(&self) -> &PhasePlan {
        &self.plan
    }

    /// Replaces the plan, with what was learned of drafting kept for the most part.
    fn set_plan(&mut self, plan: PhasePlan) {
        self.control
            .plan_changed(self.plan.executed_share(), plan.executed_share());
        self.plan = plan;
    }
}

/// Continues a prompt as [`generate`](crate::generate) does with the full model, faster where
/// the drafts are good.
///
/// Greedy text is the full model's, token for token: where noise between a verifying pass and
/// passes of one token could have decided, [`Ties`] says what is done. Sampled tokens have the
/// full model's distribution, by rejection (Leviathan et al. 2023, appendix A.1); temperature,
/// top-k and top-p apply to draft and model alike.
///
/// Drafts and verification share one cache: a verifying pass overwrites what the drafts wrote,
/// and rejected slots are forgotten. `observer` receives the prompt's pass and the verifying
/// passes, cut to the tokens that were accepted.
///
/// # Errors
/// [`Error::SpeculationBatch`] unless there is exactly one prompt; a plan for another number of
/// layers; otherwise as [`generate`](crate::generate).
pub fn generate_speculative<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    speculator: &mut Speculator,
    observer: &mut dyn Observer,
    sink: &mut dyn TokenSink,
) -> Result<SpeculationOutput> {
    drafting::speculate(
        model,
        one_prompt(prompts)?,
        config,
        speculator,
        drafting::Hooks {
            observer,
            sink,
            watcher: &mut (),
        },
    )
}

fn one_prompt(prompts: &[Vec<u32>]) -> Result<&Vec<u32>> {
    match prompts {
        [prompt] => Ok(prompt),
        _ => Err(Error::SpeculationBatch {
            n_prompts: prompts.len(),
        }),
    }
}

/// Whether a drafting plan fits a model.
fn check_plan<M: CausalLm + ?Sized>(model: &M, plan: &PhasePlan) -> Result<(), PlanError> {
    check_depth("response", plan, model.n_layers())
}
