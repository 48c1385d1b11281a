//! How a token is chosen from the logits.

use burn::tensor::{Int, Tensor};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::pass::Pass;

/// How a token is chosen from the logits.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Sampling {
    /// The most probable token.
    #[default]
    Greedy,
    /// A random draw.
    Random(SamplingConfig),
}

/// The settings of a random draw. The temperature is applied first, then top-k, then top-p, then min-p.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SamplingConfig {
    /// The number above 0 that the logits are divided by.
    pub temperature: f32,
    /// How many of the most probable tokens are kept, at least 1; `None` for all.
    pub top_k: Option<usize>,
    /// A token is kept if the more probable ones have at most this mass together, in `[0, 1]`; `None` for all.
    pub top_p: Option<f32>,
    /// A token is kept if it is at least this many times as probable as the most probable one, in `[0, 1]`; `None` for
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// The seed of the draws. The same seed gives the same tokens.
    pub seed: u64,
}

impl SamplingConfig {
    /// Draws from all tokens at a temperature.
    pub fn new(temperature: f32, seed: u64) -> Self {
        Self {
            temperature,
            top_k: None,
            top_p: None,
            min_p: None,
            seed,
        }
    }

    /// Sets how many of the most probable tokens are kept, at least 1, or all.
    pub fn with_top_k(self, top_k: impl Into<Option<usize>>) -> Self {
        let top_k = top_k.into();
        Self { top_k, ..self }
    }

    /// Sets the mass of the most probable tokens that are kept, in `[0, 1]`, or all.
    pub fn with_top_p(self, top_p: impl Into<Option<f32>>) -> Self {
        let top_p = top_p.into();
        Self { top_p, ..self }
    }

    /// Sets how many times as probable as the most probable token a token has to be, in `[0, 1]`, or keeps all.
    pub fn with_min_p(self, min_p: impl Into<Option<f32>>) -> Self {
        let min_p = min_p.into();
        Self { min_p, ..self }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let invalid = |field, value: String, expected| {
            Err(Error::InvalidConfig {
                field,
                value,
                expected,
            })
        };
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            let expected = "a finite number above 0 (choose greedy instead of 0)";
            return invalid("temperature", self.temperature.to_string(), expected);
        }
        if self.top_k == Some(0) {
            return invalid("top_k", "0".to_owned(), "at least 1");
        }
        for (field, share) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return invalid(field, share.to_string(), "a number from 0 to 1");
            }
        }
        Ok(())
    }
}

/// One row's way of choosing.
pub(crate) enum Sampler {
    Greedy,
    Random {
        config: SamplingConfig,
        rng: Box<ChaCha8Rng>,
    },
}

impl Sampler {
    pub(crate) fn new(sampling: &Sampling, row: u64) -> Result<Self> {
        Ok(match sampling {
            Sampling::Greedy => Sampler::Greedy,
            Sampling::Random(config) => {
                config.validate()?;
                Sampler::Random {
                    config: config.clone(),
                    rng: Box::new(ChaCha8Rng::seed_from_u64(config.seed.wrapping_add(row))),
                }
            }
        })
    }

    /// Chooses a token by one row's logits; `None` if they hold NaN or no finite value.
    pub(crate) fn choose(&mut self, logits: &[f32]) -> Option<u32> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return None;
        }
        match self {
            Sampler::Greedy => argmax(logits),
            Sampler::Random { config, rng } => {
                let uniform = uniform(rng);
                let candidates = candidates(logits, config)?;
                Some(draw(&candidates, uniform))
            }
        }
    }
}

/// Draws a number in `[0, 1)`: 24 random bits make a float without rounding up to 1.
pub(crate) fn uniform(rng: &mut ChaCha8Rng) -> f32 {
    (rng.next_u32() >> 8) as f32 / (1u32 << 24) as f32
}

/// Chooses one token per row from logits `[batch, vocab]`, which `process` may change first. A finished row gets a token
/// as well; the caller ignores it.
pub(super) fn choose(
    logits: Tensor<2>,
    samplers: &mut [Sampler],
    pass: &Pass,
    process: impl Fn(usize, &mut Vec<f32>),
) -> Result<Vec<u32>> {
    let rows = read_rows(logits)?;
    rows.into_iter()
        .zip(samplers)
        .enumerate()
        .map(|(row, (mut logits, sampler))| {
            if pass.is_finished(row) {
                return Ok(0);
            }
            process(row, &mut logits);
            let position = pass.position(row, pass.seq() - 1).unwrap_or_default();
            sampler
                .choose(&logits)
                .ok_or(Error::NonFiniteLogits { row, position })
        })
        .collect()
}

/// Returns the tokens that a device has chosen, one for each row, or which row's logits allow no choice.
pub(super) fn chosen(ids: &[i32], pass: &Pass) -> Result<Vec<u32>> {
    let of_row = |(row, &id): (usize, &i32)| {
        if pass.is_finished(row) {
            return Ok(0);
        }
        let position = pass.position(row, pass.seq() - 1).unwrap_or_default();
        u32::try_from(id).map_err(|_| Error::NonFiniteLogits { row, position })
    };
    ids.iter().enumerate().map(of_row).collect()
}

/// Reads token ids `[batch]`.
pub(super) fn read_ids(ids: Tensor<1, Int>) -> Result<Vec<i32>> {
    let data = ids
        .try_into_data()
        .map_err(|error| Error::device("reading the chosen tokens", error))?;
    Ok(data.iter::<i32>().collect())
}

/// Reads logits `[batch, vocab]` as one vector per row.
pub(crate) fn read_rows(logits: Tensor<2>) -> Result<Vec<Vec<f32>>> {
    let [_, vocab_size] = logits.dims();
    let values = logits
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::device("reading the logits", error))?;
    Ok(values.chunks(vocab_size).map(<[f32]>::to_vec).collect())
}

