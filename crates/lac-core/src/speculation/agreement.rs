//! The search for layers to draft with: those with which drafting is expected to be fastest.

mod calibration_text;
mod layer_range;
mod places;
mod unit_costs;

use std::time::Duration;

use web_time::Instant;

pub use self::calibration_text::CalibrationText;
use self::places::{Place, agreed, places};
use self::unit_costs::UnitCosts;
use crate::error::{Error, PlanError, Result};
use crate::generation::Flow;
use crate::plan::{Granularity, PhasePlan};
use crate::stack::CausalLm;

/// The settings of a search by agreement.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct AgreementSearch {
    /// Whether whole layers or sublayers are removed.
    pub units: Granularity,
    /// The number of places in the longest continuation at which a draft is tried; fewer in shorter ones.
    pub positions_per_text: usize,
    /// The search ends when the agreement would fall below this share.
    pub least_agreement: f64,
    /// The search ends once no more than this number of units is left.
    pub least_units: usize,
}

impl AgreementSearch {
    /// Removes units until none is left, at 16 places of each text.
    pub fn new(units: Granularity) -> Self {
        Self {
            units,
            positions_per_text: 16,
            least_agreement: 0.0,
            least_units: 0,
        }
    }

    /// Sets the number of places in a text.
    pub fn with_positions_per_text(self, positions_per_text: usize) -> Self {
        Self {
            positions_per_text,
            ..self
        }
    }

    /// Sets the agreement below which the search ends.
    pub fn with_least_agreement(self, least_agreement: f64) -> Self {
        Self {
            least_agreement,
            ..self
        }
    }

    /// Sets the number of units at which the search ends.
    pub fn with_least_units(self, least_units: usize) -> Self {
        Self {
            least_units,
            ..self
        }
    }
}

/// A plan that the search has found.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SearchStep {
    /// The plan.
    pub plan: PhasePlan,
    /// The share of places at which its most probable token is the text's next one.
    pub agreement: f64,
    /// The measured time of one of its passes, over that of a pass of the full model.
    pub cost: f64,
}

impl SearchStep {
    /// Returns the largest speed-up that agreement and cost allow:
    /// [`speed_up_bound`](super::speed_up_bound).
    pub fn speed_up_bound(&self) -> f64 {
        super::speed_up_bound(self.agreement, self.cost)
    }
}

/// A search that is ready to begin: the full model has been run over the texts, and passes have been timed.
pub struct AgreementSearcher<'a, M: CausalLm + ?Sized> {
    model: &'a M,
    search: AgreementSearch,
    places: Vec<Place<M>>,
    costs: UnitCosts,
}

impl<M: CausalLm + ?Sized> std::fmt::Debug for AgreementSearcher<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgreementSearcher")
            .field("search", &self.search)
            .field("n_places", &self.n_places())
            .field("costs", &self.costs)
            .finish_non_exhaustive()
    }
}

/// What is known of a plan without one of the units.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    unit: usize,
    agreed: usize,
    tried: usize,
}

/// So many candidates are tried before they are compared with those that were not.
const TOGETHER: usize = 4;

/// How many candidates are tried at most in a step after the first.
const MOST_TRIED: usize = 12;

/// How many are expected to be.
const EXPECTED_TRIED: usize = 6;

impl<'a, M: CausalLm + ?Sized> AgreementSearcher<'a, M> {
    /// Runs the full model over the texts, and measures what its parts cost.
    ///
    /// # Errors
    /// [`Error::SublayersNotOffered`] for sublayers that the model cannot run apart; [`Error::Plan`] with
    /// [`PlanError::NoEvidence`] if no text has a place to try a draft at; what the model's passes report.
    pub fn new(model: &'a M, texts: &[CalibrationText], search: &AgreementSearch) -> Result<Self> {
        if search.units == Granularity::Sublayers && model.sublayers().is_none() {
            return Err(Error::SublayersNotOffered { layer_idx: 0 });
        }
        let places = places(model, texts, search.positions_per_text)?;
        let Some(text) = texts.first().filter(|_| !places.is_empty()) else {
            let phase = "response";
            return Err(Error::Plan(PlanError::NoEvidence { phase }));
        };
        Ok(Self {
            model,
            search: *search,
            places,
            costs: UnitCosts::measure(model, &text.ids)?,
        })
    }

    /// Returns the number of places at which each draft is tried, over all texts.
    pub fn n_places(&self) -> usize {
        self.places.iter().map(Place::n_tried).sum()
    }

    /// Returns the number of units of the model.
    pub fn n_units(&self) -> usize {
        self.search.units.per_layer() * self.model.n_layers()
    }

