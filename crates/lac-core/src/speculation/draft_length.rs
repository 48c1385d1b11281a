//! How many tokens are drafted: as many as pay.

use std::time::Duration;

use super::config::{DraftCost, DraftLength, SpeculationConfig};

/// Decides, token by token, whether drafting another token pays.
///
/// Another `k` drafted tokens pay if the tokens that they are expected to gain take longer, at the rate at which the text
/// has been growing, than the drafts. What drafts gain follows from how often drafts of similar confidence were accepted;
/// what they cost, from the times of passes.
#[derive(Clone, Debug)]
pub(super) struct DraftControl {
    length: DraftLength,
    costs: Costs,
    /// Acceptance by the draft's confidence.
    by_confidence: [Share; CONFIDENCE_LIMITS.len() + 1],
    /// Acceptance of the token that is drafted next, whose confidence is not known yet.
    next: Share,
    /// Tokens and time of recent rounds.
    growth: (f64, f64),
    rounds_without_draft: u32,
    /// After this many rounds without a draft one is made, to see whether drafts still do not pay.
    probe_after: u32,
}

/// Upper limits of classes of confidence: by how many logits the draft's first token led.
const CONFIDENCE_LIMITS: [f32; 6] = [0.5, 1.0, 2.0, 3.5, 5.0, 8.0];

/// What is expected of each class before anything was seen of it.
const FIRST_GUESSES: [f64; CONFIDENCE_LIMITS.len() + 1] = [0.3, 0.45, 0.6, 0.75, 0.85, 0.92, 0.97];

/// After how many rounds drafts that did not pay are tried again: twice as many after every try, up to a limit.
const PROBE_AFTER: (u32, u32) = (24, 768);

/// The assumed cost of one more token in a verifying pass, as a share of a plain pass, until times are known.
const COST_OF_A_ROW: f64 = 0.05;

/// A share of successes among recent trials.
#[derive(Clone, Copy, Debug)]
struct Share {
    successes: f64,
    trials: f64,
}

impl Share {
    /// Weight of the first guess, in trials.
    const GUESS: f64 = 3.0;
    /// The weight that older trials keep after each new one.
    const MEMORY: f64 = 0.98;

    fn guess(share: f64) -> Self {
        Self {
            successes: Self::GUESS * share,
            trials: Self::GUESS,
        }
    }

    fn add(&mut self, is_success: bool) {
        self.successes = Self::MEMORY * self.successes + f64::from(u8::from(is_success));
        self.trials = Self::MEMORY * self.trials + 1.0;
    }

    fn get(&self) -> f64 {
        self.successes / self.trials
    }

    /// Reduces what is known to the weight of a first guess.
    fn doubt(&mut self) {
        *self = Self::guess(self.get());
    }
}

/// What passes cost: in seconds where they are measured, in plain passes where they are given.
#[derive(Clone, Debug)]
struct Costs {
    is_measured: bool,
    /// A full pass over one token.
    plain: Option<f64>,
    /// A drafting pass.
    draft: Option<f64>,
    /// A drafting pass as a share of a plain one, until it is known.
    draft_guess: f64,
    /// A verifying pass, by the number of tokens less one.
    verify: Vec<Option<f64>>,
}

impl DraftControl {
    pub(super) fn new(config: &SpeculationConfig, executed_share: f64) -> Self {
        let given = match config.draft_cost {
            DraftCost::Measured => None,
            DraftCost::Ratio(ratio) => Some(ratio),
        };
        Self {
            length: config.draft_length,
            costs: Costs {
                is_measured: given.is_none(),
                plain: given.map(|_| 1.0),
                draft: given,
                draft_guess: executed_share,
                verify: Vec::new(),
            },
            by_confidence: FIRST_GUESSES.map(Share::guess),
            next: Share::guess(0.7),
            growth: (0.0, 0.0),
            rounds_without_draft: 0,
            probe_after: PROBE_AFTER.0,
        }
    }

    /// Returns whether to draft another token after those of the given confidences.
    pub(super) fn goes_on(&self, drafted: &[f32], at_most: usize) -> bool {
        let n_drafted = drafted.len();
        if n_drafted >= at_most {
            return false;
        }
        match self.length {
            DraftLength::Fixed(n_tokens) => n_drafted < n_tokens,
            DraftLength::Adaptive { .. } => self.pays(drafted, at_most),
        }
    }

