//! The lens on the device: all layers' states of some tokens go through the head in one product.

use burn::tensor::activation::log_softmax;
use burn::tensor::{FloatDType, IndexingUpdateOp, Int, Tensor, TensorData};

use super::Lens;
use super::record::LensRecord;
use crate::error::{Error, Result};
use crate::stack::CausalLm;

/// The greatest number of logits in memory at a time, unless the states of a single token have more.
pub(crate) const MOST_LOGITS: usize = 1 << 24;

/// A logarithm that stands for that of zero: its exponential is zero, and so is their product.
const LOG_OF_ZERO: f32 = -1e30;

/// What a lens saw of a pass, on the device.
#[derive(Debug)]
pub(crate) struct LensReadings {
    n_top: usize,
    /// `[states, tokens, n_top]`.
    ids: Tensor<3, Int>,
    /// `[states, tokens, n_top]`.
    logprobs: Tensor<3>,
    /// Entropy and divergence, `[2, states, tokens]`.
    distances: Tensor<3>,
}

/// Looks at the states of a pass, `[batch, seq, hidden]` each: the embedding, and what was passed on after every layer.
/// Nothing is read back from the device. At most `most_logits` logits are computed at a time, and those of a token's states
/// together.
///
/// # Errors
/// [`Error::InvalidConfig`] for a tuned lens of another model.
pub(crate) fn look<M: CausalLm + ?Sized>(
    model: &M,
    states: &[Tensor<3>],
    lens: &Lens,
    most_logits: usize,
) -> Result<Option<LensReadings>> {
    let Some(first) = states.first() else {
        return Ok(None);
    };
    let [batch, seq, hidden] = first.dims();
    let (n_states, n_tokens) = (states.len(), batch * seq);
    if let Some(maps) = lens.maps()
        && maps.n_layers() + 1 != n_states
    {
        return Err(Error::InvalidConfig {
            field: "the number of maps of the tuned lens",
            value: maps.n_layers().to_string(),
            expected: "one for each layer of the model",
        });
    }
    let states: Vec<Tensor<3>> = states
        .iter()
        .enumerate()
        .map(|(state_idx, state)| {
            let state = match lens.maps() {
                Some(maps) => maps.translate(state_idx, state.clone()),
                None => state.clone(),
            };
            state.reshape([1, n_tokens, hidden])
        })
        .collect();

    let per_token = n_states * model.vocab_size();
    let at_once = (most_logits / per_token.max(1)).clamp(1, n_tokens.max(1));
    let mut seen = Vec::new();
    for start in (0..n_tokens).step_by(at_once) {
        let n_here = at_once.min(n_tokens - start);
        let rows = states
            .iter()
            .map(|state| state.clone().narrow(1, start, n_here));
        let rows = Tensor::cat(rows.collect(), 1);
        let logits = model.logits(rows).cast(FloatDType::F32);
        let vocab_size = logits.dims()[2];
        seen.push(of_logits(
            logits.reshape([n_states, n_here, vocab_size]),
            lens.n_top(),
        ));
    }
    Ok(joined(seen))
}

/// Makes readings of the logits of all states, `[states, tokens, vocab]`.
fn of_logits(logits: Tensor<3>, n_top: usize) -> LensReadings {
    let [n_states, n_tokens, vocab_size] = logits.dims();
    let n_top = n_top.min(vocab_size);
    let logprobs = log_softmax(logits, 2).clamp_min(LOG_OF_ZERO);
    let total = |values: Tensor<3>| values.sum_dim(2).squeeze_dim::<2>(2);
    let entropy = -total(logprobs.clone().exp() * logprobs.clone());
    let last = logprobs.clone().narrow(0, n_states - 1, 1);
    let p_last = last.clone().exp();
    let kl = total(p_last * (last - logprobs.clone()));

    // As many maxima as are asked for: sorting a vocabulary takes many times as long.
    let (mut ids, mut values, mut rest) = (Vec::new(), Vec::new(), logprobs);
    for rank in 0..n_top {
        let (value, id) = rest.clone().max_dim_with_indices(2);
        if rank + 1 < n_top {
            let taken = value.full_like(f32::NEG_INFINITY);
            rest = rest.scatter(2, id.clone(), taken, IndexingUpdateOp::Add);
        }
        ids.push(id);
        values.push(value);
    }
    debug_assert_eq!(ids.len(), n_top);
    LensReadings {
        n_top,
        ids: Tensor::cat(ids, 2).reshape([n_states, n_tokens, n_top]),
        logprobs: Tensor::cat(values, 2),
        distances: Tensor::stack::<3>(vec![entropy, kl], 0),
    }
}

