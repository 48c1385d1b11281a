//! Means, intervals and rank correlation.

use serde::{Deserialize, Serialize};

/// Number, mean, variance and extremes of a stream of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// Number of values.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// Sum of the squared distances from the mean.
    pub squares: f64,
    /// The smallest value; 0 when there is none.
    pub min: f64,
    /// The largest value; 0 when there is none.
    pub max: f64,
}

impl Moments {
    /// Adds a value.
    pub fn push(&mut self, value: f64) {
        self.merge(&Self {
            n: 1,
            mean: value,
            squares: 0.0,
            min: value,
            max: value,
        });
    }

    /// Adds another stream (Chan, Golub and LeVeque 1979).
    pub fn merge(&mut self, other: &Self) {
        if self.n == 0 || other.n == 0 {
            if self.n == 0 {
                *self = *other;
            }
            return;
        }
        let (mine, others) = (self.n as f64, other.n as f64);
        let total = mine + others;
        let difference = other.mean - self.mean;
        self.mean += difference * others / total;
        self.squares += other.squares + difference * difference * mine * others / total;
        self.n += other.n;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Returns the standard deviation of the values themselves (divided by their number, not by one less).
    pub fn deviation(&self) -> f64 {
        match self.n {
            0 => 0.0,
            n => (self.squares / n as f64).sqrt(),
        }
    }
}

/// Moments of pairs of values, for their correlation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comoments {
    /// The first values.
    pub left: Moments,
    /// The second values.
    pub right: Moments,
    /// Sum of the products of both distances from their means.
    pub products: f64,
}

impl Comoments {
    /// Adds a pair.
    pub fn push(&mut self, left: f64, right: f64) {
        let mut pair = Self::default();
        pair.left.push(left);
        pair.right.push(right);
        self.merge(&pair);
    }

    /// Adds another stream of pairs, by the rule that [`Moments::merge`] follows.
    pub fn merge(&mut self, other: &Self) {
        let (mine, others) = (self.left.n as f64, other.left.n as f64);
        if mine > 0.0 && others > 0.0 {
            let left = other.left.mean - self.left.mean;
            let right = other.right.mean - self.right.mean;
            self.products += left * right * mine * others / (mine + others);
        }
        self.products += other.products;
        self.left.merge(&other.left);
        self.right.merge(&other.right);
    }

    /// Returns Pearson's correlation; `None` for fewer than two pairs, or where one side has a single value throughout.
    pub fn correlation(&self) -> Option<f64> {
        let scale = (self.left.squares * self.right.squares).sqrt();
        let is_defined = self.left.n > 1 && scale > 0.0;
        is_defined.then(|| (self.products / scale).clamp(-1.0, 1.0))
    }

    /// Returns the correlation's 95 % interval by Fisher's transformation (Fisher 1915); `None` for fewer than four pairs.
    ///
    /// As [`wilson`]'s, it takes the observations as independent.
    pub fn correlation_interval(&self) -> Option<Interval> {
        let correlation = self.correlation()?;
        let half = NORMAL_95 / (self.left.n.checked_sub(3).filter(|&n| n > 0)? as f64).sqrt();
        let transformed = correlation.atanh();
        Some(Interval {
            low: (transformed - half).tanh(),
            high: (transformed + half).tanh(),
        })
    }
}

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

/// A share of tokens, and Wilson's 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Share {
    /// The share, in `[0, 1]`.
    pub share: f64,
    /// Its interval.
    #[serde(flatten)]
    pub interval: Interval,
}

impl Share {
    /// Returns the share of `count` among `n`; 0 of none.
    pub(super) fn of(count: u64, n: u64) -> Self {
        Self {
            share: count as f64 / n.max(1) as f64,
            interval: wilson(count, n),
        }
    }
}

/// The 97.5th percentile of the normal distribution: intervals are of 95 %.
pub(super) const NORMAL_95: f64 = 1.959_963_984_540_054;

/// Wilson's 95 % interval of a share (Wilson 1927); the whole of `[0, 1]` when nothing was
/// counted.
///
/// It takes the observations as independent. Tokens of one text are not, so that it is too narrow
/// for claims about other texts.
pub fn wilson(count: u64, n: u64) -> Interval {
    if n == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    let (share, n) = (count as f64 / n as f64, n as f64);
    let z2 = NORMAL_95 * NORMAL_95;
    let scale = 1.0 + z2 / n;
    let centre = (share + z2 / (2.0 * n)) / scale;
    let half = NORMAL_95 / scale * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
    Interval {
        low: (centre - half).max(0.0),
        high: (centre + half).min(1.0),
    }
}

