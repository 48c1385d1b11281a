//! What passes cost.

use std::time::Duration;

/// What full passes cost: in seconds where they are measured, in plain passes where they are given.
#[derive(Clone, Debug)]
pub(super) struct PassCosts {
    is_measured: bool,
    /// A pass over one token.
    plain: Option<f64>,
    /// Number of plain passes that were timed, up to a limit.
    n_plain: u32,
    /// A verifying pass, by the number of tokens less one.
    verify: Vec<Option<f64>>,
}

/// The assumed cost of one more token in a verifying pass, as a share of a plain pass, until times are known.
const COST_OF_A_ROW: f64 = 0.05;

impl PassCosts {
    pub(super) fn measured() -> Self {
        Self {
            is_measured: true,
            plain: None,
            n_plain: 0,
            verify: Vec::new(),
        }
    }

    /// A plain pass costs 1, another row [`COST_OF_A_ROW`].
    pub(super) fn given() -> Self {
        Self {
            is_measured: false,
            plain: Some(1.0),
            ..Self::measured()
        }
    }

    pub(super) fn is_measured(&self) -> bool {
        self.is_measured
    }

    /// The cost of a pass over one token; `None` until one was timed.
    pub(super) fn plain(&self) -> Option<f64> {
        self.plain
    }

    /// Returns the most tokens that may be drafted: about twice as many as were verified before, so that a wrong guess
    /// costs little.
    pub(super) fn longest_draft(&self) -> usize {
        if !self.is_measured {
            return usize::MAX;
        }
        let longest = self.verify.iter().rposition(Option::is_some).unwrap_or(0);
        2 * longest + 2
    }

    /// Returns the cost of a full pass over this many tokens: the nearest known cost, with an allowance for the rows
    /// between.
    pub(super) fn verify(&self, n_tokens: usize, plain: f64) -> f64 {
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

    /// Learns the time of a full pass over this many tokens.
    pub(super) fn passed(&mut self, n_tokens: usize, time: Duration) {
        let time = time.as_secs_f64();
        if !self.is_measured {
            return;
        }
        if n_tokens == 1 {
            // The first passes of a process are slow: the fastest of them counts.
            self.plain = match self.plain {
                Some(plain) if self.n_plain < 4 => Some(plain.min(time)),
                _ => Some(blended(self.plain, time)),
            };
            self.n_plain = (self.n_plain + 1).min(4);
        } else {
            // Grown by what was verified, not by what a user allows.
            let verify = &mut self.verify;
            verify.resize(verify.len().max(n_tokens), None);
            let cost = &mut verify[n_tokens - 1];
            *cost = Some(blended(*cost, time));
        }
    }
}

/// Moves a running mean towards a new value; an outlier moves it little.
pub(super) fn blended(mean: Option<f64>, value: f64) -> f64 {
    const WEIGHT: f64 = 0.1;
    match mean {
        None => value,
        Some(mean) => mean + WEIGHT * (value.min(3.0 * mean) - mean),
    }
}
