//! Plans: which layers are not run, per phase, learned from traces and kept with where they came
//! from.

mod agreement;
mod evidence;
mod fingerprint;
mod phase_plan;
mod selection;
mod split;

pub use agreement::{AgreementSearch, CalibrationText, SearchStep, agreement, search_by_agreement};
pub use evidence::{Evidence, PlanLearner};
pub use fingerprint::{FingerprintDifference, FingerprintPart, ModelFingerprint};
pub use phase_plan::PhasePlan;
pub use selection::{Keep, Ranking, Selection, Units};
pub use split::SplitLayers;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

use crate::phase::Phase;
use crate::policy::SkippedKeys;

/// The version of the plans that this crate writes.
const FORMAT: u32 = 1;

/// Which layers, or parts of layers, are not run in each phase: learned from traces of one model
/// and of use with that model alone.
///
/// It goes through serde as a readable object; whoever holds it does the reading and writing of
/// files. What comes in is checked: a plan whose lists name layers that the model does not have,
/// or name one twice, does not deserialise.
///
/// ```
/// use lac_core::{PlanError, Planned, VoidPlan};
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
    /// The model it was made on.
    pub model: ModelFingerprint,
    /// What is not run over the prompt's tokens.
    pub prompt: PhasePlan,
    /// What is not run over the response's tokens.
    pub response: PhasePlan,
    /// What becomes of the keys and values of layers whose attention is not run.
    pub skipped_keys: SkippedKeys,
    /// How it was made.
    pub provenance: Provenance,
}

/// How a plan was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The program and its version.
    pub made_by: String,
    /// By what the layers were chosen, in words.
    pub chosen_by: String,
    /// The policy under which the traces were taken.
    pub traced_under: String,
    /// α of the gate that took them.
    pub alpha: f32,
    /// Number of prompts traced.
    pub n_prompts: u64,
    /// What was seen over the prompts' tokens.
    pub prompt: Evidence,
    /// What was seen over the responses' tokens.
    pub response: Evidence,
}

impl Provenance {
    fn check(&self, n_layers: usize) -> Result<(), PlanError> {
        let wrong = |field: &str, value: String, expected| {
            let field = field.to_owned();
            Err(PlanError::Provenance {
                field,
                value,
                expected,
            })
        };
        if !self.alpha.is_finite() || self.alpha < 0.0 {
            let expected = "a number that is not negative";
            return wrong("alpha", self.alpha.to_string(), expected);
        }
        for (phase, evidence) in [("prompt", &self.prompt), ("response", &self.response)] {
            for (name, values) in [
                ("usage", &evidence.usage),
                ("mean_delta", &evidence.mean_delta),
            ] {
                let field = format!("{phase}.{name}");
                if ![0, n_layers, 2 * n_layers].contains(&values.len()) {
                    let found = format!("a list of {}", values.len());
                    return wrong(&field, found, "one number for each layer, or for each part");
                }
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    return wrong(&field, value.to_string(), "finite numbers");
                }
            }
            let is_share = |usage: &&f64| (0.0..=1.0).contains(*usage);
            if let Some(usage) = evidence.usage.iter().find(|usage| !is_share(usage)) {
                let field = format!("{phase}.usage");
                return wrong(&field, usage.to_string(), "shares from 0 to 1");
            }
        }
        Ok(())
    }
}

/// Why a plan cannot be used.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// It was made on another model.
    #[error(
        "the plan was made on another model: its {field} is {plan}, this model's is {model}; \
         make a plan on this model"
    )]
    OtherModel {
        /// What differs.
        field: &'static str,
        /// The plan's.
        plan: String,
        /// The model's.
        model: String,
    },
    /// An earlier version made it, which knew the model by a sample of its weights alone.
    #[error(
        "the plan knows its model by a sample of the weights, which does not see every change; make the plan \
         again on this model"
    )]
    SampledWeights,
    /// It is of a later version.
    #[error("the plan is of format {format}, this version reads format {FORMAT}")]
    Format {
        /// The plan's format.
        format: u32,
    },
    /// It speaks of another number of layers than the model has.
    #[error("the plan of the {phase} phase is for {plan} layers, the model has {model}")]
    OtherDepth {
        /// The phase.
        phase: &'static str,
        /// Layers of the plan.
        plan: usize,
        /// Layers of the model.
        model: usize,
    },
    /// A list names a layer that there is not.
    #[error("{list} names layer {layer_idx}, expected one of 0 to {}", n_layers.saturating_sub(1))]
    NoSuchLayer {
        /// The list.
        list: &'static str,
        /// The layer it names.
        layer_idx: usize,
        /// Number of layers.
        n_layers: usize,
    },
    /// A layer is named twice.
    #[error("layer {layer_idx} is named twice: once in {list}, and before")]
    NamedTwice {
        /// The list that names it again.
        list: &'static str,
        /// The layer.
        layer_idx: usize,
    },
    /// What was asked to be kept is impossible.
    #[error("{what} is {value}, expected {expected}")]
    Selection {
        /// The setting.
        what: &'static str,
        /// Its value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// What it says of its making cannot be.
    #[error("provenance.{field} is {value}, expected {expected}")]
    Provenance {
        /// The field.
        field: String,
        /// Its value.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// There is nothing to choose by.
    #[error("no token of the {phase} phase was traced: there is nothing to choose layers by")]
    NoEvidence {
        /// The phase.
        phase: &'static str,
    },
}

impl VoidPlan {
    /// A plan of these parts.
    ///
    /// # Errors
    /// [`PlanError::OtherDepth`] when a phase is for another number of layers than the model has;
    /// [`PlanError::Provenance`] for evidence that no trace of such a model gives.
    pub fn new(
        model: ModelFingerprint,
        prompt: PhasePlan,
        response: PhasePlan,
        skipped_keys: SkippedKeys,
        provenance: Provenance,
    ) -> Result<Self, PlanError> {
        check_depth("prompt", &prompt, model.n_layers)?;
        check_depth("response", &response, model.n_layers)?;
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

    /// The plan of a phase.
    pub fn phase(&self, phase: Phase) -> &PhasePlan {
        match phase {
            Phase::Prompt => &self.prompt,
            Phase::Response => &self.response,
        }
    }

    /// Checks that the plan was made on this model. Stop tokens may differ: they decide where a text ends, and not
    /// which layers a token needs. The tokenizer and the chat template may not, since the plan was learned from texts
    /// in that form.
    ///
    /// # Errors
    /// [`PlanError::OtherModel`] naming the first difference; [`PlanError::SampledWeights`] for a plan of an earlier
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

pub(crate) fn check_depth(
    phase: &'static str,
    plan: &PhasePlan,
    n_layers: usize,
) -> Result<(), PlanError> {
    if plan.n_layers() == n_layers {
        return Ok(());
    }
    Err(PlanError::OtherDepth {
        phase,
        plan: plan.n_layers(),
        model: n_layers,
    })
}

impl<'de> Deserialize<'de> for VoidPlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What does not belong into a plan is quoted whole, and may be as long as the file.
        let plan = Unchecked::deserialize(deserializer)
            .map_err(|error| D::Error::custom(shortened(&error.to_string())))?;
        VoidPlan::try_from(plan).map_err(D::Error::custom)
    }
}

/// A message without its middle, where that is long; at the end it says where the mistake is.
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
