//! Log-likelihoods of continuations that are no benchmark's.

use lac_core::generation::Flow;
use lac_core::{CausalLm, Result};

use crate::policy_run::PolicyRun;
use crate::request::ScoredOption;
use crate::score::{ContextRepeats, score_batch};

/// How likely a continuation is after its context.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogLikelihood {
    /// The sum of the log-probabilities of its tokens, natural logarithm.
    pub value: f64,
    /// Whether each of its tokens is the most probable one.
    pub is_greedy: bool,
}

/// Scores continuations under a policy run, `batch_size` contexts at a time (0 counts as 1). Neighbours with one context
/// share its passes. Results are in the order of `options`, and those of the run's first variant.
///
/// `after_batch` is called after each batch with the number of options scored so far. It may end the run: options that
/// were not scored by then are `None`.
///
/// # Errors
/// The model's, as for [`evaluate`](crate::evaluate).
pub fn log_likelihoods<M: CausalLm + ?Sized>(
    model: &M,
    options: &[ScoredOption],
    batch_size: usize,
    run: &mut PolicyRun,
    after_batch: &mut dyn FnMut(usize) -> Flow,
) -> Result<Vec<Option<LogLikelihood>>> {
    let mut scores = vec![None; options.len()];
    // Neighbours with one context, by the place of their first.
    let mut groups: Vec<(usize, &[ScoredOption])> = Vec::new();
    let mut start = 0;
    for group in options.chunk_by(|a, b| a.context == b.context) {
        groups.push((start, group));
        start += group.len();
    }
    // Rows of a batch are padded to the longest: those of like lengths stand together, the longest first.
    groups.sort_by_key(|(_, group)| std::cmp::Reverse(n_fed(group)));
    let repeats = ContextRepeats::of(model);
    let (mut prefix, mut n_scored) = (None, 0);
    for batch in groups.chunks(batch_size.max(1)) {
        let questions: Vec<&[ScoredOption]> = batch.iter().map(|&(_, group)| group).collect();
        let scored = score_batch(model, &questions, 0, repeats, &mut prefix, run)?;
        for (&(start, group), score) in batch.iter().zip(scored) {
            let Some(score) = score.into_iter().next() else {
                continue;
            };
            let values = score.log_likelihoods.into_iter().zip(score.greedy);
            for (place, (value, is_greedy)) in scores[start..].iter_mut().zip(values) {
                *place = Some(LogLikelihood { value, is_greedy });
            }
            n_scored += group.len();
        }
        if after_batch(n_scored) == Flow::Stop {
            break;
        }
    }
    Ok(scores)
}

/// Number of tokens of the longest row.
fn n_fed(group: &[ScoredOption]) -> usize {
    let n_fed = |option: &ScoredOption| option.context.len() + option.continuation.len();
    group.iter().map(n_fed).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Int, Tensor};
    use lac_core::Off;

    use super::*;
    use crate::test_model::LastToken;

    /// The token that was seen last is e² times as probable as any other of the eight.
    fn model() -> LastToken {
        LastToken {
            vocab_size: 8,
            logits: |ids: Tensor<2, Int>, vocab| ids.one_hot::<3>(vocab).float() * 2.0,
        }
    }

    #[test]
    fn continuations_are_scored_in_their_order_whatever_the_batch() {
        let option = |context: &[u32], continuation: &[u32]| ScoredOption {
            context: context.to_vec(),
            continuation: continuation.to_vec(),
        };
        let options = [
            option(&[1, 2], &[2]),
            option(&[1, 2], &[4, 4]),
            option(&[6], &[1, 2, 3]),
            option(&[1, 2, 3, 4], &[4]),
        ];
        let (same, other) = (2.0 - (2f64.exp() + 7.0).ln(), -(2f64.exp() + 7.0).ln());
        let expected = [
            (same, true),
            (other + same, false),
            (3.0 * other, false),
            (same, true),
        ];
        let score = |batch_size, flow| {
            let mut run = PolicyRun::new(Box::new(Off));
            log_likelihoods(&model(), &options, batch_size, &mut run, &mut |_| flow).unwrap()
        };
        for batch_size in [0, 1, 8] {
            let scores = score(batch_size, Flow::Continue);
            for (seen, (value, is_greedy)) in scores.iter().zip(expected) {
                let seen = seen.unwrap();
                assert!((seen.value - value).abs() < 1e-5, "{seen:?}, not {value}");
                assert_eq!(seen.is_greedy, is_greedy);
            }
        }
        // The longest comes first, and the others are left.
        let stopped = score(1, Flow::Stop);
        let is_scored: Vec<bool> = stopped.iter().map(Option::is_some).collect();
        assert_eq!(is_scored, [false, false, false, true]);
    }
}
