//! Layers chosen by what the shallower model would say: for drafting, where nothing counts but
//! how often its next token is the full model's.

use super::draft_keys::draft_keys;
use crate::error::{Error, PlanError, Result};
use crate::generation::sampling::argmax;
use crate::generation::{Flow, forward_hidden, last_logits};
use crate::pass::Pass;
use crate::plan::{Granularity, PhasePlan, Planned};
use crate::policy::Off;
use crate::stack::CausalLm;

/// A prompt with its continuation by the full model, greedily.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationText {
    /// The tokens of both.
    pub ids: Vec<u32>,
    /// How many of them are the prompt's.
    pub n_prompt: usize,
}

/// How [`search_by_agreement`] goes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgreementSearch {
    /// What is taken out, one at a time.
    pub units: Granularity,
    /// At how many places of each text a draft is tried.
    pub positions_per_text: usize,
    /// The search ends where the agreement falls below this.
    pub least_agreement: f64,
}

/// A plan on the way from the full model to none of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SearchStep {
    /// What is run.
    pub plan: PhasePlan,
    /// The share of places at which its most probable token is the text's next one.
    pub agreement: f64,
}

/// Takes out, again and again, the layer or part without which the plan agrees most often with
/// the full model; returns the plans on the way, the full one first.
///
/// The drafts are made as speculation makes them: each for one token, with the full model's keys
/// and values of all earlier ones. `progress` is called after every step and says whether to go
/// on; what was found until then is returned.
///
/// # Errors
/// What the model's passes report; parts that the model does not offer; texts without a place to try a draft at.
pub fn search_by_agreement<M: CausalLm + ?Sized>(
    model: &M,
    texts: &[CalibrationText],
    search: &AgreementSearch,
    progress: &mut dyn FnMut(&SearchStep) -> Flow,
) -> Result<Vec<SearchStep>> {
    let n_units = search.units.per_layer() * model.n_layers();
    let plan_of = |kept: &[bool]| search.units.plan(kept);
    let mut kept = vec![true; n_units];
    let mut steps = vec![SearchStep {
        plan: plan_of(&kept),
        agreement: 1.0,
    }];
    while kept.contains(&true) {
        let removable: Vec<usize> = (0..n_units).filter(|&unit| kept[unit]).collect();
        let candidates: Vec<PhasePlan> = removable
            .iter()
            .map(|&unit| {
                let mut kept = kept.clone();
                kept[unit] = false;
                plan_of(&kept)
            })
            .collect();
        let agreements = agreement(model, texts, &candidates, search.positions_per_text)?;
        let mut best = 0;
        for (idx, &share) in agreements.iter().enumerate() {
            if share > agreements[best] {
                best = idx;
            }
        }
        if agreements[best] < search.least_agreement {
            break;
        }
        kept[removable[best]] = false;
        let step = SearchStep {
            plan: candidates[best].clone(),
            agreement: agreements[best],
        };
        let flow = progress(&step);
        steps.push(step);
        if flow == Flow::Stop {
            break;
        }
    }
    Ok(steps)
}

/// For each plan, the share of places at which its most probable token is the text's next one.
/// `positions_per_text` places of each text are looked at, evenly spaced over its response.
///
/// # Errors
/// As [`search_by_agreement`].
pub fn agreement<M: CausalLm + ?Sized>(
    model: &M,
    texts: &[CalibrationText],
    plans: &[PhasePlan],
    positions_per_text: usize,
) -> Result<Vec<f64>> {
    let skipped_keys = draft_keys(model);
    let mut drafters: Vec<Planned> = plans
        .iter()
        .map(|plan| Planned::from_phases(plan.clone(), plan.clone(), skipped_keys))
        .collect();
    let mut agreed = vec![0usize; plans.len()];
    let mut n_places = 0usize;
    for text in texts {
        let places = places(text, positions_per_text);
        if places.is_empty() {
            continue;
        }
        let pass = Pass::prompt(&[&text.ids], 0)?;
        let mut context = model.new_context(1, text.ids.len());
        forward_hidden(model, &pass, &mut context, &mut Off)?;
        // The last place first: a draft overwrites its own slot and forgets those after it.
        for &place in places.iter().rev() {
            n_places += 1;
            let pass = Pass::response(place, vec![text.ids[place]]);
            for (drafter, agreed) in drafters.iter_mut().zip(&mut agreed) {
                let logits = last_logits(model, &pass, &mut context, drafter)?;
                *agreed += usize::from(argmax(&logits) == Some(text.ids[place + 1]));
            }
        }
    }
    if n_places == 0 {
        let phase = "response";
        return Err(Error::Plan(PlanError::NoEvidence { phase }));
    }
    Ok(agreed
        .into_iter()
        .map(|agreed| agreed as f64 / n_places as f64)
        .collect())
}

/// The slots whose tokens are fed to a draft, in ascending order.
fn places(text: &CalibrationText, n_places: usize) -> Vec<usize> {
    // The last token has no successor to agree on.
    let range = text.n_prompt..text.ids.len().saturating_sub(1);
    let n_places = n_places.min(range.len());
    (0..n_places)
        .map(|idx| range.start + idx * range.len() / n_places)
        .collect()
}