/// Joins the readings of some tokens with those of the tokens after them.
fn joined(mut seen: Vec<LensReadings>) -> Option<LensReadings> {
    if seen.len() < 2 {
        return seen.pop();
    }
    Some(LensReadings {
        n_top: seen[0].n_top,
        ids: Tensor::cat(seen.iter().map(|seen| seen.ids.clone()).collect(), 1),
        logprobs: Tensor::cat(seen.iter().map(|seen| seen.logprobs.clone()).collect(), 1),
        distances: Tensor::cat(seen.iter().map(|seen| seen.distances.clone()).collect(), 2),
    })
}

impl LensReadings {
    /// Returns what has to be read, in the order that [`record`](Self::record) expects.
    pub(crate) fn tensors(&self) -> (Tensor<3, Int>, [Tensor<3>; 2]) {
        let floats = [self.logprobs.clone(), self.distances.clone()];
        (self.ids.clone(), floats)
    }

    /// Makes a record of what was read of [`tensors`](Self::tensors).
    pub(crate) fn record(&self, read: [TensorData; 3]) -> Result<LensRecord> {
        let [ids, logprobs, distances] = read;
        let floats = |data: TensorData| {
            data.try_into_vec::<f32>()
                .map_err(|error| Error::device("reading what a lens saw", error))
        };
        let mut entropy = floats(distances)?;
        let kl = entropy.split_off(entropy.len() / 2);
        let [_, n_slots, _] = self.ids.dims();
        Ok(LensRecord {
            n_top: self.n_top,
            n_slots,
            ids: ids.iter::<u32>().collect(),
            logprobs: floats(logprobs)?,
            entropy,
            kl,
        })
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Distribution};

    use super::*;
    use crate::pass::Pass;
    use crate::stack::LayerStack;

    /// A head that is the identity.
    struct Identity(Device);

    impl LayerStack for Identity {
        type Context = ();

        fn n_layers(&self) -> usize {
            0
        }

        fn forward_layer(&self, _: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
            hidden
        }
    }

    impl CausalLm for Identity {
        fn vocab_size(&self) -> usize {
            5
        }

        fn max_context(&self) -> Option<usize> {
            None
        }

        fn device(&self) -> Device {
            self.0.clone()
        }

        fn new_context(&self, _: usize, _: usize) {}

        fn begin_pass(&self, _: &Pass, _: &mut ()) {}

        fn embed(&self, token_ids: Tensor<2, Int>, _: &()) -> Tensor<3> {
            token_ids.float().unsqueeze_dim::<3>(2)
        }

        fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
            hidden
        }
    }

    /// However many tokens go through the head at a time, the same is seen.
    #[test]
    fn logits_in_pieces_are_those_at_once() {
        let device = Device::flex();
        let model = Identity(device.clone());
        let states: Vec<Tensor<3>> = (0..3)
            .map(|_| Tensor::random([2, 7, 5], Distribution::Normal(0.0, 3.0), &device))
            .collect();
        let lens = Lens::new(2).unwrap();
        let seen = |most_logits| {
            let seen = look(&model, &states, &lens, most_logits).unwrap().unwrap();
            let (ids, [logprobs, distances]) = seen.tensors();
            seen.record([ids.into_data(), logprobs.into_data(), distances.into_data()])
                .unwrap()
        };
        let at_once = seen(MOST_LOGITS);
        assert_eq!((at_once.n_slots, at_once.n_states()), (14, 3));
        for most_logits in [0, 1, 15, 44, 45, 200] {
            assert_eq!(seen(most_logits), at_once, "{most_logits}");
        }
    }
}