    fn pays(&self, drafted: &[f32], at_most: usize) -> bool {
        let n_drafted = drafted.len();
        let Some(plain) = self.costs.plain else {
            // The cost that a draft has to stay below is not known yet.
            return false;
        };
        if n_drafted == 0 && self.rounds_without_draft >= self.probe_after {
            return true;
        }
        // Passes grow by one token at a time, so that a wrong guess costs little.
        let at_most = at_most.min(self.costs.longest_known());
        let draft = self.costs.draft.unwrap_or(self.costs.draft_guess * plain);
        let verify = |n_tokens| self.costs.verify(n_tokens, plain);
        // Text grows at least as fast as by plain passes.
        let (tokens, time) = self.growth;
        let rate = if time > 0.0 { tokens / time } else { 0.0 }.max(1.0 / plain);

        let mut reach: f64 = drafted.iter().map(|&c| self.acceptance(c)).product();
        let mut gained = 0.0;
        (n_drafted + 1..=at_most).any(|n_tokens| {
            reach *= self.next.get();
            gained += reach;
            let more_drafts = (n_tokens - n_drafted) as f64 * draft;
            let more_rows = verify(n_tokens + 1) - verify(n_drafted + 1);
            gained > rate * (more_drafts + more_rows)
        })
    }

    fn acceptance(&self, confidence: f32) -> f64 {
        self.by_confidence[class(confidence)].get()
    }

    /// Learns from a drafted token that was judged.
    pub(super) fn judged(&mut self, confidence: f32, is_accepted: bool) {
        self.by_confidence[class(confidence)].add(is_accepted);
        self.next.add(is_accepted);
    }

    /// Counts a drafted token that gains nothing, right or wrong.
    pub(super) fn fruitless(&mut self) {
        self.next.add(false);
    }

    /// Learns the time of a drafting pass.
    pub(super) fn drafted(&mut self, time: Duration) {
        if self.costs.is_measured {
            blend(&mut self.costs.draft, time.as_secs_f64());
        }
    }

    /// Learns the time of a full pass over this many tokens.
    pub(super) fn verified(&mut self, n_tokens: usize, time: Duration) {
        let time = time.as_secs_f64();
        if !self.costs.is_measured {
            return;
        }
        if n_tokens == 1 {
            blend(&mut self.costs.plain, time);
        } else {
            // Grown by what was verified, not by what a user allows.
            let verify = &mut self.costs.verify;
            verify.resize(verify.len().max(n_tokens), None);
            blend(&mut verify[n_tokens - 1], time);
        }
    }

    /// Ends a round that made this many drafting passes and gave this many tokens. (A drafted stop token takes a pass and
    /// is not verified.)
    pub(super) fn round(&mut self, n_drafted: usize, n_tokens: usize, time: Duration) {
        const MEMORY: f64 = 0.95;
        if n_drafted == 0 {
            self.rounds_without_draft += 1;
        } else {
            self.probe_after = if self.rounds_without_draft >= self.probe_after {
                (2 * self.probe_after).min(PROBE_AFTER.1)
            } else {
                PROBE_AFTER.0
            };
            self.rounds_without_draft = 0;
        }
        let time = match (self.costs.is_measured, self.costs.plain, self.costs.draft) {
            (true, _, _) => time.as_secs_f64(),
            (false, Some(plain), Some(draft)) => {
                n_drafted as f64 * draft + self.costs.verify(n_drafted + 1, plain)
            }
            (false, _, _) => return,
        };
        self.growth.0 = MEMORY * self.growth.0 + n_tokens as f64;
        self.growth.1 = MEMORY * self.growth.1 + time;
    }

    /// Changes to another plan. What was learned of the old one is a first guess.
    pub(super) fn plan_changed(&mut self, old_share: f64, new_share: f64) {
        self.by_confidence.iter_mut().for_each(Share::doubt);
        self.next.doubt();
        self.probe_after = PROBE_AFTER.0;
        if self.costs.is_measured {
            self.costs.draft_guess = new_share;
            self.costs.draft = self
                .costs
                .draft
                .map(|cost| cost * new_share / old_share.max(f64::EPSILON));
        }
    }
}

