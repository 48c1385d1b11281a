//! A plan that follows the text.

use crate::decision::Decision;
use crate::error::{Error, Result};
use crate::phase::Phase;
use crate::plan::PhasePlan;
use crate::record::PassRecord;

/// How a drafting plan follows the text: usage decides which layer changes, and acceptance when.
///
/// A plan that runs every layer is replaced after the prompt's pass by the most used `first_share` of the layers. Then,
/// whenever `judged_per_change` drafted tokens have been judged under a plan: if a share of less than `restore_below` was
/// accepted, the most used of the skipped layers is run again; if more than `skip_above` was, the least used of the others
/// is skipped. A change that is taken back doubles the number of tokens until the next one, so that a plan settles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FollowConfig {
    /// The share of the layers that a full plan is cut to after the prompt's pass.
    pub first_share: f64,
    /// The smallest share of the layers that is run.
    pub least_share: f64,
    /// Number of drafted tokens that are judged before a plan changes.
    pub judged_per_change: usize,
    /// A layer is run again when the share of accepted tokens is below this.
    pub restore_below: f64,
    /// One more layer is skipped when the share of accepted tokens is above this.
    pub skip_above: f64,
}

impl Default for FollowConfig {
    fn default() -> Self {
        Self {
            first_share: 0.6,
            least_share: 0.25,
            judged_per_change: 16,
            restore_below: 0.6,
            skip_above: 0.9,
        }
    }
}

/// What is known of the text.
#[derive(Clone, Debug)]
pub(super) struct Follower {
    config: FollowConfig,
    /// Share of recent tokens for which each layer was active, and their mean delta.
    usage: Vec<f64>,
    delta: Vec<f64>,
    n_tokens: u64,
    n_judged: usize,
    n_accepted: usize,
    /// How many judged tokens the next change waits for.
    patience: usize,
    last_change: Option<(usize, Decision)>,
}

/// The weight that older tokens keep after each new one.
const MEMORY: f64 = 0.98;

