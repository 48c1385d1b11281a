//! Reads, for tokens of a text, what a policy and the full model make of them.

use burn::tensor::activation::log_softmax;
use burn::tensor::{FloatDType, Int, Tensor};
use lac_core::{CausalLm, Error, Result};

use crate::score::MAX_LOGITS;

/// What is known of one scored token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TokenDistance {
    /// Negative log-probability under the policy, natural logarithm.
    pub(super) negative_log_likelihood: f64,
    /// What the full model makes of it.
    pub(super) full: Option<FullToken>,
}

/// What the full model makes of one scored token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FullToken {
    /// Negative log-probability under the full model.
    pub(super) negative_log_likelihood: f64,
    /// Kullback-Leibler divergence of the policy's distribution from the full model's, Σ p ln(p / q) with p the full
    /// model's, in nats.
    pub(super) kl: f64,
    /// Whether both name the same likeliest token.
    pub(super) same_top: bool,
}

/// Compares the predictions from `states` with `targets` and, where there are any, with those from `full`: both
/// `[1, n, hidden]`, with `n` targets. Distributions are computed in f32 on the device; a few numbers per token leave it.
pub(super) fn token_distances<M: CausalLm + ?Sized>(
    model: &M,
    states: Tensor<3>,
    full: Option<Tensor<3>>,
    targets: &[u32],
) -> Result<Vec<TokenDistance>> {
    let per_chunk = (MAX_LOGITS / model.vocab_size().max(1)).max(1);
    let mut tokens = Vec::with_capacity(targets.len());
    for (chunk_idx, chunk) in targets.chunks(per_chunk).enumerate() {
        let start = chunk_idx * per_chunk;
        let rows = |states: &Tensor<3>| states.clone().narrow(1, start, chunk.len());
        let full = full.as_ref().map(rows);
        tokens.extend(chunk_distances(model, rows(&states), full, chunk)?);
    }
    if let Some(token_idx) = tokens.iter().position(|token| !token.is_finite()) {
        return Err(Error::NonFiniteLogits {
            row: 0,
            position: token_idx,
        });
    }
    Ok(tokens)
}

impl TokenDistance {
    fn is_finite(&self) -> bool {
        let full = self
            .full
            .is_none_or(|full| full.negative_log_likelihood.is_finite() && full.kl.is_finite());
        self.negative_log_likelihood.is_finite() && full
    }
}

fn chunk_distances<M: CausalLm + ?Sized>(
    model: &M,
    states: Tensor<3>,
    full: Option<Tensor<3>>,
    targets: &[u32],
) -> Result<Vec<TokenDistance>> {
    let device = states.device();
    let n_targets = targets.len();
    let ids: Vec<i64> = targets.iter().map(|&id| i64::from(id)).collect();
    let ids = Tensor::<1, Int>::from_data(ids.as_slice(), &device).reshape([n_targets, 1]);
    let of_targets = |logs: &Tensor<2>| logs.clone().gather(1, ids.clone()).reshape([n_targets]);

    let logs = log_probabilities(model, states);
    let own = read(of_targets(&logs))?;
    let Some(full) = full else {
        return Ok(own
            .iter()
            .map(|&log| TokenDistance {
                negative_log_likelihood: -f64::from(log),
                full: None,
            })
            .collect());
    };
    let full_logs = log_probabilities(model, full);
    let full_own = read(of_targets(&full_logs))?;
    let same_top = logs
        .clone()
        .argmax(1)
        .equal(full_logs.clone().argmax(1))
        .float();
    let same_top = read(same_top.reshape([n_targets]))?;
    let kl = (full_logs.clone().exp() * (full_logs - logs)).sum_dim(1);
    let kl = read(kl.reshape([n_targets]))?;
    Ok((0..n_targets)
        .map(|i| TokenDistance {
            negative_log_likelihood: -f64::from(own[i]),
            full: Some(FullToken {
                negative_log_likelihood: -f64::from(full_own[i]),
                kl: f64::from(kl[i]),
                same_top: same_top[i] > 0.5,
            }),
        })
        .collect())
}

/// Returns the logarithms of the probabilities of the next token, `[n, vocab]` in f32, after states `[1, n, hidden]`.
fn log_probabilities<M: CausalLm + ?Sized>(model: &M, states: Tensor<3>) -> Tensor<2> {
    let logits = model.logits(states).cast(FloatDType::F32);
    log_softmax(logits.squeeze_dim::<2>(0), 1)
}

fn read(numbers: Tensor<1>) -> Result<Vec<f32>> {
    numbers
        .try_into_vec_as::<f32>()
        .map_err(|error| Error::Device {
            doing: "reading log-probabilities",
            reason: error.to_string(),
        })
}