/// Returns the index of the largest logit, the lowest among equals; `None` if no logit is finite.
pub(crate) fn argmax(logits: &[f32]) -> Option<u32> {
    let mut best: Option<(usize, f32)> = None;
    for (id, &logit) in logits.iter().enumerate() {
        if logit.is_finite() && best.is_none_or(|(_, top)| logit > top) {
            best = Some((id, logit));
        }
    }
    best.map(|(id, _)| id as u32)
}

/// Returns the tokens that temperature, top-k, top-p and min-p leave, with unnormalised probabilities, the most probable
/// first.
pub(crate) fn candidates(logits: &[f32], config: &SamplingConfig) -> Option<Vec<(u32, f32)>> {
    let top = logits[argmax(logits)? as usize];
    let mut candidates: Vec<(u32, f32)> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| logit.is_finite())
        .map(|(id, &logit)| (id as u32, ((logit - top) / config.temperature).exp()))
        .collect();
    // Ids break ties, so that equal logits give the same order on every machine.
    candidates.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    if let Some(top_k) = config.top_k {
        candidates.truncate(top_k);
    }
    if let Some(top_p) = config.top_p {
        let total: f32 = candidates.iter().map(|(_, mass)| mass).sum();
        let mut before = 0.0;
        candidates.retain(|(_, mass)| {
            let keep = before <= top_p * total;
            before += mass;
            keep
        });
    }
    // The most probable token has the mass 1.
    if let Some(min_p) = config.min_p {
        candidates.retain(|(_, mass)| *mass >= min_p);
    }
    Some(candidates)
}

/// Draws a candidate in proportion to its mass, by a number in `[0, 1)`. There is always at
/// least one candidate: the most probable token has no mass before it.
pub(crate) fn draw(candidates: &[(u32, f32)], uniform: f32) -> u32 {
    let total: f32 = candidates.iter().map(|(_, mass)| mass).sum();
    let mut left = uniform * total;
    for &(id, mass) in candidates {
        if left < mass {
            return id;
        }
        left -= mass;
    }
    candidates[candidates.len() - 1].0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: SamplingConfig, logits: &[f32], expected: &[u32]) {
        let kept: Vec<u32> = candidates(logits, &config)
            .unwrap()
            .into_iter()
            .map(|(id, _)| id)
            .collect();
        assert_eq!(kept, expected, "{config:?}");
    }

    #[test]
    fn top_k_and_top_p_keep_what_they_say() {
        let base = SamplingConfig::new(1.0, 0);
        // Probabilities 0.5, 0.25, 0.125, 0.125 in the order of ids 2, 0, 1, 3.
        let logits = [2f32.ln(), 0.0, 4f32.ln(), 0.0];
        let top_k = |k| SamplingConfig {
            top_k: Some(k),
            ..base.clone()
        };
        let top_p = |p| SamplingConfig {
            top_p: Some(p),
            ..base.clone()
        };
        check(base.clone(), &logits, &[2, 0, 1, 3]);
        check(top_k(1), &logits, &[2]);
        check(top_k(9), &logits, &[2, 0, 1, 3]);
        check(top_p(0.0), &logits, &[2]);
        check(top_p(0.4), &logits, &[2]);
        check(top_p(0.6), &logits, &[2, 0]);
        check(top_p(0.8), &logits, &[2, 0, 1]);
        check(top_p(1.0), &logits, &[2, 0, 1, 3]);
        let min_p = |p| base.clone().with_min_p(p);
        check(min_p(0.0), &logits, &[2, 0, 1, 3]);
        check(min_p(0.4), &logits, &[2, 0]);
        check(min_p(0.6), &logits, &[2]);
        check(min_p(1.0), &logits, &[2]);
        // Infinite logits are masked tokens.
        check(base, &[f32::NEG_INFINITY, 0.0], &[1]);
    }

    #[test]
    fn draws_follow_the_probabilities_and_the_seed() {
        let config = SamplingConfig::new(1.0, 7);
        let logits = [0.0, 3f32.ln()];
        let draws = |row| {
            let mut sampler = Sampler::new(&Sampling::Random(config.clone()), row).unwrap();
            (0..4000)
                .map(|_| sampler.choose(&logits).unwrap())
                .collect::<Vec<_>>()
        };
        let first = draws(0);
        assert_eq!(first, draws(0));
        assert_ne!(first, draws(1));
        let share = first.iter().sum::<u32>() as f64 / first.len() as f64;
        // Four standard deviations of a binomial with p = 0.75 and n = 4000.
        assert!(
            (share - 0.75).abs() < 4.0 * (0.75f64 * 0.25 / 4000.0).sqrt(),
            "{share}"
        );
    }

    #[test]
    fn greedy_takes_the_first_of_equals_and_refuses_nan() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(argmax(&[f32::NEG_INFINITY; 2]), None);
        let mut sampler = Sampler::new(&Sampling::Greedy, 0).unwrap();
        assert_eq!(sampler.choose(&[0.0, f32::NAN]), None);
    }

    #[test]
    fn impossible_settings_are_named() {
        let base = SamplingConfig::new(1.0, 0);
        for (config, field) in [
            (
                SamplingConfig {
                    temperature: 0.0,
                    ..base.clone()
                },
                "temperature",
            ),
            (
                SamplingConfig {
                    top_k: Some(0),
                    ..base.clone()
                },
                "top_k",
            ),
            (
                SamplingConfig {
                    top_p: Some(1.5),
                    ..base.clone()
                },
                "top_p",
            ),
        ] {
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
