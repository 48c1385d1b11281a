//! Who drafts next, and how many tokens: as pays.

use std::time::Duration;

use super::acceptance::Draft;
use super::config::{DraftCost, DraftLength, SpeculationConfig};
use super::costs::{Cost, PassCosts};
use super::losses::Losses;
use super::shares::Acceptance;

/// Decides, round by round, which drafter is asked, and token by token, whether another one pays.
///
/// What a round is worth is the number of tokens that it is expected to give, less those that its time would give at the
/// rate at which the text has been growing. What drafts gain follows from how often the drafter's tokens of similar
/// confidence were accepted; what they cost, from the times of passes.
#[derive(Clone, Debug)]
pub(super) struct Control {
    length: DraftLength,
    given_cost: Option<f64>,
    costs: PassCosts,
    drafters: Vec<Known>,
    /// Tokens and time of recent rounds.
    growth: (f64, f64),
    losses: Losses,
    /// Rounds since a plain pass was timed, and after how many one is made again.
    since_plain: (u32, u32),
}

/// What is known of a drafter.
#[derive(Clone, Debug)]
struct Known {
    /// As a share of a plain pass.
    expected_cost: f64,
    /// A drafted token, in seconds, where times are measured.
    cost: Cost,
    acceptance: Acceptance,
    /// Rounds in which nothing of it was verified.
    idle: u32,
    /// After this many idle rounds it is tried.
    try_after: u32,
}

/// After how many rounds a drafter is tried that does not seem to pay: first, and later on, twice as many after every try,
/// up to a limit.
const TRY_AFTER: [u32; 3] = [6, 24, 768];

/// Plain passes are timed again after so many rounds: twice as many every time, up to a limit.
const TIME_PLAIN_AFTER: [u32; 2] = [8, 128];

/// Drafts that cost no more than this share of a plain pass are made before it is decided whether they are verified.
const FREE: f64 = 0.01;

impl Control {
    pub(super) fn new(config: &SpeculationConfig, expected_costs: &[f64]) -> Self {
        let costs = match config.draft_cost {
            DraftCost::Measured => PassCosts::measured(),
            DraftCost::Expected | DraftCost::Ratio(_) => PassCosts::given(),
        };
        let known = |&expected_cost: &f64| Known {
            expected_cost,
            cost: Cost::default(),
            acceptance: Acceptance::new(),
            idle: 0,
            try_after: TRY_AFTER[0],
        };
        Self {
            length: config.draft_length,
            given_cost: match config.draft_cost {
                DraftCost::Ratio(ratio) => Some(ratio),
                _ => None,
            },
            costs,
            drafters: expected_costs.iter().map(known).collect(),
            growth: (0.0, 0.0),
            losses: Losses::new(),
            since_plain: (0, TIME_PLAIN_AFTER[0]),
        }
    }

    /// Begins a round, given what each drafter expects a token to cost. Returns the number of drafters that draft in
    /// another way than before.
    pub(super) fn begin(&mut self, expected_costs: impl Iterator<Item = f64>) -> usize {
        let is_measured = self.costs.is_measured();
        let mut n_changed = 0;
        for (known, expected) in self.drafters.iter_mut().zip(expected_costs) {
            if known.expected_cost == expected {
                continue;
            }
            n_changed += 1;
            // What was learned of the old way is a first guess.
            known.acceptance.doubt();
            known.try_after = TRY_AFTER[0];
            if is_measured {
                let ratio = expected / known.expected_cost.max(f64::EPSILON);
                known.cost.scale(ratio);
            }
            known.expected_cost = expected;
        }
        n_changed
    }

    /// Returns whether this round is a plain pass, whatever might be drafted.
    pub(super) fn is_plain_due(&self) -> bool {
        if let DraftLength::Fixed(_) = self.length {
            return false;
        }
        let (since, after) = self.since_plain;
        // The cost that a draft has to stay below has to be known.
        self.costs.plain().is_none()
            || self.losses.is_resting()
            || self.costs.is_measured() && since >= after
    }