impl Follower {
    pub(super) fn new(config: FollowConfig, n_layers: usize) -> Result<Self> {
        for (field, value) in [
            ("first_share", config.first_share),
            ("least_share", config.least_share),
            ("restore_below", config.restore_below),
            ("skip_above", config.skip_above),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::InvalidConfig {
                    field,
                    value: value.to_string(),
                    expected: "a number from 0 to 1",
                });
            }
        }
        Ok(Self {
            config,
            usage: vec![0.0; n_layers],
            delta: vec![0.0; n_layers],
            n_tokens: 0,
            n_judged: 0,
            n_accepted: 0,
            patience: config.judged_per_change.max(1),
            last_change: None,
        })
    }

    /// Learns from a pass of the full model, cut to the accepted tokens.
    pub(super) fn saw(&mut self, record: &PassRecord) {
        // A prompt is of another phase: its tokens weigh no more than a first guess.
        let longest = match record.pass.phase() {
            Phase::Prompt => 8,
            Phase::Response => u64::MAX,
        };
        for reading in record.readings() {
            let layer_idx = reading.layer_idx;
            // The readings come token by token, the first layer first.
            if layer_idx == 0 {
                self.n_tokens = (self.n_tokens + 1).min(longest);
            }
            let weight = (1.0 - MEMORY).max(1.0 / self.n_tokens as f64);
            let active = f64::from(u8::from(reading.active));
            self.usage[layer_idx] += weight * (active - self.usage[layer_idx]);
            self.delta[layer_idx] += weight * (f64::from(reading.delta) - self.delta[layer_idx]);
        }
    }

    /// Counts a drafted token that was judged.
    pub(super) fn judged(&mut self, is_accepted: bool) {
        self.n_judged += 1;
        self.n_accepted += usize::from(is_accepted);
    }

    /// Returns the plan to begin a response with, if the given one runs every layer.
    pub(super) fn first_plan(&mut self, plan: &PhasePlan) -> Option<PhasePlan> {
        if !plan.is_full() || self.n_tokens == 0 || self.last_change.is_some() {
            return None;
        }
        let n_kept = self.config.first_share.max(self.config.least_share) * plan.n_layers() as f64;
        let mut first = plan.clone();
        let order = self.by_usage(plan, |_| true);
        let n_skipped = plan.n_layers() - (n_kept.round() as usize).min(plan.n_layers());
        for &layer_idx in &order[..n_skipped] {
            first.set(layer_idx, Decision::Skip);
        }
        (!first.is_full()).then_some(first)
    }

    /// Returns another plan, if the judged tokens call for one.
    pub(super) fn next_plan(&mut self, plan: &PhasePlan) -> Option<PhasePlan> {
        if self.n_judged < self.patience {
            return None;
        }
        let accepted = self.n_accepted as f64 / self.n_judged as f64;
        (self.n_judged, self.n_accepted) = (0, 0);
        let (layer_idx, decision) = if accepted < self.config.restore_below {
            let skipped = self.by_usage(plan, |decision| decision != Decision::Run);
            (*skipped.last()?, Decision::Run)
        } else if accepted > self.config.skip_above {
            let kept = self.by_usage(plan, |decision| decision == Decision::Run);
            (*kept.first()?, Decision::Skip)
        } else {
            return None;
        };
        let mut next = plan.clone();
        next.set(layer_idx, decision);
        if next.executed_share() < self.config.least_share {
            return None;
        }
        if let Some((last_idx, last)) = self.last_change
            && last_idx == layer_idx
            && last != decision
        {
            self.patience = self.patience.saturating_mul(2);
        }
        self.last_change = Some((layer_idx, decision));
        Some(next)
    }

    /// Returns the layers whose decision holds, the least used first.
    fn by_usage(&self, plan: &PhasePlan, holds: impl Fn(Decision) -> bool) -> Vec<usize> {
        let mut layers: Vec<usize> = (0..plan.n_layers())
            .filter(|&layer_idx| holds(plan.decisions()[layer_idx]))
            .collect();
        layers.sort_by(|&a, &b| {
            self.usage[a]
                .total_cmp(&self.usage[b])
                .then(self.delta[a].total_cmp(&self.delta[b]))
        });
        layers
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::pass::Pass;
    use crate::record::GateRecord;

    /// A token that found the given layers active.
    fn token(active: [bool; 4]) -> PassRecord {
        PassRecord {
            pass: Pass::response(5, vec![1]),
            decisions: vec![Decision::Run; 4],
            gate: Some(GateRecord {
                embedding_norms: vec![1.0],
                norms: vec![1.0; 4],
                deltas: vec![0.0; 4],
                thresholds: vec![0.0; 4],
                active: active.to_vec(),
            }),
            routing: Vec::new(),
            measures: None,
            lens: None,
        }
    }

    fn follower() -> Follower {
        let config = FollowConfig {
            first_share: 0.5,
            ..FollowConfig::default()
        };
        let mut follower = Follower::new(config, 4).unwrap();
        follower.saw(&token([true, true, false, false]));
        follower.saw(&token([true, false, false, true]));
        follower.saw(&token([true, false, false, true]));
        follower
    }

    fn judge(follower: &mut Follower, n: usize, is_accepted: bool) {
        (0..n).for_each(|_| follower.judged(is_accepted));
    }

    #[test]
    fn usage_says_which_layer_and_acceptance_when() {
        let mut follower = follower();
        let plan = follower.first_plan(&PhasePlan::full(4)).unwrap();
        assert_eq!(plan, PhasePlan::keeping(&[true, false, false, true]));
        // Too few were judged.
        judge(&mut follower, 15, false);
        assert_eq!(follower.next_plan(&plan), None);
        judge(&mut follower, 1, false);
        let plan = follower.next_plan(&plan).unwrap();
        assert_eq!(plan, PhasePlan::keeping(&[true, true, false, true]));
        judge(&mut follower, 16, true);
        let plan = follower.next_plan(&plan).unwrap();
        assert_eq!(plan, PhasePlan::keeping(&[true, false, false, true]));
        // The change was taken back: the next one waits twice as long.
        judge(&mut follower, 16, false);
        assert_eq!(follower.next_plan(&plan), None);
        judge(&mut follower, 16, false);
        assert!(follower.next_plan(&plan).is_some());
    }

    #[test]
    fn a_plan_keeps_its_least_share() {
        let mut follower = follower();
        let mut plan = PhasePlan::keeping(&[true, false, false, false]);
        judge(&mut follower, 16, true);
        assert_eq!(follower.next_plan(&plan), None);
        plan = PhasePlan::full(4);
        judge(&mut follower, 16, false);
        assert_eq!(follower.next_plan(&plan), None, "nothing is left to run");
    }
}
