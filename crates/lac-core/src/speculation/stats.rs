//! Counts and times of a generation by speculation.

use std::time::Duration;

use serde::Serialize;

/// Counts and times of a generation by speculation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SpeculationStats {
    /// Number of generated tokens.
    pub n_tokens: usize,
    /// Number of drafted tokens.
    pub n_drafted: usize,
    /// Number of drafted tokens that the full model accepted.
    pub n_accepted: usize,
    /// Number of drafts in which a token was rejected.
    pub n_rejections: usize,
    /// Number of passes of the full model that verified a draft.
    pub n_verify_passes: usize,
    /// Number of passes of the full model over one token, without a draft.
    pub n_plain_passes: usize,
    /// Number of tokens whose margin was too small for a verifying pass to decide.
    pub n_near_ties: usize,
    /// Number of passes of the full model, one token each, that decided these.
    pub n_replay_passes: usize,
    /// The largest noise between a verifying pass and its repetition, in units of the factor of
    /// [`Ties::Replay`](super::Ties::Replay).
    pub largest_noise: f32,
    /// Number of changes of the plan.
    pub n_plan_changes: usize,
    /// Number of drafting passes of the model itself.
    pub n_draft_passes: usize,
    /// Number of layers that they ran, sublayers counted as halves.
    pub draft_layers: f64,
    /// What each drafter has done, in the drafters' order.
    pub drafters: Vec<DrafterStats>,
    /// Time of drafting.
    #[serde(serialize_with = "seconds")]
    pub draft_time: Duration,
    /// Time of the verifying passes.
    #[serde(serialize_with = "seconds")]
    pub verify_time: Duration,
    /// Time of the full model's passes over one token.
    #[serde(serialize_with = "seconds")]
    pub plain_time: Duration,
    /// Time of repeated passes.
    #[serde(serialize_with = "seconds")]
    pub replay_time: Duration,
}

/// Counts and times of one drafter.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct DrafterStats {
    /// The drafter's name.
    pub name: String,
    /// Number of tokens that it drafted.
    pub n_drafted: usize,
    /// Number of those that the full model accepted.
    pub n_accepted: usize,
    /// Number of verifying passes in which one was rejected.
    pub n_rejections: usize,
    /// Time of drafting them, and of looking for some where none was found.
    #[serde(serialize_with = "seconds")]
    pub draft_time: Duration,
}

impl DrafterStats {
    fn merge(&mut self, other: &Self) {
        self.n_drafted += other.n_drafted;
        self.n_accepted += other.n_accepted;
        self.n_rejections += other.n_rejections;
        self.draft_time += other.draft_time;
    }

    /// Returns the share of judged tokens that were accepted; `None` if nothing was judged.
    pub fn acceptance_rate(&self) -> Option<f64> {
        let n_judged = self.n_accepted + self.n_rejections;
        (n_judged > 0).then(|| self.n_accepted as f64 / n_judged as f64)
    }

