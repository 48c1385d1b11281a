//! Outputs of a sublayer, added to the residual stream.

use burn::backend::flex::FlexTensor;

use super::numeric::{add_rows, multiply_rows};
use super::storage::{contiguous, values};
use super::sublayers::Residual;
use crate::threads;
use crate::value::Value;

/// Below this many values the work is done before a second thread has woken up.
const MIN_PARALLEL_VALUES: usize = 1 << 15;

/// Values in a task, about.
const VALUES_PER_TASK: usize = 1 << 13;

/// The residual stream `[batch, seq, hidden]` with the outputs of a sublayer for it, of the same shape.
pub(super) fn add_outputs<E: Value>(
    hidden: FlexTensor,
    outputs: FlexTensor,
    residual: &Residual,
) -> FlexTensor {
    let shape = hidden.layout().shape().clone();
    let width = shape[2];
    let (hidden, outputs) = (contiguous(hidden), contiguous(outputs));
    let (states, outputs) = (values::<E>(&hidden), values::<E>(&outputs));
    let mut sums = outputs.to_vec();
    if sums.len() < MIN_PARALLEL_VALUES {
        residual.add(states, &mut sums);
    } else {
        let chunk_len = (VALUES_PER_TASK / width).max(1) * width;
        threads::for_each_chunk(&mut sums, chunk_len, |task, sums| {
            residual.add(&states[task * chunk_len..][..sums.len()], sums);
        });
    }
    E::tensor(sums, shape)
}

impl Residual {
    /// Adds the states of some tokens to a sublayer's outputs for them, which are normed and multiplied first.
    pub(super) fn add<E: Value>(&self, states: &[E], outputs: &mut [E]) {
        if let Some(norm) = &self.norm {
            outputs.copy_from_slice(&norm.norm(outputs));
        }
        if self.multiplier != 1.0 {
            multiply_rows(outputs, self.multiplier);
        }
        add_rows(states, outputs);
    }
}
