//! Soft bounds of logits.

use burn::backend::flex::FlexTensor;

use super::numeric;
use super::storage::{contiguous, values};
use crate::threads;
use crate::value::Value;

/// Below this many values the work is done before a second thread has woken up.
const MIN_PARALLEL_VALUES: usize = 1 << 14;

/// Values in a task.
const VALUES_PER_TASK: usize = 1 << 12;

/// `cap · tanh(value / cap)` of every value, in f32 and rounded once.
pub(super) fn soft_cap<E: Value>(input: FlexTensor, cap: f32) -> FlexTensor {
    let input = contiguous(input);
    let inputs = values::<E>(&input);
    let mut outputs = vec![E::default(); inputs.len()];
    let bound = |task: usize, outputs: &mut [E]| {
        let inputs = &inputs[task * VALUES_PER_TASK..][..outputs.len()];
        let mut bounded = E::widen_all(inputs).into_owned();
        numeric::soft_cap::<f32>(&mut bounded, 1.0, cap);
        for (output, bounded) in outputs.iter_mut().zip(bounded) {
            *output = E::narrow(bounded);
        }
    };
    if inputs.len() < MIN_PARALLEL_VALUES {
        for (task, outputs) in outputs.chunks_mut(VALUES_PER_TASK).enumerate() {
            bound(task, outputs);
        }
    } else {
        threads::for_each_chunk(&mut outputs, VALUES_PER_TASK, bound);
    }
    E::tensor(outputs, input.layout().shape().clone())
}
