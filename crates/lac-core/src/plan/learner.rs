//! The observer that learns which layers matter.

use super::evidence::Evidence;
use super::phase_plan::PhasePlan;
use super::selection::{Granularity, Selection, select};
use crate::error::{BoxError, PlanError};
use crate::measures::{Measure, block_influence};
use crate::observer::Observer;
use crate::phase::{PerPhase, Phase};
use crate::record::PassRecord;

/// Learns from the passes that it observes which layers matter in each phase: an [`Observer`].
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::tensor::{Device, Tensor};
/// use lac_core::plan::{Granularity, Keep, PhasePlan, PlanLearner, Ranking, Selection};
/// use lac_core::{GateConfig, LayerStack, Observer, Pass, Phase, Trace, run_layers};
///
/// /// Three layers; each adds a number to the hidden state.
/// struct Adds([f32; 3]);
///
/// impl LayerStack for Adds {
///     type Context = ();
///     fn n_layers(&self) -> usize {
///         3
///     }
///     fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
///         hidden + self.0[layer_idx]
///     }
/// }
///
/// let mut learner = PlanLearner::default();
/// let pass = Pass::states(1, 1);
/// let embedding = Tensor::<3>::from_floats([[[1.0]]], &Device::flex());
/// let mut policy = Trace::new(GateConfig::new(0.8));
/// let out = run_layers(&Adds([1.0, 3.0, 0.5]), embedding, &mut (), &pass, &mut policy)?;
/// learner.pass(&out.readings.read(&pass)?)?;
///
/// // The third layer added 0.5, where 0.8 × (3 − 1) was needed.
/// let selection = Selection { by: Ranking::Usage, keep: Keep::AtLeast(0.5) };
/// let plan = learner.choose(Phase::Prompt, selection, Granularity::Layers)?;
/// assert_eq!(plan, PhasePlan::keeping(&[true, true, false]));
/// # }
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct PlanLearner {
    n_prompts: u64,
    sums: PerPhase<Sums>,
}

/// Sums over one phase's tokens.
#[derive(Clone, Debug, Default)]
struct Sums {
    n_tokens: u64,
    active: Vec<u64>,
    delta: Vec<f64>,
    influence: Vec<f64>,
    lens: Vec<f64>,
}

impl PlanLearner {
    /// Returns the number of prompts seen.
    pub fn n_prompts(&self) -> u64 {
        self.n_prompts
    }

    /// Returns what was seen of a phase.
    pub fn evidence(&self, phase: Phase) -> Evidence {
        let sums = self.sums.get(phase);
        let n_tokens = sums.n_tokens.max(1) as f64;
        let means = |sums: &[f64]| sums.iter().map(|sum| sum / n_tokens).collect();
        Evidence {
            n_tokens: sums.n_tokens,
            usage: sums.active.iter().map(|&n| n as f64 / n_tokens).collect(),
            mean_delta: means(&sums.delta),
            influence: means(&sums.influence),
            lens: means(&sums.lens),
        }
    }

    /// Chooses what is run in a phase. [`Keep::Layers`](super::Keep::Layers) counts whole layers at either granularity.
    ///
    /// # Errors
    /// [`PlanError::NoEvidence`] if no token of the phase was gated; [`PlanError::NotMeasured`] if what layers are ranked by
    /// was not measured in every pass; [`PlanError::Selection`] for an impossible selection.
    pub fn choose(
        &self,
        phase: Phase,
        selection: Selection,
        units: Granularity,
    ) -> Result<PhasePlan, PlanError> {
        let evidence = self.evidence(phase);
        if evidence.n_tokens == 0 {
            let phase = phase.name();
            return Err(PlanError::NoEvidence { phase });
        }
        let kept = select(&evidence, evidence.usage.len(), selection, units)?;
        Ok(units.plan(&kept))
    }
}

impl Observer for PlanLearner {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        if record.pass.phase() == Phase::Prompt {
            self.n_prompts += record.pass.batch() as u64;
        }
        self.sums.get_mut(record.pass.phase()).add(record);
        Ok(())
    }
}

impl Sums {
    fn add(&mut self, record: &PassRecord) {
        if record.gate.is_none() {
            return;
        }
        self.active.resize(record.n_layers(), 0);
        self.delta.resize(record.n_layers(), 0.0);
        self.n_tokens += record.counted().count() as u64;
        for reading in record.readings() {
            self.active[reading.layer_idx] += u64::from(reading.active);
            self.delta[reading.layer_idx] += f64::from(reading.delta);
        }
        self.add_measures(record);
        self.add_lens(record);
    }

    fn add_measures(&mut self, record: &PassRecord) {
        let measures = record.measures.as_ref();
        let Some(cosines) = measures.and_then(|seen| seen.get(Measure::Cosine)) else {
            return;
        };
        self.influence.resize(record.n_layers(), 0.0);
        for (row, slot) in record.counted() {
            for (layer_idx, sum) in self.influence.iter_mut().enumerate() {
                *sum += f64::from(block_influence(cosines[record.at(layer_idx, row, slot)]));
            }
        }
    }

    fn add_lens(&mut self, record: &PassRecord) {
        let Some(lens) = &record.lens else {
            return;
        };
        self.lens.resize(record.n_layers(), 0.0);
        for (row, slot) in record.counted() {
            let slot = row * record.pass.seq() + slot;
            for (layer_idx, sum) in self.lens.iter_mut().enumerate() {
                let (before, after) =
                    (lens.at(layer_idx, slot).kl, lens.at(layer_idx + 1, slot).kl);
                *sum += f64::from(before) - f64::from(after);
            }
        }
    }
}