    /// Estimates how long the search takes, by trying a plan at one place.
    ///
    /// # Errors
    /// What the model's passes report.
    pub fn estimate(&mut self) -> Result<Duration> {
        let full = PhasePlan::full(self.model.n_layers());
        let n_units = self.n_units();
        let n_places = self.places.len();
        let place = &mut self.places[0];
        // The first try is slower than all others.
        place.run(self.model, &full)?;
        let start = Instant::now();
        place.run(self.model, &full)?;
        let layers = start.elapsed();
        let last = place.last_state();
        let start = Instant::now();
        let states: Vec<_> = self
            .places
            .iter()
            .map(|place| (place, last.clone()))
            .collect();
        agreed(self.model, &states)?;
        let head = start.elapsed() / n_places as u32;
        let n_steps = n_units - self.search.least_units.min(n_units);
        // On average a candidate runs half of the layers that are left.
        let mut seconds = 0.0;
        for step in 0..n_steps {
            let left = 1.0 - step as f64 / n_units as f64;
            let n_tried = match step {
                0 => n_units as f64 * 2.0 / 3.0,
                _ => EXPECTED_TRIED.min(n_units - step) as f64,
            };
            let layers = layers.as_secs_f64() * left;
            seconds += layers + n_tried * (layers / 2.0 + head.as_secs_f64());
        }
        Ok(Duration::from_secs_f64(seconds * n_places as f64))
    }

    /// Removes one unit after the other, each time the one without which drafting is expected to be fastest, by what the
    /// plan's passes cost and how often its token is the full model's. Returns all plans found, the full one first.
    ///
    /// Drafts are made as speculation makes them: each for one token, with the full model's keys and values of all earlier
    /// tokens. In the first step every unit is tried. Later on, a unit whose last agreement would not make it the best is
    /// not tried again: agreement falls with every unit that is removed. `progress` is called once after every step;
    /// [`Flow::Stop`] ends the search, which then returns the plans found so far.
    ///
    /// # Errors
    /// What the model's passes report.
    pub fn run(
        &mut self,
        progress: &mut dyn FnMut(&SearchStep) -> Flow,
    ) -> Result<Vec<SearchStep>> {
        let n_units = self.n_units();
        let mut kept = vec![true; n_units];
        let mut steps = vec![SearchStep {
            plan: self.search.units.plan(&kept),
            agreement: 1.0,
            cost: 1.0,
        }];
        let mut candidates: Vec<Candidate> = (0..n_units)
            .map(|unit| Candidate {
                unit,
                agreed: 0,
                tried: 0,
            })
            .collect();
        while candidates.len() > self.search.least_units {
            let step = steps.len();
            let plan = steps[step - 1].plan.clone();
            for place in &mut self.places {
                place.run(self.model, &plan)?;
            }
            let best = if step == 1 {
                self.best_of_all(&kept, &mut candidates)?
            } else {
                self.best_of_some(&kept, &mut candidates)?
            };
            let Some(best) = best else { break };
            let Candidate {
                unit,
                agreed,
                tried,
                ..
            } = candidates[best];
            let agreement = agreed as f64 / tried as f64;
            if agreement < self.search.least_agreement {
                break;
            }
            candidates.remove(best);
            kept[unit] = false;
            let plan = self.search.units.plan(&kept);
            let found = SearchStep {
                cost: self.costs.of(&plan),
                plan,
                agreement,
            };
            let flow = progress(&found);
            steps.push(found);
            if flow == Flow::Stop {
                break;
            }
        }
        Ok(steps)
    }

    /// Tries all candidates at every second place, and the best third of them at the others.
    fn best_of_all(
        &mut self,
        kept: &[bool],
        candidates: &mut [Candidate],
    ) -> Result<Option<usize>> {
        let all: Vec<usize> = (0..candidates.len()).collect();
        for (offset, share) in [(0, 1), (1, 3)] {
            let mut ranked = all.clone();
            ranked.sort_by(|&a, &b| {
                let speed = |idx: usize| self.speed(kept, &candidates[idx]);
                speed(b).total_cmp(&speed(a)).then(a.cmp(&b))
            });
            ranked.truncate(ranked.len().div_ceil(share));
            for group in ranked.chunks(TOGETHER) {
                self.try_candidates(kept, candidates, group, offset, 2)?;
            }
        }
        let most_tried = candidates.iter().map(|candidate| candidate.tried).max();
        let tried = (0..candidates.len()).filter(|&idx| Some(candidates[idx].tried) == most_tried);
        Ok(self.best(kept, candidates, tried))
    }

