//! How far a run is.

use std::time::Duration;

use crate::record::Record;
use crate::request::Request;

/// How far a run is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// Number of questions answered under every variant, by this run and earlier ones.
    pub n_done: usize,
    /// Number of questions asked.
    pub n_total: usize,
    /// Number of tokens that this run has fed.
    pub tokens_done: usize,
    /// Number of tokens that this run has to feed in all.
    pub tokens_total: usize,
    /// Time since this run began.
    pub elapsed: Duration,
    /// For each variant the number of right answers and the number of answers, by this run and
    /// earlier ones.
    pub right: Vec<(usize, usize)>,
}

impl Progress {
    pub(super) fn new(n_requests: usize, pending: &[&Request], n_variants: usize) -> Self {
        Self {
            n_done: n_requests - pending.len(),
            n_total: n_requests,
            tokens_done: 0,
            tokens_total: pending.iter().map(|request| request.n_tokens()).sum(),
            elapsed: Duration::ZERO,
            right: vec![(0, 0); n_variants],
        }
    }

    /// Estimates the time that is left from the tokens so far; `None` before the first batch.
    pub fn time_left(&self) -> Option<Duration> {
        let left = self.tokens_total.saturating_sub(self.tokens_done);
        (self.tokens_done > 0).then(|| self.elapsed.mul_f64(left as f64 / self.tokens_done as f64))
    }

    /// Counts a record, whose variant is found among the hashes of all variants.
    pub(super) fn count(&mut self, hashes: &[String], record: &Record) {
        if let Some(variant) = hashes.iter().position(|hash| *hash == record.settings) {
            self.right[variant].0 += usize::from(record.is_right());
            self.right[variant].1 += 1;
        }
    }

    /// Counts the questions of a batch as answered.
    pub(super) fn advance(&mut self, answered: &[&Request], elapsed: Duration) {
        self.n_done += answered.len();
        self.tokens_done += answered
            .iter()
            .map(|request| request.n_tokens())
            .sum::<usize>();
        self.elapsed = elapsed;
    }
}
