//! One phase of a plan.

use serde::{Deserialize, Serialize};

use crate::decision::Decision;
use crate::error::PlanError;
use crate::phase::Phase;

/// What is run of each layer in one phase.
///
/// It serialises as the number of layers and up to three lists of layers: those that are not run (`skip`), and those
/// whose attention or MLP is not run (`skip_attention`, `skip_mlp`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Lists", into = "Lists")]
pub struct PhasePlan {
    decisions: Vec<Decision>,
}

impl PhasePlan {
    /// Makes a plan that runs every layer.
    pub fn full(n_layers: usize) -> Self {
        Self::new(vec![Decision::Run; n_layers])
    }

    /// Makes a plan of what is run of each layer in turn.
    pub fn new(decisions: Vec<Decision>) -> Self {
        Self { decisions }
    }

    /// Makes a plan that runs the layers that the flags keep, whole.
    pub fn keeping(kept: &[bool]) -> Self {
        let decision = |&kept: &bool| if kept { Decision::Run } else { Decision::Skip };
        Self::new(kept.iter().map(decision).collect())
    }

    /// Makes a plan that runs the sublayers that the flags keep: the attention and the MLP of each layer in turn.
    pub fn keeping_sublayers(kept: &[bool]) -> Self {
        let decision = |sublayers: &[bool]| match sublayers {
            [true, true] => Decision::Run,
            [true, false] => Decision::SkipMlp,
            [false, true] => Decision::SkipAttention,
            _ => Decision::Skip,
        };
        Self::new(kept.chunks(2).map(decision).collect())
    }

    /// Returns the number of layers of the model that the plan is for.
    pub fn n_layers(&self) -> usize {
        self.decisions.len()
    }

    /// Returns what is run of each layer.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Returns the number of layers that are run, sublayers counted as halves.
    pub fn executed_layers(&self) -> f64 {
        self.decisions.iter().map(|layer| layer.executed()).sum()
    }

    /// Returns the share of the layers that is run, in `[0, 1]`; 1 for a model without layers.
    pub fn executed_share(&self) -> f64 {
        match self.n_layers() {
            0 => 1.0,
            n_layers => self.executed_layers() / n_layers as f64,
        }
    }

    /// Returns whether every layer is run whole.
    pub fn is_full(&self) -> bool {
        self.decisions.iter().all(|&layer| layer == Decision::Run)
    }

    /// Returns whether the attention or the MLP of any layer is skipped alone.
    pub fn skips_sublayers(&self) -> bool {
        self.decisions
            .iter()
            .any(|layer| matches!(layer, Decision::SkipAttention | Decision::SkipMlp))
    }

    /// Checks that the plan of a phase is for a model's number of layers.
    pub(crate) fn check_depth(&self, phase: Phase, n_layers: usize) -> Result<(), PlanError> {
        if self.n_layers() == n_layers {
            return Ok(());
        }
        Err(PlanError::OtherDepth {
            phase: phase.name(),
            plan: self.n_layers(),
            model: n_layers,
        })
    }

    pub(crate) fn set(&mut self, layer_idx: usize, decision: Decision) {
        self.decisions[layer_idx] = decision;
    }
}

/// A plan as it is serialised.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    n_layers: usize,
    #[serde(default)]
    skip: Vec<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skip_attention: Vec<usize>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    skip_mlp: Vec<usize>,
}

/// More layers than any model has. A file with a larger number is damaged, and is refused before memory is allocated.
const MOST_LAYERS: usize = 1 << 16;

impl TryFrom<Lists> for PhasePlan {
    type Error = PlanError;

    fn try_from(lists: Lists) -> Result<Self, PlanError> {
        let n_layers = lists.n_layers;
        if n_layers > MOST_LAYERS {
            return Err(PlanError::Selection {
                what: "n_layers",
                value: n_layers.to_string(),
                expected: "at most 65536",
            });
        }
        let mut plan = Self::full(n_layers);
        for (list, layers, decision) in [
            ("skip", lists.skip, Decision::Skip),
            (
                "skip_attention",
                lists.skip_attention,
                Decision::SkipAttention,
            ),
            ("skip_mlp", lists.skip_mlp, Decision::SkipMlp),
        ] {
            for layer_idx in layers {
                match plan.decisions.get_mut(layer_idx) {
                    None => {
                        return Err(PlanError::NoSuchLayer {
                            list,
                            layer_idx,
                            n_layers,
                        });
                    }
                    Some(planned) if *planned != Decision::Run => {
                        return Err(PlanError::NamedTwice { list, layer_idx });
                    }
                    Some(planned) => *planned = decision,
                }
            }
        }
        Ok(plan)
    }
}

impl From<PhasePlan> for Lists {
    fn from(plan: PhasePlan) -> Self {
        let layers_with = |decision| {
            let with = |(layer_idx, &layer)| (layer == decision).then_some(layer_idx);
            plan.decisions.iter().enumerate().filter_map(with).collect()
        };
        Self {
            n_layers: plan.n_layers(),
            skip: layers_with(Decision::Skip),
            skip_attention: layers_with(Decision::SkipAttention),
            skip_mlp: layers_with(Decision::SkipMlp),
        }
    }
}
