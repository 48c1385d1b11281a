//! Near ties: where noise could decide between two tokens.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What happens, in greedy generation, where the two most probable tokens are so close that the noise between passes could
/// decide.
///
/// A verifying pass multiplies several rows at once. Devices sum such products in another order than those of one row, so
/// its logits differ in their last bits from those of passes of one token, and so do the keys and values that it writes.
/// The keys and values of a layer depend only on those of the layers below, so this noise grows with the number of layers
/// and not with the length of the text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ties {
    /// If the margin between the two is at most `factor · ε · s`, with `ε` the spacing of f32 at 1 and `s` the largest
    /// magnitude among the logits, the passes since the last exact slot are made again one token at a time, as plain
    /// generation makes them. Their logits decide.
    ///
    /// If a repetition finds noise of more than an eighth of the factor, the factor grows to eight times that noise.
    Replay {
        /// The factor, above 0.
        factor: f32,
    },
    /// The verifying pass decides. For f16 and bf16, whose logits are spaced about as widely as their margins, so that
    /// nearly every token would be replayed.
    Accept,
}

/// The default factor: more than ten times what the largest noise seen in measurements does to a margin;
/// see `docs/method.md`.
pub(crate) const REPLAY_FACTOR: f32 = 1024.0;

/// A repetition that finds more noise than the factor divided by this raises the factor.
const SAFETY: f32 = 8.0;

impl Default for Ties {
    fn default() -> Self {
        Ties::Replay {
            factor: REPLAY_FACTOR,
        }
    }
}

impl Ties {
    pub(super) fn validate(self) -> Result<()> {
        match self {
            Ties::Replay { factor } if !(factor.is_finite() && factor > 0.0) => {
                Err(Error::InvalidConfig {
                    field: "ties",
                    value: factor.to_string(),
                    expected: "a finite factor above 0",
                })
            }
            _ => Ok(()),
        }
    }

    /// Returns the margin up to which noise may decide; `None` if the verifying pass always decides.
    pub(super) fn bound(self, top: &Top) -> Option<f32> {
        match self {
            Ties::Replay { factor } => Some(factor * f32::EPSILON * top.scale),
            Ties::Accept => None,
        }
    }

    /// Raises the factor if a repetition has found much noise, in units of the factor.
    pub(super) fn found(&mut self, noise: f32) {
        if let Ties::Replay { factor } = self {
            *factor = factor.max(SAFETY * noise);
        }
    }
}

/// The most probable token, and by how much it leads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Top {
    pub id: u32,
    /// Its logit less the next one's; infinite when there is no other.
    pub margin: f32,
    /// The largest magnitude among the finite logits.
    pub scale: f32,
}

impl Top {
    /// Finds the most probable token; `None` if the logits hold NaN or no finite value, as for plain generation.
    pub(super) fn of(logits: &[f32]) -> Option<Self> {
        let mut best: Option<(usize, f32)> = None;
        let mut second = f32::NEG_INFINITY;
        let mut scale = 0f32;
        for (id, &logit) in logits.iter().enumerate() {
            if !logit.is_finite() {
                if logit.is_nan() {
                    return None;
                }
                continue;
            }
            scale = scale.max(logit.abs());
            match best {
                Some((_, top)) if logit <= top => second = second.max(logit),
                _ => {
                    second = best.map_or(f32::NEG_INFINITY, |(_, top)| top);
                    best = Some((id, logit));
                }
            }
        }
        best.map(|(id, logit)| Self {
            id: id as u32,
            margin: logit - second,
            scale,
        })
    }
}

/// Returns the largest difference between two rows of logits, in units of the factor of [`Ties::Replay`].
pub(super) fn noise(a: &[f32], b: &[f32]) -> f32 {
    let mut difference = 0f32;
    let mut scale = 0f32;
    for (&a, &b) in a.iter().zip(b) {
        if a.is_finite() && b.is_finite() {
            difference = difference.max((a - b).abs());
            scale = scale.max(b.abs());
        }
    }
    if difference == 0.0 {
        return 0.0;
    }
    difference / (f32::EPSILON * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_and_its_margin() {
        let check = |logits: &[f32], id, margin, scale| {
            assert_eq!(
                Top::of(logits),
                Some(Top { id, margin, scale }),
                "{logits:?}"
            );
        };
        check(&[1.0, 4.0, 3.5], 1, 0.5, 4.0);
        check(&[4.0, 3.0, -9.0], 0, 1.0, 9.0);
        // The first of equals, as for plain generation.
        check(&[2.0, 5.0, 5.0], 1, 0.0, 5.0);
        check(&[f32::NEG_INFINITY, 2.0], 1, f32::INFINITY, 2.0);
        assert_eq!(Top::of(&[0.0, f32::NAN]), None);
        assert_eq!(Top::of(&[f32::NEG_INFINITY]), None);
    }

    #[test]
    fn found_noise_widens_the_allowance() {
        let mut ties = Ties::Replay { factor: 64.0 };
        ties.found(1.0);
        assert_eq!(ties, Ties::Replay { factor: 64.0 });
        ties.found(10.0);
        assert_eq!(ties, Ties::Replay { factor: 80.0 });
        assert_eq!(noise(&[1.0, 2.0 + 2.0 * f32::EPSILON], &[1.0, 2.0]), 1.0);
    }
}
