//! Angles of rotary positions (Su et al. 2021, arXiv 2104.09864), and how they are stretched beyond the training context.

use std::f64::consts::TAU;

/// The angles of the rotary positions.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RopeConfig {
    /// The base of the geometric series of wavelengths, `rope_theta`.
    pub theta: f64,
    /// How the wavelengths are stretched beyond the training context.
    pub scaling: RopeScaling,
    /// Cosines and sines are multiplied by this number, and so attention's scores by its square.
    pub attention_factor: f64,
}

/// How the wavelengths are stretched beyond the training context.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum RopeScaling {
    /// They are not stretched.
    None,
    /// All by the same factor (position interpolation, arXiv 2306.15595).
    Linear {
        /// The factor.
        factor: f64,
    },
    /// As Llama 3.1 does: long wavelengths by the factor, short ones not, a ramp between.
    Llama3 {
        /// The factor for long wavelengths.
        factor: f64,
        /// Wavelengths above the original context over this are long.
        low_freq_factor: f64,
        /// Wavelengths below the original context over this are short.
        high_freq_factor: f64,
        /// Number of positions of the training context.
        original_max_position_embeddings: usize,
    },
    /// By a base that grows with the length of the text, where it is longer than the training context ("dynamic NTK",
    /// Peng et al. 2023, arXiv 2309.00071, appendix B).
    Dynamic {
        /// The factor.
        factor: f64,
        /// Number of positions of the training context.
        original_max_position_embeddings: usize,
    },
    /// Pairs that turn seldom in the training context by the factor, those that turn often not, a ramp between (YaRN,
    /// Peng et al. 2023, arXiv 2309.00071).
    Yarn {
        /// The factor of the pairs that turn seldom.
        factor: f64,
        /// Pairs that turn more often than this in the training context are not stretched.
        beta_fast: f64,
        /// Pairs that turn less often than this are stretched by the whole factor.
        beta_slow: f64,
        /// Number of positions of the training context.
        original_max_position_embeddings: usize,
        /// Where the ramp begins and ends.
        ramp: RampEnds,
    },
    /// Every pair by a factor of its own, with one list for texts within the training context and one for longer texts
    /// (LongRoPE, Ding et al. 2024, arXiv 2402.13753).
    LongRope {
        /// Factors for texts that the training context holds, one for each pair.
        short_factor: Vec<f64>,
        /// Factors for longer texts.
        long_factor: Vec<f64>,
        /// Number of positions of the training context.
        original_max_position_embeddings: usize,
    },
    /// Each pair's wavelength by a factor of its own, whatever a text's length. GGUF files have the factors of Llama 3.1 in
    /// this form.
    Factors {
        /// A factor for each pair of a head.
        factors: Vec<f64>,
    },
}

/// Where the ramp of [`RopeScaling::Yarn`] begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RampEnds {
    /// At whole pairs, outside the range that the two bounds give.
    WholePairs,
    /// Exactly where the two bounds say.
    Exact,
}

impl RopeConfig {
    /// Returns the angles of a base, without scaling.
    pub fn new(theta: f64) -> Self {
        Self {
            theta,
            scaling: RopeScaling::None,
            attention_factor: 1.0,
        }
    }

    /// Sets how the wavelengths are stretched.
    #[must_use]
    pub fn with_scaling(mut self, scaling: RopeScaling) -> Self {
        self.scaling = scaling;
        self
    }

    /// Sets the number that cosines and sines are multiplied by.
    #[must_use]
    pub fn with_attention_factor(mut self, attention_factor: f64) -> Self {
        self.attention_factor = attention_factor;
        self
    }

    /// Returns the angle per position of each pair, `n_rotated / 2` angles, for texts that the training context holds.
    pub fn inverse_frequencies(&self, n_rotated: usize) -> Vec<f32> {
        self.frequencies_for_length(n_rotated, 1)
    }

    /// Returns by which factor each pair's wavelength is stretched, `n_rotated / 2` factors, for texts that the training
    /// context holds.
    pub(crate) fn wavelength_factors(&self, n_rotated: usize) -> Vec<f64> {
        let plain = Self::new(self.theta);
        let factor = |pair| {
            plain.inverse_frequency(pair, n_rotated, 1) / self.inverse_frequency(pair, n_rotated, 1)
        };
        (0..n_rotated / 2).map(factor).collect()
    }

