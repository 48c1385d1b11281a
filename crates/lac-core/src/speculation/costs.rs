//! What passes cost.

use std::time::Duration;

/// What full passes cost: in seconds where they are measured, in plain passes where they are given.
#[derive(Clone, Debug)]
pub(super) struct PassCosts {
    is_measured: bool,
    /// A pass over one token.
    plain: Cost,
    /// A verifying pass, by the number of tokens less one.
    verify: Vec<Cost>,
}

/// A running mean of times.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cost {
    mean: Option<f64>,
    /// Number of times, up to [`FIRST_TIMES`].
    n_times: u32,
}

/// The first times of a kind are slow, since memory is touched and caches are filled: the smallest of so many counts.
const FIRST_TIMES: u32 = 4;

/// The assumed cost of one more token in a verifying pass, as a share of a plain pass, until times are known.
const COST_OF_A_ROW: f64 = 0.05;

impl PassCosts {
    pub(super) fn measured() -> Self {
        Self {
            is_measured: true,
            plain: Cost::default(),
            verify: Vec::new(),
        }
    }

    /// A plain pass costs 1, another row [`COST_OF_A_ROW`].
    pub(super) fn given() -> Self {
        Self {
            is_measured: false,
            plain: Cost {
                mean: Some(1.0),
                n_times: FIRST_TIMES,
            },
            ..Self::measured()
        }
    }

    pub(super) fn is_measured(&self) -> bool {
        self.is_measured
    }

    /// The cost of a pass over one token; `None` until one was timed.
    pub(super) fn plain(&self) -> Option<f64> {
        self.plain.get()
    }

    /// Returns the most tokens that may be drafted: about twice as many as were verified before, so that a wrong guess
    /// costs little.
    pub(super) fn longest_draft(&self) -> usize {
        if !self.is_measured {
            return usize::MAX;
        }
        let is_known = |cost: &Cost| cost.get().is_some();
        let longest = self.verify.iter().rposition(is_known).unwrap_or(0);
        2 * longest + 2
    }

    /// Returns the cost of a full pass over this many tokens: on the line between the costs that are known of fewer and of
    /// more tokens, or beyond the last of them by the slope up to there.
    pub(super) fn verify(&self, n_tokens: usize, plain: f64) -> f64 {
        let known = |n_tokens: usize| match n_tokens {
            1 => Some(plain),
            _ => self.verify.get(n_tokens - 1)?.get(),
        };
        if let Some(cost) = known(n_tokens.max(1)) {
            return cost;
        }
        let (fewer, below) = (1..n_tokens)
            .rev()
            .find_map(|n_tokens| Some((n_tokens, known(n_tokens)?)))
            .unwrap_or((1, plain));
        let above = (n_tokens + 1..=self.verify.len())
            .find_map(|n_tokens| Some((n_tokens, known(n_tokens)?)));
        let slope = match above {
            Some((more, above)) => (above - below) / (more - fewer) as f64,
            None if fewer == 1 => COST_OF_A_ROW * plain,
            None => ((below - plain) / (fewer - 1) as f64).max(0.0),
        };
        below + slope * (n_tokens - fewer) as f64
    }

    /// Learns the time of a full pass over this many tokens.
    pub(super) fn passed(&mut self, n_tokens: usize, time: Duration) {
        if !self.is_measured {
            return;
        }
        let cost = if n_tokens == 1 {
            &mut self.plain
        } else {
            // Grown by what was verified, not by what a user allows.
            let verify = &mut self.verify;
            verify.resize(verify.len().max(n_tokens), Cost::default());
            &mut verify[n_tokens - 1]
        };
        cost.add(time.as_secs_f64());
    }
}

impl Cost {
    /// The mean; `None` before the first time.
    pub(super) fn get(self) -> Option<f64> {
        self.mean
    }

    /// Returns whether the first times, which are slow, are over.
    pub(super) fn is_settled(self) -> bool {
        self.n_times >= FIRST_TIMES
    }

    /// Moves the mean towards a new time; an outlier moves it little.
    pub(super) fn add(&mut self, time: f64) {
        const WEIGHT: f64 = 0.1;
        self.mean = Some(match self.mean {
            None => time,
            Some(mean) if self.n_times < FIRST_TIMES => mean.min(time),
            Some(mean) => mean + WEIGHT * (time.min(3.0 * mean) - mean),
        });
        self.n_times = (self.n_times + 1).min(FIRST_TIMES);
    }

    /// Expects another cost from now on.
    pub(super) fn scale(&mut self, factor: f64) {
        self.mean = self.mean.map(|mean| mean * factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_that_are_not_known_lie_on_lines_between_those_that_are() {
        let mut costs = PassCosts::measured();
        let mut passed = |n_tokens, ms| costs.passed(n_tokens, Duration::from_millis(ms));
        passed(1, 100);
        passed(5, 140);
        passed(9, 220);
        for (n_tokens, cost) in [(0, 100), (1, 100), (3, 120), (5, 140), (7, 180), (13, 280)] {
            let seen = 1000.0 * costs.verify(n_tokens, 0.1);
            assert!((seen - f64::from(cost)).abs() < 1e-9, "{n_tokens}: {seen}");
        }
        // Nothing but a plain pass is known.
        let given = PassCosts::given().verify(5, 1.0);
        assert!((given - 1.2).abs() < 1e-9, "{given}");
    }
}