    /// Returns the mean time of a drafted token over that of a full pass; `None` if nothing was drafted.
    pub fn cost(&self, full_pass: Duration) -> Option<f64> {
        let full_pass = full_pass.as_secs_f64();
        (self.n_drafted > 0 && full_pass > 0.0)
            .then(|| self.draft_time.as_secs_f64() / self.n_drafted as f64 / full_pass)
    }
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl SpeculationStats {
    /// Returns the share of drafted tokens that were accepted; those after a rejected one count as rejected. `None` if
    /// nothing was drafted.
    pub fn accepted_share(&self) -> Option<f64> {
        (self.n_drafted > 0).then(|| self.n_accepted as f64 / self.n_drafted as f64)
    }

    /// Returns the share of judged tokens that were accepted; those after a rejected one were not judged. `None` if nothing
    /// was judged.
    pub fn acceptance_rate(&self) -> Option<f64> {
        let n_judged = self.n_accepted + self.n_rejections;
        (n_judged > 0).then(|| self.n_accepted as f64 / n_judged as f64)
    }

    /// Returns the number of passes of the full model after the prompt's, repetitions included.
    pub fn n_full_passes(&self) -> usize {
        self.n_verify_passes + self.n_plain_passes + self.n_replay_passes
    }

    /// Returns the number of layers that were run after the prompt's pass, in drafts and in passes of the full model
    /// together, for a model of `n_layers` layers; sublayers count as halves.
    pub fn executed_layers(&self, n_layers: usize) -> f64 {
        self.draft_layers + (self.n_full_passes() * n_layers) as f64
    }

    /// Returns the tokens per pass of the full model after the prompt's, repetitions included; `None` without such a pass.
    pub fn tokens_per_pass(&self) -> Option<f64> {
        let n_passes = self.n_full_passes();
        // The prompt's pass has given the first token.
        (n_passes > 0).then(|| self.n_tokens.saturating_sub(1) as f64 / n_passes as f64)
    }

    /// Returns the mean time of a full pass of one token, or of a verifying pass if there was no such pass; `None` if there
    /// was neither.
    pub fn full_pass(&self) -> Option<Duration> {
        let mean = |time: Duration, n: usize| (n > 0).then(|| time.div_f64(n as f64));
        mean(
            self.plain_time + self.replay_time,
            self.n_plain_passes + self.n_replay_passes,
        )
        .or_else(|| mean(self.verify_time, self.n_verify_passes))
    }

    /// Returns the mean time of drafting a token over that of a full pass of one token, or of a verifying pass if there was
    /// no such pass; `None` if one of the times is not known.
    pub fn draft_cost(&self) -> Option<f64> {
        let full = self.full_pass()?.as_secs_f64();
        (self.n_drafted > 0 && full > 0.0)
            .then(|| self.draft_time.as_secs_f64() / self.n_drafted as f64 / full)
    }

    /// Returns the largest speed-up that acceptance and draft cost allow at the best draft length, if a verifying pass cost
    /// no more than a pass of one token ([`speed_up_bound`]); `None` if one of the two is not known.
    pub fn bound(&self) -> Option<f64> {
        Some(speed_up_bound(self.acceptance_rate()?, self.draft_cost()?))
    }

    /// Adds the counts and times of another generation.
    pub fn merge(&mut self, other: &Self) {
        self.n_tokens += other.n_tokens;
        self.n_drafted += other.n_drafted;
        self.n_accepted += other.n_accepted;
        self.n_rejections += other.n_rejections;
        self.n_verify_passes += other.n_verify_passes;
        self.n_plain_passes += other.n_plain_passes;
        self.n_near_ties += other.n_near_ties;
        self.n_replay_passes += other.n_replay_passes;
        self.largest_noise = self.largest_noise.max(other.largest_noise);
        self.n_plan_changes += other.n_plan_changes;
        self.n_draft_passes += other.n_draft_passes;
        self.draft_layers += other.draft_layers;
        for drafter in &other.drafters {
            match self
                .drafters
                .iter_mut()
                .find(|own| own.name == drafter.name)
            {
                Some(own) => own.merge(drafter),
                None => self.drafters.push(drafter.clone()),
            }
        }
        self.draft_time += other.draft_time;
        self.verify_time += other.verify_time;
        self.plain_time += other.plain_time;
        self.replay_time += other.replay_time;
    }
}

/// Returns the largest speed-up that drafts can give at the best length:
/// `max_k (1 − a^{k+1}) / ((1 − a)(1 + k c))` over draft lengths `k` from 0 to 64 (Leviathan et al.
/// 2023, theorem 3.8), with `a` the acceptance rate and `c` the cost of a drafted token.
pub fn speed_up_bound(acceptance: f64, draft_cost: f64) -> f64 {
    let mut tokens = 0.0;
    let mut reach = 1.0;
    let mut best = 1.0f64;
    for k in 0..=64 {
        tokens += reach;
        reach *= acceptance;
        best = best.max(tokens / (1.0 + f64::from(k) * draft_cost));
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_formula() {
        // One token drafted at 0.8: 1.8 tokens for 1.2; two: 2.44 for 1.4; three: 2.952 for 1.6;
        // four: 3.3616 for 1.8; five: 3.68928 for 2.
        let bound = speed_up_bound(0.8, 0.2);
        assert!((bound - 3.3616 / 1.8).abs() < 1e-9, "{bound}");
        assert_eq!(speed_up_bound(0.0, 0.5), 1.0);
        assert_eq!(speed_up_bound(0.4, 0.5), 1.0);
    }
}
