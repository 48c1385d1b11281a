//! Tells whether a difference is more than chance: standard errors, the paired bootstrap, McNemar's
//! test.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;

/// Returns the standard error of a mean of zeros and ones: the sample's standard deviation divided
/// by the root of its size, as lm-evaluation-harness computes it. `None` for fewer than two.
///
/// ```
/// // 3 of 4 right: a mean of 0.75 and a standard deviation of 0.5.
/// assert_eq!(lac_eval::statistics::standard_error(3, 4), Some(0.25));
/// ```
pub fn standard_error(n_right: usize, n: usize) -> Option<f64> {
    if n < 2 {
        return None;
    }
    let mean = n_right as f64 / n as f64;
    Some((mean * (1.0 - mean) / (n - 1) as f64).sqrt())
}

/// Returns the standard error of a mean over several groups, weighted by their sizes, from the
/// groups' own standard errors (the harness's pooled variance). `None` without a group of two.
pub fn pooled_standard_error(groups: &[(f64, usize)]) -> Option<f64> {
    let n: usize = groups.iter().map(|(_, size)| size).sum();
    let degrees = n.checked_sub(groups.len()).filter(|&degrees| degrees > 0)?;
    let squares: f64 = groups
        .iter()
        .map(|&(error, size)| (size as f64 - 1.0) * error * error * size as f64)
        .sum();
    Some((squares / degrees as f64 / n as f64).sqrt())
}

/// How two runs over the same questions differ.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PairedComparison {
    /// Number of questions that both answered.
    pub n: usize,
    /// Accuracy of the first.
    pub first: f64,
    /// Accuracy of the second.
    pub second: f64,
    /// Number of questions that only the first got right.
    pub only_first: usize,
    /// Number of questions that only the second got right.
    pub only_second: usize,
    /// Share of questions for which both chose the same option, right or wrong. No answer counts as
    /// an option of its own.
    pub agreement: f64,
    /// The interval that holds 95 % of the differences (second less first) when the questions are
    /// resampled.
    pub interval: (f64, f64),
    /// McNemar's exact test, two-sided: if both were equally good, the probability that the
    /// questions which only one of them got right are split at least as unevenly as here.
    pub p_value: f64,
}

/// The answers of two runs to one question: the option that each chose, and the right one.
pub type AnswerPair = (Option<usize>, Option<usize>, usize);

/// Number of resamples for the interval.
pub const N_RESAMPLES: usize = 10_000;

impl PairedComparison {
    /// Compares pair by pair; `None` without pairs. The resampling is seeded: the same pairs give
    /// the same interval.
    pub fn new(pairs: &[AnswerPair]) -> Option<Self> {
        if pairs.is_empty() {
            return None;
        }
        let n = pairs.len();
        let share = |count: usize| count as f64 / n as f64;
        let count =
            |test: &dyn Fn(&AnswerPair) -> bool| pairs.iter().filter(|pair| test(pair)).count();
        let is_right = |chosen: Option<usize>, answer: usize| chosen == Some(answer);
        let only_first = count(&|&(a, b, answer)| is_right(a, answer) && !is_right(b, answer));
        let only_second = count(&|&(a, b, answer)| !is_right(a, answer) && is_right(b, answer));
        Some(Self {
            n,
            first: share(count(&|&(a, _, answer)| is_right(a, answer))),
            second: share(count(&|&(_, b, answer)| is_right(b, answer))),
            only_first,
            only_second,
            agreement: share(count(&|(a, b, _)| a == b)),
            interval: bootstrap(only_first, only_second, n),
            p_value: mcnemar(only_first, only_second),
        })
    }

    /// Returns the accuracy of the second less that of the first.
    pub fn difference(&self) -> f64 {
        self.second - self.first
    }
}

/// Returns the paired bootstrap's 95 % interval. A question contributes −1, 0 or 1 to the difference, so
/// that three counts are all there is to resample.
fn bootstrap(only_first: usize, only_second: usize, n: usize) -> (f64, f64) {
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut differences: Vec<i64> = (0..N_RESAMPLES)
        .map(|_| {
            (0..n)
                .map(|_| {
                    // The high half of a product with a random number is an index whose bias is
                    // negligible, because n is far below 2^32.
                    let draw = (u64::from(rng.next_u32()) * n as u64) >> 32;
                    let draw = draw as usize;
                    if draw < only_first {
                        -1
                    } else {
                        i64::from(draw < only_first + only_second)
                    }
                })
                .sum()
        })
        .collect();
    differences.sort_unstable();
    let quantile = |share: f64| {
        let place = (share * (N_RESAMPLES - 1) as f64).round() as usize;
        differences[place] as f64 / n as f64
    };
    (quantile(0.025), quantile(0.975))
}

/// Returns the p-value of McNemar's exact test, two-sided: both tails of a binomial distribution
/// with probability one half over the questions that only one run got right.
///
/// ```
/// // Five against none: 2 · (1/2)^5.
/// assert_eq!(lac_eval::statistics::mcnemar(0, 5), 0.0625);
/// assert_eq!(lac_eval::statistics::mcnemar(3, 3), 1.0);
/// ```
pub fn mcnemar(only_first: usize, only_second: usize) -> f64 {
    let n = only_first + only_second;
    let fewer = only_first.min(only_second);
    // Terms relative to the middle one would overflow; logarithms do not.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = log_term.exp();
    for k in 1..=fewer {
        log_term += ((n - k + 1) as f64 / k as f64).ln();
        tail += log_term.exp();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mcnemar_is_the_binomial_test() {
        // From scipy.stats.binomtest(k, n, 0.5).pvalue.
        for (only_first, only_second, expected) in [
            (1, 9, 0.021484375),
            (10, 25, 0.01667384780012071),
            (480, 560, 0.014259079095386026),
            (0, 0, 1.0),
            (40, 41, 1.0),
        ] {
            let seen = mcnemar(only_first, only_second);
            assert!(
                (seen - expected).abs() < 1e-9,
                "{only_first}, {only_second}: {seen} against {expected}"
            );
        }
    }

    #[test]
    fn the_interval_covers_what_it_should() {
        // 100 questions, 30 of which the second alone gets right and 10 the first alone.
        let pairs: Vec<AnswerPair> = (0..100)
            .map(|i| match i {
                0..30 => (Some(0), Some(1), 1),
                30..40 => (Some(1), None, 1),
                _ => (Some(1), Some(1), 1),
            })
            .collect();
        let seen = PairedComparison::new(&pairs).unwrap();
        assert_eq!((seen.only_first, seen.only_second), (10, 30));
        assert!((seen.difference() - 0.2).abs() < 1e-12);
        assert_eq!(seen.agreement, 0.6);
        // The difference's standard deviation is √((0.4 − 0.04) / 100) = 0.06.
        let (low, high) = seen.interval;
        assert!((low - (0.2 - 1.96 * 0.06)).abs() < 0.02, "{low}");
        assert!((high - (0.2 + 1.96 * 0.06)).abs() < 0.02, "{high}");
        assert_eq!(PairedComparison::new(&[]), None);
    }

    #[test]
    fn pooled_errors_are_those_of_the_whole() {
        // Groups of equal accuracy: pooling them nearly is the error of the whole.
        let error = standard_error(50, 100).unwrap();
        let pooled = pooled_standard_error(&[(error, 100), (error, 100)]).unwrap();
        let whole = standard_error(100, 200).unwrap();
        assert!((pooled - whole).abs() < 2e-4, "{pooled} against {whole}");
        assert_eq!(pooled_standard_error(&[]), None);
    }
}