    /// Returns the drafters whose tokens cost next to nothing.
    pub(super) fn is_free(&self, drafter: usize) -> bool {
        match self.costs.plain() {
            Some(plain) => self.cost(drafter, plain) <= FREE * plain,
            None => self.drafters[drafter].expected_cost <= FREE,
        }
    }

    /// Returns how many of a drafter's tokens are worth verifying after `before` others, and what that gains over not
    /// verifying them. `reach` is the probability that those before are accepted.
    pub(super) fn best_prefix(&self, drafts: &[Draft], before: usize, reach: f64) -> (usize, f64) {
        let Some(plain) = self.costs.plain() else {
            return (0, 0.0);
        };
        let rate = self.rate(plain);
        let (mut reach, mut gained) = (reach, 0.0);
        let mut best = (0, 0.0);
        let rows = |n| self.costs.verify(n + 1, plain);
        let longest = self.costs.longest_draft().saturating_sub(before);
        for (idx, draft) in drafts.iter().enumerate().take(longest) {
            reach *= self.acceptance(draft.drafter, draft.confidence);
            gained += reach;
            let worth = gained - rate * (rows(before + idx + 1) - rows(before));
            if worth > best.1 {
                best = (idx + 1, worth);
            }
        }
        best
    }

    /// Returns what a drafter's tokens are expected to gain over a plain pass, at the best number of them; infinite where a
    /// trial is due.
    pub(super) fn expected_worth(&self, drafter: usize, at_most: usize) -> f64 {
        if self.costs.plain().is_none() || at_most == 0 {
            return 0.0;
        }
        if self.is_trial_due(drafter) {
            return f64::INFINITY;
        }
        self.worth_of_more(drafter, 1.0, 0, at_most)
    }

    /// Returns whether a drafter should draft another token after those that are accepted with probability `reach`.
    pub(super) fn goes_on(
        &self,
        drafter: usize,
        reach: f64,
        n_drafted: usize,
        at_most: usize,
    ) -> bool {
        match self.length {
            DraftLength::Fixed(n_tokens) => n_drafted < n_tokens,
            DraftLength::Adaptive { .. } => {
                (n_drafted == 0 && self.is_trial_due(drafter))
                    || self.worth_of_more(drafter, reach, n_drafted, at_most) > 0.0
            }
        }
    }

    /// The acceptance of a drafter's tokens of a confidence.
    pub(super) fn acceptance(&self, drafter: usize, confidence: f32) -> f64 {
        self.drafters[drafter].acceptance.of(confidence)
    }

    /// Learns from a drafted token that was judged.
    pub(super) fn judged(&mut self, draft: &Draft, is_accepted: bool) {
        self.drafters[draft.drafter]
            .acceptance
            .judged(draft.confidence, is_accepted);
    }

    /// Learns the time in which a drafter has proposed some tokens, `n_withheld` of which gained nothing.
    pub(super) fn drafted(
        &mut self,
        drafter: usize,
        n_tokens: usize,
        n_withheld: usize,
        time: Duration,
    ) {
        let is_measured = self.costs.is_measured();
        let known = &mut self.drafters[drafter];
        (0..n_withheld).for_each(|_| known.acceptance.fruitless());
        if is_measured {
            known.cost.add(time.as_secs_f64() / n_tokens.max(1) as f64);
        }
    }

    /// Learns the time of a full pass over this many tokens.
    pub(super) fn verified(&mut self, n_tokens: usize, time: Duration) {
        self.costs.passed(n_tokens, time);
        if n_tokens == 1 {
            let (since, after) = self.since_plain;
            let next = if since >= after { 2 * after } else { after };
            self.since_plain = (0, next.min(TIME_PLAIN_AFTER[1]));
        } else {
            self.since_plain.0 += 1;
        }
    }