/// Spearman's rank correlation, ties sharing their mean rank; `None` for fewer than two values
/// or when one side has a single value throughout.
pub fn spearman(left: &[f64], right: &[f64]) -> Option<f64> {
    let (left, right) = (ranks(left), ranks(right));
    let n = left.len() as f64;
    if left.len() < 2 || left.len() != right.len() {
        return None;
    }
    let mean = (n + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum()
    };
    let scale = (product(&left, &left) * product(&right, &right)).sqrt();
    (scale > 0.0).then(|| product(&left, &right) / scale)
}

/// Returns ranks from 1; equal values share the mean of theirs.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let value = values[order[start]];
        let n_equal = order[start..]
            .iter()
            .take_while(|&&idx| values[idx] == value)
            .count();
        for &idx in &order[start..start + n_equal] {
            ranks[idx] = start as f64 + (n_equal as f64 + 1.0) / 2.0;
        }
        start += n_equal;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_intervals_are_those_of_the_literature() {
        // Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (count, n, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let interval = wilson(count, n);
            assert!((interval.low - low).abs() < 5e-5, "{count} of {n}");
            assert!((interval.high - high).abs() < 5e-5, "{count} of {n}");
        }
    }

    #[test]
    fn equal_values_share_their_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[2.0, 4.0, 9.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[5.0, 4.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 2.0], &[5.0, 5.0]), None);
    }

    #[test]
    fn correlations_are_those_of_the_whole() {
        let pairs: Vec<(f64, f64)> = (0..60)
            .map(|n| (f64::from(n), f64::from(n * n % 17)))
            .collect();
        let of = |pairs: &[(f64, f64)]| {
            let mut moments = Comoments::default();
            pairs.iter().for_each(|&(a, b)| moments.push(a, b));
            moments
        };
        let mean = |f: &dyn Fn(&(f64, f64)) -> f64| pairs.iter().map(f).sum::<f64>() / 60.0;
        let (a, b) = (mean(&|pair| pair.0), mean(&|pair| pair.1));
        let covariance = mean(&|pair| (pair.0 - a) * (pair.1 - b));
        let deviation = |f: &dyn Fn(&(f64, f64)) -> f64| mean(f).sqrt();
        let (left, right) = (
            deviation(&|pair| (pair.0 - a).powi(2)),
            deviation(&|pair| (pair.1 - b).powi(2)),
        );
        let expected = covariance / left / right;
        let mut merged = of(&pairs[..7]);
        merged.merge(&of(&pairs[7..]));
        for moments in [of(&pairs), merged] {
            assert!((moments.correlation().unwrap() - expected).abs() < 1e-12);
        }
        assert_eq!(of(&[(1.0, 2.0), (1.0, 3.0)]).correlation(), None);
        assert_eq!(of(&pairs[..1]).correlation(), None);
        assert_eq!(of(&pairs[..3]).correlation_interval(), None);
        // Fisher's own transformation: r = 0.5 of 28 pairs.
        let known = Comoments {
            left: Moments {
                n: 28,
                squares: 1.0,
                ..Moments::default()
            },
            right: Moments {
                n: 28,
                squares: 1.0,
                ..Moments::default()
            },
            products: 0.5,
        };
        let interval = known.correlation_interval().unwrap();
        assert!((interval.low - 0.156).abs() < 5e-4 && (interval.high - 0.736).abs() < 5e-4);
    }

    #[test]
    fn merged_moments_are_those_of_the_whole() {
        let values: Vec<f64> = (0..100).map(|n| f64::from(n * n % 37) - 11.0).collect();
        let of = |values: &[f64]| {
            let mut moments = Moments::default();
            values.iter().for_each(|&value| moments.push(value));
            moments
        };
        let whole = of(&values);
        let mut merged = of(&values[..31]);
        merged.merge(&of(&values[31..]));
        merged.merge(&Moments::default());
        assert_eq!(
            (merged.n, merged.min, merged.max),
            (whole.n, whole.min, whole.max)
        );
        assert!((merged.mean - whole.mean).abs() < 1e-12);
        assert!((merged.deviation() - whole.deviation()).abs() < 1e-12);
    }
}
