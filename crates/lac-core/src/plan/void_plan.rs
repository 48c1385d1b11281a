//! A plan for both phases, with its model and its provenance.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use super::fingerprint::{FingerprintPart, ModelFingerprint};
use super::phase_plan::PhasePlan;
use super::provenance::Provenance;
use crate::decision::SkippedKeys;
use crate::error::PlanError;
use crate::phase::Phase;

/// The version of the plans that this crate writes.
const FORMAT: u32 = 1;

/// Which layers, or sublayers, are not run in each phase. A plan is learned from traces of one model and serves that model
/// alone.
///
/// It serialises as a readable object; reading and writing files is left to the caller. Deserialising checks it: a plan
/// whose lists name a layer that the model does not have, or name one twice, is an error.
///
/// ```
/// use lac_core::{Planned, plan::{PlanError, VoidPlan}};
///
/// let plan: VoidPlan = serde_json::from_str(r#"{
///     "format": 1,
///     "model": {"architecture": "qwen2", "n_layers": 4, "hidden_size": 16, "vocab_size": 64,
///               "weights": "sha256:12ab"},
///     "prompt": {"n_layers": 4},
///     "response": {"n_layers": 4, "skip": [1], "skip_mlp": [2]},
///     "skipped_keys": "fill",
///     "provenance": {"made_by": "a test", "chosen_by": "hand", "traced_under": "trace",
///                    "alpha": 0.8, "n_prompts": 0, "prompt": {}, "response": {}}
/// }"#)?;
/// assert_eq!(plan.response.executed_layers(), 2.5);
///
/// // It is refused on any model but its own.
/// let mut other = plan.model.clone();
/// other.weights = "sha256:ffff".to_owned();
/// let refused = Planned::new(&plan, &other).unwrap_err();
/// assert!(matches!(refused, PlanError::OtherModel { field: "weights", .. }));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VoidPlan {
    format: u32,
    /// The model that the plan was made on.
    pub model: ModelFingerprint,
    /// What is not run over the prompt's tokens.
    pub prompt: PhasePlan,
    /// What is not run over the response's tokens.
    pub response: PhasePlan,
    /// What happens to the keys and values of layers whose attention is not run.
    pub skipped_keys: SkippedKeys,
    /// How the plan was made.
    pub provenance: Provenance,
}

impl VoidPlan {
    /// Makes a plan for both phases.
    ///
    /// # Errors
    /// [`PlanError::OtherDepth`] if a phase is for another number of layers than the model has;
    /// [`PlanError::Provenance`] for evidence that no trace of such a model gives.
    pub fn new(
        model: ModelFingerprint,
        prompt: PhasePlan,
        response: PhasePlan,
        skipped_keys: SkippedKeys,
        provenance: Provenance,
    ) -> Result<Self, PlanError> {
        prompt.check_depth(Phase::Prompt, model.n_layers)?;
        response.check_depth(Phase::Response, model.n_layers)?;
        provenance.check(model.n_layers)?;
        Ok(Self {
            format: FORMAT,
            model,
            prompt,
            response,
            skipped_keys,
            provenance,
        })
    }

    /// Returns the plan of a phase.
    pub fn phase(&self, phase: Phase) -> &PhasePlan {
        match phase {
            Phase::Prompt => &self.prompt,
            Phase::Response => &self.response,
        }
    }

    /// Checks that the plan was made on this model. Stop tokens may differ: they decide where a text ends, and not
    /// which layers a token needs. The tokenizer and the chat template may not differ, since the plan was learned from
    /// texts in that form.
    ///
    /// # Errors
    /// [`PlanError::OtherModel`] with the first difference; [`PlanError::SampledWeights`] for a plan of an earlier
    /// version.
    pub fn check(&self, model: &ModelFingerprint) -> Result<(), PlanError> {
        if self.model.is_sampled() && !model.is_sampled() {
            return Err(PlanError::SampledWeights);
        }
        let mut differences = self.model.differences(model).into_iter();
        match differences.find(|difference| difference.part != FingerprintPart::StopTokens) {
            None => Ok(()),
            Some(difference) => Err(PlanError::OtherModel {
                field: difference.part.name(),
                plan: difference.recorded,
                model: difference.present,
            }),
        }
    }
}

impl<'de> Deserialize<'de> for VoidPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // serde quotes what does not belong into a plan whole, and that may be as long as the file.
        let plan = Unchecked::deserialize(deserializer)
            .map_err(|error| D::Error::custom(shortened(&error.to_string())))?;
        VoidPlan::try_from(plan).map_err(D::Error::custom)
    }
}

/// Cuts the middle out of a long message; its end says where the mistake is.
fn shortened(message: &str) -> String {
    const CHARS_OF_EACH_END: usize = 200;
    let n_chars = message.chars().count();
    if n_chars <= 2 * CHARS_OF_EACH_END {
        return message.to_owned();
    }
    let start: String = message.chars().take(CHARS_OF_EACH_END).collect();
    let end: String = message.chars().skip(n_chars - CHARS_OF_EACH_END).collect();
    format!("{start} … {end}")
}

/// A plan as it stands in a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a plan")]
struct Unchecked {
    format: u32,
    model: ModelFingerprint,
    prompt: PhasePlan,
    response: PhasePlan,
    skipped_keys: SkippedKeys,
    provenance: Provenance,
}

impl TryFrom<Unchecked> for VoidPlan {
    type Error = PlanError;

    fn try_from(plan: Unchecked) -> Result<Self, PlanError> {
        if plan.format != FORMAT {
            return Err(PlanError::Format {
                format: plan.format,
                supported: FORMAT,
            });
        }
        Self::new(
            plan.model,
            plan.prompt,
            plan.response,
            plan.skipped_keys,
            plan.provenance,
        )
    }
}
