//! Proposes drafted tokens, and judges them.

use std::collections::HashMap;

use super::near_ties::Top;
use crate::generation::sampling::{Sampler, candidates, draw, uniform};

/// Tokens with their probabilities, the most probable first.
type Distribution = Vec<(u32, f32)>;

/// A token that a drafter proposes.
pub(super) struct Draft {
    pub id: u32,
    /// How sure the draft was; for logits, by how much the most probable token led.
    pub confidence: f32,
    /// Which of the drafters has proposed it.
    pub drafter: usize,
    /// What the token was drawn from; `None` if it was not drawn.
    distribution: Option<Distribution>,
}

impl Draft {
    /// A token that was chosen without a draw.
    pub(super) fn certain(id: u32, confidence: f32, drafter: usize) -> Self {
        Self {
            id,
            confidence,
            drafter,
            distribution: None,
        }
    }

    /// Whether the token was drawn.
    pub(super) fn is_drawn(&self) -> bool {
        self.distribution.is_some()
    }
}

/// The full model's judgement of a drafted token.
pub(super) struct Judgement {
    /// The token of the text in this place.
    pub id: u32,
    pub is_accepted: bool,
}

/// Proposes a token from the draft's logits; `None` if they hold NaN or no finite value.
pub(super) fn propose(sampler: &mut Sampler, logits: &[f32], drafter: usize) -> Option<Draft> {
    let top = Top::of(logits)?;
    Some(match sampler {
        Sampler::Greedy => Draft::certain(top.id, top.margin, drafter),
        Sampler::Random { config, rng } => {
            let distribution = normalised(candidates(logits, config)?);
            Draft {
                id: draw(&distribution, uniform(rng)),
                confidence: top.margin,
                drafter,
                distribution: Some(distribution),
            }
        }
    })
}

/// Judges a drafted token by the full model's logits, so that the resulting token has the full model's distribution: `d` is
/// accepted with probability `min(1, p(d)/q(d))`, and replaced by a draw from `max(0, p − q)` otherwise (Leviathan et al.
/// 2023, section 2.3). A token that was not drawn is a distribution that has one token alone: a draw from the full model
/// then accepts it, where the two are equal, and replaces it elsewhere. `None` as for [`propose`].
pub(super) fn judge(sampler: &mut Sampler, draft: &Draft, logits: &[f32]) -> Option<Judgement> {
    let (config, rng, q) = match (sampler, &draft.distribution) {
        (Sampler::Random { config, rng }, Some(q)) => (config, rng, q),
        (sampler, _) => {
            let id = sampler.choose(logits)?;
            let is_accepted = id == draft.id;
            return Some(Judgement { id, is_accepted });
        }
    };
    if logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    let p = normalised(candidates(logits, config)?);
    if uniform(rng) * probability(q, draft.id) < probability(&p, draft.id) {
        return Some(Judgement {
            id: draft.id,
            is_accepted: true,
        });
    }
    let q: HashMap<u32, f32> = q.iter().copied().collect();
    let residual: Distribution = p
        .iter()
        .map(|&(id, p)| (id, p - q.get(&id).copied().unwrap_or(0.0)))
        .filter(|&(_, left)| left > 0.0)
        .collect();
    // Nothing is left if p and q differ by rounding alone; either will do then.
    let from = if residual.is_empty() { &p } else { &residual };
    Some(Judgement {
        id: draw(from, uniform(rng)),
        is_accepted: false,
    })
}

fn normalised(mut candidates: Distribution) -> Distribution {
    let total: f32 = candidates.iter().map(|(_, mass)| mass).sum();
    for (_, mass) in &mut candidates {
        *mass /= total;
    }
    candidates
}

fn probability(distribution: &Distribution, id: u32) -> f32 {
    distribution
        .iter()
        .find(|(candidate, _)| *candidate == id)
        .map_or(0.0, |(_, probability)| *probability)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::generation::{Sampling, SamplingConfig};

    /// χ² of draws against probabilities, over the tokens that can occur.
    fn chi_square(counts: &[usize], probabilities: &[f32]) -> f64 {
        let n: usize = counts.iter().sum();
        counts
            .iter()
            .zip(probabilities)
            .filter(|(_, p)| **p > 0.0)
            .map(|(&count, &p)| {
                let expected = n as f64 * f64::from(p);
                (count as f64 - expected).powi(2) / expected
            })
            .sum()
    }

    /// Drafted from one distribution, or without a draw where there are no logits, and judged by another, tokens follow the
    /// latter.
    fn check(config: SamplingConfig, draft_logits: &[f32], full_logits: &[f32], critical: f64) {
        let mut sampler = Sampler::new(&Sampling::Random(config.clone()), 0).unwrap();
        let mut counts = vec![0; full_logits.len()];
        for idx in 0..20_000 {
            let draft = if draft_logits.is_empty() {
                Draft::certain(idx % 2, 1.0, 0)
            } else {
                propose(&mut sampler, draft_logits, 0).unwrap()
            };
            let judgement = judge(&mut sampler, &draft, full_logits).unwrap();
            counts[judgement.id as usize] += 1;
        }
        let mut expected = vec![0.0; full_logits.len()];
        for (id, p) in normalised(candidates(full_logits, &config).unwrap()) {
            expected[id as usize] = p;
        }
        for (count, p) in counts.iter().zip(&expected) {
            assert!(*p > 0.0 || *count == 0, "a token outside was drawn");
        }
        let statistic = chi_square(&counts, &expected);
        assert!(statistic < critical, "{config:?}: {counts:?}, {statistic}");
    }

    /// Critical values of χ² at a significance of 0.001, with 4 and 2 degrees of freedom.
    #[test]
    fn judged_tokens_follow_the_full_model() {
        let config = SamplingConfig::new(0.8, 11);
        let draft = [2.0, 0.0, 1.0, -1.0, 0.5];
        let full = [0.0, 1.5, 1.0, 0.2, -0.5];
        check(config.clone(), &draft, &full, 18.47);
        check(config.clone(), &full, &full, 18.47);
        check(config.clone(), &[], &full, 18.47);
        // Three tokens are left of the full model, two of them outside of the draft's three.
        let top_k = SamplingConfig {
            top_k: Some(3),
            ..config
        };
        check(top_k, &[3.0, 2.0, 1.0, -1.0, -2.0], &full, 13.82);
    }

    #[test]
    fn greedy_drafts_are_accepted_where_they_are_right() {
        let mut sampler = Sampler::new(&Sampling::Greedy, 0).unwrap();
        let draft = propose(&mut sampler, &[0.0, 3.0, 1.0], 0).unwrap();
        assert_eq!((draft.id, draft.confidence), (1, 2.0));
        let judgement = judge(&mut sampler, &draft, &[0.0, 1.0, 2.0]).unwrap();
        assert_eq!((judgement.id, judgement.is_accepted), (2, false));
        assert!(judge(&mut sampler, &draft, &[f32::NAN, 1.0]).is_none());
        assert!(propose(&mut sampler, &[f32::NAN], 0).is_none());
    }
}
