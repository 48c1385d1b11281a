//! Exact match: whether a model's greedy answer is exactly the right one.

use std::time::Duration;

use lac_core::{CausalLm, GenerateArgs, GenerationConfig, LayerPolicy, Result, Usage, generate};

/// A prompt and the answer that counts as right, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exercise {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// The complete answer, without the token that ends it.
    pub answer: Vec<u32>,
}

/// The results of some exercises.
#[derive(Clone, Debug, Default)]
pub struct ExactMatch {
    /// For each exercise, in their order, whether the answer was right.
    pub right: Vec<bool>,
    /// How often each layer was active and was run, per phase. A pass over a batch counts once.
    pub usage: Usage,
    /// Time of all prompt passes.
    pub prefill_time: Duration,
    /// Time of all passes after them.
    pub decode_time: Duration,
}

impl ExactMatch {
    /// Returns the number of right answers.
    pub fn n_right(&self) -> usize {
        self.right.iter().filter(|&&right| right).count()
    }

    /// Returns the share of right answers, in `[0, 1]`; `None` without exercises.
    pub fn accuracy(&self) -> Option<f64> {
        (!self.right.is_empty()).then(|| self.n_right() as f64 / self.right.len() as f64)
    }
}

/// Answers exercises greedily, `batch_size` (at least one) at a time, those of similar length
/// together.
///
/// An answer is right if the new tokens are exactly the expected ones, followed by one of
/// `stop_tokens` if there are any. A model that goes on after the answer is wrong.
///
/// # Errors
/// Those of [`lac_core::generate`]. A row in them is the exercise's place in its batch.
pub fn exact_match<M: CausalLm + ?Sized>(
    model: &M,
    exercises: &[Exercise],
    stop_tokens: &[u32],
    batch_size: usize,
    policy: &mut dyn LayerPolicy,
) -> Result<ExactMatch> {
    let mut order: Vec<usize> = (0..exercises.len()).collect();
    // A stable sort: the batches, and with them every number, are the same in every run.
    order.sort_by_key(|&i| exercises[i].prompt.len());
    let mut out = ExactMatch {
        right: vec![false; exercises.len()],
        ..ExactMatch::default()
    };
    for batch in order.chunks(batch_size.max(1)) {
        let prompts: Vec<Vec<u32>> = batch.iter().map(|&i| exercises[i].prompt.clone()).collect();
        let longest = batch.iter().map(|&i| exercises[i].answer.len()).max();
        let n_stop = usize::from(!stop_tokens.is_empty());
        let config =
            GenerationConfig::greedy(longest.unwrap_or(0) + n_stop).with_stop_tokens(stop_tokens);
        let args = GenerateArgs::new(policy).observer(&mut out.usage);
        let generated = generate(model, &prompts, &config, args)?;
        out.prefill_time += generated.prefill_time;
        out.decode_time += generated.decode_time;
        for (&i, row) in batch.iter().zip(&generated.rows) {
            let answer = &exercises[i].answer;
            out.right[i] = match row.ids.split_last() {
                Some((last, before)) if n_stop > 0 => {
                    stop_tokens.contains(last) && before == answer.as_slice()
                }
                _ => row.ids.starts_with(answer),
            };
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use lac_core::Off;

    use super::*;
    use crate::test_model::LastToken;

    const STOP: u32 = 4;

    /// Answers token `t` with `t + 1`, up to the stop token.
    const COUNT: LastToken = LastToken {
        vocab_size: 5,
        logits: |ids, vocab_size| {
            (ids + 1)
                .clamp_max(i64::from(STOP))
                .one_hot::<3>(vocab_size)
                .float()
        },
    };

    fn check(prompt: &[u32], answer: &[u32], stop: &[u32], right: bool) {
        let exercise = Exercise {
            prompt: prompt.to_vec(),
            answer: answer.to_vec(),
        };
        // Another, longer exercise, so that the one in question is padded.
        let other = Exercise {
            prompt: vec![0; 3],
            answer: vec![1, 2, 3],
        };
        let all = [other, exercise];
        let out = exact_match(&COUNT, &all, stop, 2, &mut Off).unwrap();
        assert_eq!(out.right, [true, right], "{prompt:?} {answer:?}");
        assert_eq!(out.n_right(), 1 + usize::from(right));
        assert_eq!(out.usage.prompt.executed_per_pass(), Some(2.0));
    }

    #[test]
    fn an_answer_is_right_as_a_whole() {
        check(&[1], &[2, 3], &[STOP], true);
        check(&[1], &[2], &[STOP], false);
        check(&[1], &[3], &[STOP], false);
        check(&[2], &[3], &[STOP], true);
        check(&[0], &[1, 2], &[], true);
        check(&[0], &[2], &[], false);
    }
}
