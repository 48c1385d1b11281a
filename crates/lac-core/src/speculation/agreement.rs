//! The search for layers to draft with: those whose next token is most often the full model's.

use super::draft_keys::draft_keys;
use crate::error::{Error, PlanError, Result};
use crate::generation::sampling::argmax;
use crate::generation::{Flow, forward_hidden, last_logits};
use crate::pass::Pass;
use crate::plan::{Granularity, PhasePlan, Planned};
use crate::policy::Off;
use crate::stack::CausalLm;

/// A prompt with the full model's greedy continuation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CalibrationText {
    /// The tokens of the prompt, then those of the continuation.
    pub ids: Vec<u32>,
    /// Number of tokens of the prompt.
    pub n_prompt: usize,
}

/// The settings of [`search_by_agreement`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgreementSearch {
    /// Whether whole layers or sublayers are removed.
    pub units: Granularity,
    /// The number of places in each text at which a draft is tried.
    pub positions_per_text: usize,
    /// The search ends when the agreement would fall below this share.
    pub least_agreement: f64,
}

/// A plan that the search has found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SearchStep {
    /// The plan.
    pub plan: PhasePlan,
    /// The share of places at which its most probable token is the text's next one.
    pub agreement: f64,
}

/// Removes one layer or sublayer after the other, each time the one without which the plan agrees most often with the full
/// model. Returns all plans found, the full one first.
///
/// Drafts are made as speculation makes them: each for one token, with the full model's keys and values of all earlier
/// tokens. `progress` is called once after every step; [`Flow::Stop`] ends the search, which then returns the plans found
/// so far.
///
/// # Errors
/// [`Error::SublayersNotOffered`] for sublayers that the model cannot run apart; [`Error::Plan`] with
/// [`PlanError::NoEvidence`] if no text has a place to try a draft at; what the model's passes report.
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

/// Returns, for each plan, the share of places at which its most probable token is the text's next one, over
/// `positions_per_text` places of each text, evenly spaced over its response.
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

/// Returns the slots whose tokens are fed to a draft, in ascending order.
fn places(text: &CalibrationText, n_places: usize) -> Vec<usize> {
    // The last token has no successor to agree on.
    let range = text.n_prompt..text.ids.len().saturating_sub(1);
    let n_places = n_places.min(range.len());
    (0..n_places)
        .map(|idx| range.start + idx * range.len() / n_places)
        .collect()
}
