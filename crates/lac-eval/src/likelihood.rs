//! How probable a model finds a continuation of a prompt.

use burn::tensor::Tensor;
use lac_core::{CausalLm, Error, LayerPolicy, Result, prompt_pass};

/// A prompt and one of its possible continuations, as token ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// The prompt, at least one token.
    pub prompt: Vec<u32>,
    /// What may follow, at least one token.
    pub continuation: Vec<u32>,
}

/// The log-probability of each continuation given its prompt: the sum over its tokens, natural
/// logarithm. All rows go through the model in one pass.
///
/// # Errors
/// As [`lac_core::generate`]; an empty continuation counts as an empty prompt.
pub fn log_likelihoods<M: CausalLm + ?Sized>(
    model: &M,
    rows: &[Continuation],
    policy: &mut dyn LayerPolicy,
) -> Result<Vec<f32>> {
    if let Some(row) = rows
        .iter()
        .position(|row| row.continuation.is_empty() || row.prompt.is_empty())
    {
        return Err(Error::EmptyPrompt { row });
    }
    // The last token's successor is nobody's business: it need not be fed.
    let fed: Vec<Vec<u32>> = rows
        .iter()
        .map(|row| {
            let all = row.prompt.iter().chain(&row.continuation);
            all.copied()
                .take(row.prompt.len() + row.continuation.len() - 1)
                .collect()
        })
        .collect();
    let (hidden, record) = prompt_pass(model, &fed, 0, policy)?;
    let seq = record.pass.seq();
    rows.iter()
        .enumerate()
        .map(|(row, Continuation { continuation, .. })| {
            let n_tokens = continuation.len();
            let states = hidden
                .clone()
                .narrow(0, row, 1)
                .narrow(1, seq - n_tokens, n_tokens);
            let logits = read(model.logits(states))?;
            let vocab_size = logits.len() / n_tokens;
            let token_logits = logits.chunks(vocab_size).zip(continuation);
            Ok(token_logits
                .map(|(logits, &id)| log_softmax(logits)[id as usize])
                .sum())
        })
        .collect()
}

fn read(logits: Tensor<3>) -> Result<Vec<f32>> {
    logits
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::Device {
            doing: "reading the logits",
            reason: error.to_string(),
        })
}

/// Logits to log-probabilities, natural logarithm.
pub fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f32 = logits.iter().map(|logit| (logit - top).exp()).sum();
    let log_total = total.ln();
    logits.iter().map(|logit| logit - top - log_total).collect()
}

#[cfg(test)]
mod tests {
    use lac_core::Off;

    use super::*;
    use crate::test_model::LastToken;

    /// Token `t` finds token `t` twice as probable as each of the others.
    const ECHO: LastToken = LastToken {
        vocab_size: 4,
        logits: |ids, vocab_size| ids.one_hot::<3>(vocab_size).float() * 2f32.ln(),
    };

    #[test]
    fn a_continuation_is_as_probable_as_its_tokens() {
        let row = |prompt: &[u32], continuation: &[u32]| Continuation {
            prompt: prompt.to_vec(),
            continuation: continuation.to_vec(),
        };
        // Rows of different lengths: padding must not reach the result.
        let rows = [
            row(&[1], &[1]),
            row(&[0, 2], &[2, 2, 3]),
            row(&[3, 3, 3, 3], &[0]),
        ];
        let seen = log_likelihoods(&ECHO, &rows, &mut Off).unwrap();
        // The same token again has a probability of 2/5, another one of 1/5.
        let expected = [0.4f32.ln(), 2.0 * 0.4f32.ln() + 0.2f32.ln(), 0.2f32.ln()];
        for (a, b) in seen.iter().zip(expected) {
            assert!((a - b).abs() < 1e-5, "{seen:?} against {expected:?}");
        }
        let empty = [row(&[1], &[1]), row(&[1], &[])];
        let error = log_likelihoods(&ECHO, &empty, &mut Off).unwrap_err();
        assert!(matches!(error, Error::EmptyPrompt { row: 1 }), "{error}");
    }
}
