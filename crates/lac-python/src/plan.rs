//! Plans learned from traces.

use lac_core::plan::{
    Granularity, Keep, PhasePlan, PlanLearner, Provenance, Ranking, Selection, SplitLayers,
    VoidPlan,
};
use lac_core::{GateConfig, GenerateArgs, GenerationConfig, Phase, SkippedKeys, Trace, generate};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;

use crate::collector::Progress;
use crate::error::{Failure, detached};
use crate::model::Model;
use crate::signals::Interruptible;

/// Which layers are kept.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct PlanArgs {
    alpha: f32,
    max_new_tokens: usize,
    by: String,
    seed: u64,
    keep_share: Option<f64>,
    keep_layers: Option<usize>,
    keep_at_least: Option<f64>,
    sublayers: bool,
    phase: String,
    skipped_keys: String,
}

/// The share of layers that is kept by default.
const DEFAULT_SHARE: f64 = 0.7;

impl PlanArgs {
    fn selection(&self, n_layers: usize) -> Result<Selection, Failure> {
        let by = match self.by.as_str() {
            "usage" => Ranking::Usage,
            "mean-delta" => Ranking::MeanDelta,
            "influence" => Ranking::Influence,
            "lens" => Ranking::Lens,
            "random" => Ranking::Random(self.seed),
            "last" => Ranking::Last,
            other => {
                return Err(Failure::new(format!(
                    "by is {other:?}, expected usage, mean-delta, influence, lens, random or last"
                )));
            }
        };
        let keep = match (self.keep_share, self.keep_layers, self.keep_at_least) {
            (None, None, None) => Keep::Share(DEFAULT_SHARE),
            (Some(share), None, None) => Keep::Share(share),
            (None, Some(layers), None) => Keep::Layers(layers),
            (None, None, Some(rank)) => Keep::AtLeast(rank),
            _ => {
                return Err(Failure::new(
                    "keep_share, keep_layers and keep_at_least exclude each other: give one of them",
                ));
            }
        };
        keep.n_units(n_layers, self.granularity())?;
        Ok(Selection { by, keep })
    }

    fn granularity(&self) -> Granularity {
        if self.sublayers {
            Granularity::Sublayers
        } else {
            Granularity::Layers
        }
    }

    fn skips_in(&self, phase: Phase) -> Result<bool, Failure> {
        match self.phase.as_str() {
            "both" => Ok(true),
            "prompt" | "response" => Ok(self.phase == phase.name()),
            other => Err(Failure::new(format!(
                "phase is {other:?}, expected both, prompt or response"
            ))),
        }
    }
}

/// Learns from traces of prompts which layers need not be run. Returns the plan as JSON.
#[pyfunction]
pub(crate) fn plan<'py>(
    py: Python<'py>,
    model: &Model,
    prompts: Vec<PyReadonlyArray1<'py, u32>>,
    args: PlanArgs,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let loaded = model.loaded()?;
    let n_layers = loaded.decoder.config().n_layers;
    let selection = args.selection(n_layers)?;
    let gate = GateConfig::new(args.alpha);
    gate.validate()
        .map_err(|error| Failure::from(error).context("alpha"))?;
    let skipped_keys: SkippedKeys = args.skipped_keys.parse().map_err(Failure::from)?;
    let skips_prompt = args.skips_in(Phase::Prompt)?;
    let skips_response = args.skips_in(Phase::Response)?;
    let prompts: Vec<Vec<u32>> = prompts.iter().map(|ids| ids.as_array().to_vec()).collect();
    // An order needs no evidence.
    if prompts.is_empty() && selection.by.needs_evidence() {
        return Err(Failure::new("there is no prompt to learn from").into());
    }
    let progress = Progress::new(progress);
    detached(py, || {
        let config =
            GenerationConfig::greedy(args.max_new_tokens).with_stop_tokens(loaded.stop_ids());
        let observed = selection.by.observed(Trace::new(gate));
        let mut policy = Interruptible::new(Box::new(observed));
        let mut learner = PlanLearner::default();
        for (idx, prompt) in prompts.iter().enumerate() {
            progress.report(idx as u64, prompts.len() as u64)?;
            let prompt = std::slice::from_ref(prompt);
            let generation = GenerateArgs::new(&mut policy).observer(&mut learner);
            match args.granularity() {
                Granularity::Layers => generate(&loaded.decoder, prompt, &config, generation)?,
                Granularity::Sublayers => {
                    let split = SplitLayers::new(&loaded.decoder)?;
                    generate(&split, prompt, &config, generation)?
                }
            };
        }
        progress.report(prompts.len() as u64, prompts.len() as u64)?;
        let choose = |phase, skips: bool| {
            if !skips {
                Ok(PhasePlan::full(n_layers))
            } else if selection.by.needs_evidence() {
                learner.choose(phase, selection, args.granularity())
            } else {
                selection.without_evidence(n_layers, args.granularity())
            }
        };
        let plan = VoidPlan::new(
            loaded.fingerprint()?,
            choose(Phase::Prompt, skips_prompt)?,
            choose(Phase::Response, skips_response)?,
            skipped_keys,
            Provenance {
                made_by: format!("lac {}", env!("CARGO_PKG_VERSION")),
                chosen_by: selection.to_string(),
                traced_under: "trace".to_owned(),
                alpha: args.alpha,
                n_prompts: learner.n_prompts(),
                prompt: learner.evidence(Phase::Prompt).rounded(),
                response: learner.evidence(Phase::Response).rounded(),
            },
        )?;
        Ok(serde_json::to_string(&plan)?)
    })
}