    /// Ends a round that has verified these tokens and given `n_tokens`. `paid` is the drafter that had to be paid for, if
    /// there was one, with the number of its tokens.
    pub(super) fn round(
        &mut self,
        drafts: &[Draft],
        n_tokens: usize,
        paid: Option<(usize, usize)>,
        time: Duration,
    ) {
        const MEMORY: f64 = 0.95;
        let is_measured = self.costs.is_measured() && self.given_cost.is_none();
        for (idx, known) in self.drafters.iter_mut().enumerate() {
            let has_drafted = paid.is_some_and(|(drafter, _)| drafter == idx)
                || drafts.iter().any(|draft| draft.drafter == idx);
            if has_drafted {
                let was_trial = known.idle >= known.try_after;
                // The first times of a drafter that costs something are slow, for its memory is cold: until its cost is
                // settled, a trial says nothing against the next one.
                let is_settled = !is_measured || known.cost.is_settled();
                known.try_after = if !is_settled {
                    TRY_AFTER[0]
                } else if was_trial {
                    (2 * known.try_after).clamp(TRY_AFTER[1], TRY_AFTER[2])
                } else {
                    TRY_AFTER[1]
                };
                known.idle = 0;
            } else {
                known.idle = known.idle.saturating_add(1);
            }
        }
        let Some(plain) = self.costs.plain() else {
            return;
        };
        let verify = self.costs.verify(drafts.len() + 1, plain);
        let cost = paid.map_or(0.0, |(drafter, n)| n as f64 * self.cost(drafter, plain));
        let expected = cost + verify;
        let time = if self.costs.is_measured() {
            // What else the machine did in between is nobody's cost.
            time.as_secs_f64().min(2.0 * expected)
        } else {
            expected
        };
        self.growth.0 = MEMORY * self.growth.0 + n_tokens as f64;
        self.growth.1 = MEMORY * self.growth.1 + time;
        let is_plain = drafts.is_empty() && paid.is_none();
        self.losses.round(is_plain, time / plain - n_tokens as f64);
    }

    /// Returns whether a drafter that does not seem to pay has waited long enough for another try.
    pub(super) fn is_trial_due(&self, drafter: usize) -> bool {
        let known = &self.drafters[drafter];
        known.idle >= known.try_after
    }

    /// What further tokens of a drafter gain at most over ending the draft here.
    fn worth_of_more(&self, drafter: usize, reach: f64, n_drafted: usize, at_most: usize) -> f64 {
        let Some(plain) = self.costs.plain() else {
            return 0.0;
        };
        let at_most = at_most.min(self.costs.longest_draft());
        let cost = self.cost(drafter, plain);
        let next = self.drafters[drafter].acceptance.of_next();
        let rate = self.rate(plain);
        let (mut reach, mut gained, mut best) = (reach, 0.0, 0.0f64);
        for n_tokens in n_drafted + 1..=at_most {
            reach *= next;
            gained += reach;
            let drafts = (n_tokens - n_drafted) as f64 * cost;
            let rows =
                self.costs.verify(n_tokens + 1, plain) - self.costs.verify(n_drafted + 1, plain);
            best = best.max(gained - rate * (drafts + rows));
        }
        best
    }

    /// What a drafter's token costs.
    fn cost(&self, drafter: usize, plain: f64) -> f64 {
        let known = &self.drafters[drafter];
        match self.given_cost {
            Some(ratio) if known.expected_cost > 0.0 => ratio,
            _ => known.cost.get().unwrap_or(known.expected_cost * plain),
        }
    }