impl Costs {
    /// Returns the longest draft whose verification was timed, or one token more.
    fn longest_known(&self) -> usize {
        if !self.is_measured {
            return usize::MAX;
        }
        1 + self.verify.iter().rposition(Option::is_some).unwrap_or(0)
    }

    /// Returns the cost of a full pass over this many tokens: the nearest known cost, with an allowance for the rows
    /// between.
    fn verify(&self, n_tokens: usize, plain: f64) -> f64 {
        if n_tokens <= 1 {
            return plain;
        }
        let by_rows = |n_tokens: usize| 1.0 + COST_OF_A_ROW * (n_tokens - 1) as f64;
        let nearest = (2..=self.verify.len())
            .filter_map(|known| Some((known, self.verify[known - 1]?)))
            .min_by_key(|(known, _)| known.abs_diff(n_tokens));
        match nearest {
            Some((known, cost)) => cost * by_rows(n_tokens) / by_rows(known),
            None => plain * by_rows(n_tokens),
        }
    }
}

fn class(confidence: f32) -> usize {
    CONFIDENCE_LIMITS
        .iter()
        .position(|&limit| confidence < limit)
        .unwrap_or(CONFIDENCE_LIMITS.len())
}

/// Moves a running mean towards a new value; an outlier moves it little.
fn blend(mean: &mut Option<f64>, value: f64) {
    const WEIGHT: f64 = 0.1;
    *mean = Some(match *mean {
        None => value,
        Some(mean) => mean + WEIGHT * (value.min(3.0 * mean) - mean),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(ratio: f64) -> DraftControl {
        let config = SpeculationConfig {
            draft_cost: DraftCost::Ratio(ratio),
            ..SpeculationConfig::default()
        };
        DraftControl::new(&config, ratio)
    }

    /// How many tokens of one confidence are drafted.
    fn length(control: &DraftControl, confidence: f32) -> usize {
        let mut drafted = Vec::new();
        while control.goes_on(&drafted, 8) {
            drafted.push(confidence);
        }
        drafted.len()
    }

    #[test]
    fn drafts_grow_with_acceptance_and_shrink_with_cost() {
        let learned = |ratio, is_accepted: fn(usize) -> bool| {
            let mut control = control(ratio);
            for idx in 0..200 {
                control.judged(4.0, is_accepted(idx));
            }
            length(&control, 4.0)
        };
        assert_eq!(learned(0.2, |_| true), 8);
        let often = learned(0.2, |idx| idx % 5 != 0);
        assert!((2..8).contains(&often), "{often}");
        assert!(learned(0.5, |idx| idx % 5 != 0) < often);
        assert_eq!(learned(0.5, |_| false), 0);
        assert_eq!(learned(1.5, |_| true), 0, "a draft dearer than the model");
    }

    #[test]
    fn an_unsure_draft_ends_early() {
        let mut control = control(0.3);
        for _ in 0..100 {
            control.judged(6.0, true);
            control.judged(6.0, true);
            control.judged(0.2, false);
        }
        assert!(length(&control, 6.0) > length(&control, 0.2));
    }

    #[test]
    fn what_did_not_pay_is_tried_again_now_and_then() {
        let mut control = control(0.5);
        for _ in 0..200 {
            control.judged(4.0, false);
        }
        let mut wait = |expected| {
            let mut n_rounds = 0;
            while length(&control, 4.0) == 0 {
                control.round(0, 1, Duration::ZERO);
                n_rounds += 1;
            }
            assert_eq!(n_rounds, expected);
            assert_eq!(length(&control, 4.0), 1);
            control.round(1, 1, Duration::ZERO);
        };
        wait(24);
        wait(48);
        wait(96);
    }

    #[test]
    fn nothing_is_drafted_before_a_plain_pass_was_timed() {
        let mut control = DraftControl::new(&SpeculationConfig::default(), 0.2);
        assert_eq!(length(&control, 9.0), 0);
        control.verified(1, Duration::from_millis(10));
        assert_eq!(length(&control, 9.0), 1, "longer ones have not been timed");
        control.verified(2, Duration::from_millis(11));
        assert_eq!(length(&control, 9.0), 2);
    }
}