    /// As [`inverse_frequencies`](Self::inverse_frequencies), for a text of some length.
    pub(super) fn frequencies_for_length(&self, n_rotated: usize, length: usize) -> Vec<f32> {
        (0..n_rotated / 2)
            .map(|pair| self.inverse_frequency(pair, n_rotated, length) as f32)
            .collect()
    }

    /// Returns the length beyond which the angles depend on a text's length; `None` where they never do.
    pub(super) fn fixed_length(&self) -> Option<usize> {
        match self.scaling {
            RopeScaling::Dynamic {
                original_max_position_embeddings,
                ..
            }
            | RopeScaling::LongRope {
                original_max_position_embeddings,
                ..
            } => Some(original_max_position_embeddings),
            _ => None,
        }
    }

    /// Returns whether every angle up to a position is finite. A base or a factor near 0 makes infinite ones.
    pub(crate) fn has_finite_angles(&self, n_rotated: usize, n_positions: usize) -> bool {
        let n_pairs = n_rotated / 2;
        let is_finite = |pair: usize| {
            [1, n_positions].into_iter().all(|length| {
                let frequency = self.inverse_frequency(pair, n_rotated, length) as f32;
                (frequency * n_positions as f32).is_finite()
            })
        };
        match &self.scaling {
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                ..
            } => {
                short_factor.len() == n_pairs
                    && long_factor.len() == n_pairs
                    && (0..n_pairs).all(is_finite)
            }
            RopeScaling::Factors { factors } => {
                factors.len() == n_pairs && (0..n_pairs).all(is_finite)
            }
            // Angles fall or rise monotonically from pair to pair, so the first and the last bound them all.
            _ => [0, n_pairs - 1].into_iter().all(is_finite),
        }
    }

    fn inverse_frequency(&self, pair: usize, n_rotated: usize, length: usize) -> f64 {
        let exponent = 2.0 * pair as f64 / n_rotated as f64;
        let frequency = self.theta.powf(-exponent);
        match &self.scaling {
            RopeScaling::None => frequency,
            RopeScaling::Linear { factor } => frequency / factor,
            RopeScaling::Factors { factors } => frequency / factors.get(pair).unwrap_or(&1.0),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let context = *original_max_position_embeddings as f64;
                let wavelength = TAU / frequency;
                if wavelength < context / high_freq_factor {
                    frequency
                } else if wavelength > context / low_freq_factor {
                    frequency / factor
                } else {
                    let short_share = (context / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - short_share) * frequency / factor + short_share * frequency
                }
            }
            RopeScaling::Dynamic {
                factor,
                original_max_position_embeddings: context,
            } => {
                if length <= *context {
                    return frequency;
                }
                let stretch = factor * length as f64 / *context as f64 - (factor - 1.0);
                let n_rotated = n_rotated as f64;
                let base = self.theta * stretch.powf(n_rotated / (n_rotated - 2.0));
                base.powf(-exponent)
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_max_position_embeddings,
                ramp,
            } => {
                // The pair that turns so often in the training context.
                let pair_of = |n_turns: f64| {
                    let context = *original_max_position_embeddings as f64;
                    n_rotated as f64 * (context / (n_turns * TAU)).ln() / (2.0 * self.theta.ln())
                };
                let (first, last) = (pair_of(*beta_fast), pair_of(*beta_slow));
                let (first, last) = match ramp {
                    RampEnds::WholePairs => (first.floor(), last.ceil()),
                    RampEnds::Exact => (first, last),
                };
                let (first, last) = (first.max(0.0), last.min(n_rotated as f64 - 1.0));
                let width = if first == last { 0.001 } else { last - first };
                let stretched_share = ((pair as f64 - first) / width).clamp(0.0, 1.0);
                stretched_share * frequency / factor + (1.0 - stretched_share) * frequency
            }
            RopeScaling::LongRope {
                short_factor,
                long_factor,
                original_max_position_embeddings,
            } => {
                let factors = if length <= *original_max_position_embeddings {
                    short_factor
                } else {
                    long_factor
                };
                frequency / factors.get(pair).copied().unwrap_or(1.0)
            }
        }
    }
}
