//! Reads what a model makes of tokens at chosen slots.

use std::collections::HashMap;

use burn::tensor::activation::log_softmax;
use burn::tensor::{FloatDType, Int, Tensor};
use lac_core::{CausalLm, Error, Pass, Result};

use super::plan::Target;

/// The largest number of logits that are held at once: 256 MB in f32.
pub(crate) const MAX_LOGITS: usize = 1 << 26;

/// What a model makes of a token.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TokenScore {
    /// Its log-probability, natural logarithm.
    pub(super) log_probability: f32,
    /// Whether no other token is likelier.
    pub(super) is_greedy: bool,
}

/// Returns the score of every target, computed in f32, given the hidden states
/// `[batch, seq, hidden]`. Only the slots of targets go through the head, each once, and only
/// the targets' numbers leave the device.
pub(super) fn token_scores<M: CausalLm + ?Sized>(
    model: &M,
    hidden: &Tensor<3>,
    pass: &Pass,
    targets: &[Target],
) -> Result<Vec<TokenScore>> {
    let [batch, seq, width] = hidden.dims();
    let vocab_size = model.vocab_size();
    let device = hidden.device();
    // The slots of the pass, each once, in the order of their first target.
    let mut slots: Vec<i64> = Vec::new();
    let mut places: HashMap<i64, usize> = HashMap::new();
    let place: Vec<usize> = targets
        .iter()
        .map(|target| {
            // A later pass has no padding on the left.
            let n_padding = if pass.past() == 0 {
                pass.padding()[target.row]
            } else {
                0
            };
            let slot = (target.row * seq + n_padding + target.token_idx) as i64;
            *places.entry(slot).or_insert_with(|| {
                slots.push(slot);
                slots.len() - 1
            })
        })
        .collect();

    let index = |ids: &[i64]| Tensor::<1, Int>::from_data(ids, &device);
    let flat = hidden.clone().reshape([batch * seq, width]);
    let mut values = vec![TokenScore::default(); targets.len()];
    let per_chunk = (MAX_LOGITS / vocab_size.max(1)).max(1);
    for (chunk_idx, chunk) in slots.chunks(per_chunk).enumerate() {
        let start = chunk_idx * per_chunk;
        let chosen: Vec<usize> = (0..targets.len())
            .filter(|&i| (start..start + chunk.len()).contains(&place[i]))
            .collect();
        let at: Vec<i64> = chosen
            .iter()
            .map(|&i| ((place[i] - start) * vocab_size) as i64 + i64::from(targets[i].id))
            .collect();
        let rows: Vec<i64> = chosen.iter().map(|&i| (place[i] - start) as i64).collect();
        let states = flat.clone().select(0, index(chunk)).unsqueeze::<3>();
        let logits = model.logits(states).cast(FloatDType::F32);
        let log_probabilities = log_softmax(logits, 2);
        let largest = log_probabilities
            .clone()
            .max_dim(2)
            .reshape([chunk.len()])
            .select(0, index(&rows));
        let of_targets = log_probabilities
            .reshape([chunk.len() * vocab_size])
            .select(0, index(&at));
        let read = Tensor::cat(vec![of_targets, largest], 0)
            .try_into_vec_as::<f32>()
            .map_err(|error| Error::Device {
                doing: "reading log-probabilities",
                reason: error.to_string(),
            })?;
        let (of_targets, largest) = read.split_at(chosen.len().min(read.len()));
        for ((&i, &value), &largest) in chosen.iter().zip(of_targets).zip(largest) {
            if !value.is_finite() {
                return Err(Error::NonFiniteLogits {
                    row: targets[i].row,
                    position: targets[i].token_idx,
                });
            }
            values[i] = TokenScore {
                log_probability: value,
                is_greedy: value >= largest,
            };
        }
    }
    Ok(values)
}