    /// Tries the candidates that were best when they were last tried, until none that is left can be better.
    fn best_of_some(
        &mut self,
        kept: &[bool],
        candidates: &mut [Candidate],
    ) -> Result<Option<usize>> {
        let mut ranked: Vec<usize> = (0..candidates.len()).collect();
        ranked.sort_by(|&a, &b| {
            let speed = |idx: usize| self.speed(kept, &candidates[idx]);
            speed(b).total_cmp(&speed(a)).then(a.cmp(&b))
        });
        let mut n_tried = 0;
        let mut best = None;
        while n_tried < ranked.len().min(MOST_TRIED) {
            if let Some(best) = best
                && self.speed(kept, &candidates[ranked[n_tried]])
                    <= self.speed(kept, &candidates[best])
            {
                break;
            }
            let group = &ranked[n_tried..ranked.len().min(n_tried + TOGETHER)];
            for &idx in group {
                (candidates[idx].agreed, candidates[idx].tried) = (0, 0);
            }
            self.try_candidates(kept, candidates, group, 0, 1)?;
            n_tried += group.len();
            let tried = ranked[..n_tried].iter().copied();
            best = self.best(kept, candidates, tried);
        }
        Ok(best)
    }

    /// Tries some candidates at every `stride`th place.
    fn try_candidates(
        &mut self,
        kept: &[bool],
        candidates: &mut [Candidate],
        group: &[usize],
        offset: usize,
        stride: usize,
    ) -> Result<()> {
        let per_layer = self.search.units.per_layer();
        // With one place alone, both halves are that place.
        let offset = offset.min(self.places.len() - 1);
        for &idx in group {
            let candidate = &mut candidates[idx];
            let mut kept = kept.to_vec();
            kept[candidate.unit] = false;
            let plan = self.search.units.plan(&kept);
            let first = candidate.unit / per_layer;
            let mut states = Vec::new();
            for place in self.places.iter_mut().skip(offset).step_by(stride) {
                let state = place.run_from(self.model, &plan, first)?;
                candidate.tried += place.n_tried();
                states.push((&*place, state));
            }
            candidate.agreed += agreed(self.model, &states)?.iter().sum::<usize>();
        }
        Ok(())
    }

    /// Returns the candidate without which drafting is expected to be fastest; of two, the later unit.
    fn best(
        &self,
        kept: &[bool],
        candidates: &[Candidate],
        among: impl Iterator<Item = usize>,
    ) -> Option<usize> {
        among.max_by(|&a, &b| {
            let speed = |idx: usize| self.speed(kept, &candidates[idx]);
            speed(a).total_cmp(&speed(b)).then(a.cmp(&b))
        })
    }

    /// How fast drafting is expected to be without a unit, given the agreement when it was last tried.
    fn speed(&self, kept: &[bool], candidate: &Candidate) -> f64 {
        if candidate.tried == 0 {
            return f64::INFINITY;
        }
        let mut kept = kept.to_vec();
        kept[candidate.unit] = false;
        let cost = self.costs.of(&self.search.units.plan(&kept));
        let agreement = candidate.agreed as f64 / candidate.tried as f64;
        // As the bound, but for drafts of at least one token, so that plans differ that do not pay yet.
        let (mut tokens, mut reach, mut best) = (1.0, 1.0, 0.0f64);
        for n_drafted in 1..=16 {
            reach *= agreement;
            tokens += reach;
            best = best.max(tokens / (1.0 + f64::from(n_drafted) * cost));
        }
        best
    }
}

/// Searches for layers to draft with: [`AgreementSearcher::new`], then [`AgreementSearcher::run`].
///
/// # Errors
/// As these two.
pub fn search_by_agreement<M: CausalLm + ?Sized>(
    model: &M,
    texts: &[CalibrationText],
    search: &AgreementSearch,
    progress: &mut dyn FnMut(&SearchStep) -> Flow,
) -> Result<Vec<SearchStep>> {
    AgreementSearcher::new(model, texts, search)?.run(progress)
}

/// Returns, for each plan, the share of places at which its most probable token is the text's next one, over
/// `positions_per_text` places of the longest continuation, evenly spaced, and the same ones of the others.
///
/// # Errors
/// As [`AgreementSearcher::new`].
pub fn agreement<M: CausalLm + ?Sized>(
    model: &M,
    texts: &[CalibrationText],
    plans: &[PhasePlan],
    positions_per_text: usize,
) -> Result<Vec<f64>> {
    let mut places = places(model, texts, positions_per_text)?;
    let n_tried: usize = places.iter().map(Place::n_tried).sum();
    if n_tried == 0 {
        let phase = "response";
        return Err(Error::Plan(PlanError::NoEvidence { phase }));
    }
    let mut share = |plan| -> Result<f64> {
        let mut states = Vec::new();
        for place in &mut places {
            place.run(model, plan)?;
            states.push((&*place, place.last_state()));
        }
        let agreed: usize = agreed(model, &states)?.iter().sum();
        Ok(agreed as f64 / n_tried as f64)
    };
    plans.iter().map(&mut share).collect()
}