    /// Tokens per time: text grows at least as fast as by plain passes.
    fn rate(&self, plain: f64) -> f64 {
        let (tokens, time) = self.growth;
        let rate = if time > 0.0 { tokens / time } else { 0.0 };
        rate.max(1.0 / plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(ratio: f64) -> Control {
        let config = SpeculationConfig::default().with_draft_cost(DraftCost::Ratio(ratio));
        Control::new(&config, &[ratio])
    }

    /// How many tokens of one confidence the only drafter drafts.
    fn length(control: &Control, confidence: f32) -> usize {
        let (mut n_drafted, mut reach) = (0, 1.0);
        while n_drafted < 8 && control.goes_on(0, reach, n_drafted, 8) {
            n_drafted += 1;
            reach *= control.acceptance(0, confidence);
        }
        n_drafted
    }

    fn judge(control: &mut Control, drafter: usize, confidence: f32, is_accepted: bool) {
        control.judged(&Draft::certain(0, confidence, drafter), is_accepted);
    }

    #[test]
    fn drafts_grow_with_acceptance_and_shrink_with_cost() {
        let learned = |ratio, is_accepted: fn(usize) -> bool| {
            let mut control = control(ratio);
            (0..200).for_each(|idx| judge(&mut control, 0, 4.0, is_accepted(idx)));
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
            judge(&mut control, 0, 6.0, true);
            judge(&mut control, 0, 6.0, true);
            judge(&mut control, 0, 0.2, false);
        }
        assert!(length(&control, 6.0) > length(&control, 0.2));
    }

    #[test]
    fn what_did_not_pay_is_tried_again_now_and_then() {
        let mut control = control(0.5);
        (0..200).for_each(|_| judge(&mut control, 0, 4.0, false));
        let mut wait = |expected| {
            let mut n_rounds = 0;
            while length(&control, 4.0) == 0 {
                control.round(&[], 1, None, Duration::ZERO);
                n_rounds += 1;
            }
            assert_eq!(n_rounds, expected);
            assert_eq!(length(&control, 4.0), 1);
            let wrong = Draft::certain(0, 4.0, 0);
            control.round(&[wrong], 1, Some((0, 1)), Duration::ZERO);
        };
        wait(6);
        wait(24);
        wait(48);
        wait(96);
    }

    #[test]
    fn nothing_is_drafted_before_a_plain_pass_was_timed() {
        let mut control = Control::new(&SpeculationConfig::default(), &[0.2]);
        assert!(control.is_plain_due() && !control.is_free(0));
        assert_eq!(length(&control, 9.0), 0);
        control.verified(1, Duration::from_millis(10));
        assert!(!control.is_plain_due());
        assert_eq!(length(&control, 9.0), 2, "longer ones have not been timed");
        control.verified(3, Duration::from_millis(11));
        assert_eq!(length(&control, 9.0), 6);
        // The time of a plain pass is looked at again.
        (0..8).for_each(|_| control.verified(3, Duration::from_millis(11)));
        assert!(control.is_plain_due());
    }

    #[test]
    fn a_drafter_whose_memory_is_cold_is_tried_again_soon() {
        let mut control = Control::new(&SpeculationConfig::default(), &[0.2]);
        let ms = Duration::from_millis;
        (0..4).for_each(|_| control.verified(1, ms(10)));
        let mut waits = Vec::new();
        for cost in [ms(100), ms(40), ms(30), ms(30), ms(30), ms(30)] {
            let mut n_rounds = 0;
            while !control.is_trial_due(0) {
                control.round(&[], 1, None, ms(10));
                n_rounds += 1;
            }
            waits.push(n_rounds);
            control.drafted(0, 1, 0, cost);
            let wrong = Draft::certain(0, 4.0, 0);
            judge(&mut control, 0, 4.0, false);
            control.round(&[wrong], 1, Some((0, 1)), ms(20) + cost);
        }
        assert_eq!(waits, [6, 6, 6, 6, 24, 48]);
    }

    #[test]
    fn the_drafter_that_pays_more_is_preferred() {
        let config = SpeculationConfig::default().with_draft_cost(DraftCost::Expected);
        let mut control = Control::new(&config, &[0.0, 0.6, 0.3]);
        assert!(control.is_free(0) && !control.is_free(1));
        assert!(control.expected_worth(2, 8) > control.expected_worth(1, 8));
        for _ in 0..100 {
            judge(&mut control, 1, 4.0, true);
            judge(&mut control, 2, 4.0, false);
        }
        assert!(control.expected_worth(1, 8) > control.expected_worth(2, 8));
        assert_eq!(control.expected_worth(2, 8), 0.0);
        // Free tokens are cut where another one costs more rows than it gains.
        let drafts: Vec<Draft> = (0..8).map(|_| Draft::certain(1, 9.0, 0)).collect();
        let (n_kept, worth) = control.best_prefix(&drafts, 0, 1.0);
        assert!(n_kept == 8 && worth > 4.0, "{n_kept}, {worth}");
        (0..200).for_each(|_| judge(&mut control, 0, 9.0, false));
        assert_eq!(control.best_prefix(&drafts, 0, 1.0).0, 0);
    }
}
