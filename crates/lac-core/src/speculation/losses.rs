//! What drafting may lose.

/// Ends drafting for a while where it has lost time, so that a text that nothing foresees comes hardly slower than without.
///
/// Losses and gains are in plain passes. Drafts have a budget: something to begin with, a small share of every round, and
/// what they have gained, up to a limit. Once it is spent, rounds are plain until there is enough for another attempt. So
/// a single unlucky draft ends nothing where drafts pay, and drafts that never pay lose the share and the first budget.
#[derive(Clone, Debug)]
pub(super) struct Losses {
    budget: f64,
    is_resting: bool,
}

/// The budget in the beginning.
const FIRST: f64 = 2.5;

/// What every round adds to it.
const SHARE: f64 = 0.01;

/// The most that gains add up to.
const RESERVE: f64 = 8.0;

/// The budget at which a rest ends.
const ATTEMPT: f64 = 0.5;

/// A single round that loses more counts as if it had lost so much beyond the budget.
const DEEPEST: f64 = -0.5;

impl Losses {
    pub(super) fn new() -> Self {
        Self {
            budget: FIRST,
            is_resting: false,
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.is_resting
    }

    /// Learns what a round has lost: the time that it took, in plain passes, less the tokens that it gave.
    pub(super) fn round(&mut self, is_plain: bool, lost: f64) {
        let lost = if is_plain { 0.0 } else { lost };
        self.budget = (self.budget + SHARE - lost).clamp(DEEPEST, RESERVE);
        if self.budget <= 0.0 {
            self.is_resting = true;
        } else if self.budget >= ATTEMPT {
            self.is_resting = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drafts whenever it may and returns what was lost in so many rounds, given what the draft of each round loses.
    fn lost(losses: &mut Losses, n_rounds: u32, of_round: impl Fn(u32) -> f64) -> f64 {
        let mut lost = 0.0;
        for round in 0..n_rounds {
            let is_plain = losses.is_resting();
            let of_round = if is_plain { 0.0 } else { of_round(round) };
            lost += of_round;
            losses.round(is_plain, of_round);
        }
        lost
    }

    #[test]
    fn drafts_that_never_pay_lose_little() {
        for of_round in [0.05, 0.2, 0.9] {
            let lost = lost(&mut Losses::new(), 4000, |_| of_round);
            let bound = FIRST + (SHARE * 4000.0) * (1.0 + 2.0 * of_round);
            assert!(lost < bound, "{of_round}: {lost}, {bound}");
        }
    }

    #[test]
    fn unlucky_drafts_end_nothing_where_drafts_pay() {
        let mut losses = Losses::new();
        // One draft of five loses three passes; the others gain one each.
        let gained = -lost(
            &mut losses,
            1000,
            |round| {
                if round % 5 == 4 { 3.0 } else { -1.0 }
            },
        );
        assert_eq!(gained, 200.0);
        // What was gained is lost in part, once, when nothing pays any more.
        assert!(lost(&mut losses, 1000, |_| 0.5) < RESERVE + 1.0 + SHARE * 1000.0 * 2.0);
        while !losses.is_resting() {
            losses.round(false, 0.5);
        }
        // A rest ends by itself.
        assert_eq!(lost(&mut losses, 150, |_| 0.0), 0.0);
        assert!(!losses.is_resting());
    }
}
