//! Root-mean-square norm.

use burn::backend::flex::FlexTensor;

use super::numeric::{scale_rows, scale_rows_in_f32, sum_squares};
use super::storage::{contiguous, values};
use super::sublayers::Norm;
use crate::settings::NormForm;
use crate::threads;
use crate::value::Value;

/// Below this many values the work is done before a second thread has woken up.
const MIN_PARALLEL_VALUES: usize = 1 << 15;

/// Values in a task, about.
const VALUES_PER_TASK: usize = 1 << 13;

/// `hidden / sqrt(mean(hidden²) + ε) * weight` over the last axis, the division in f32; the weight acts in its form.
pub(super) fn rms_norm<E: Value>(
    hidden: FlexTensor,
    weight: FlexTensor,
    epsilon: f64,
    form: NormForm,
) -> FlexTensor {
    let (hidden, weight) = (contiguous(hidden), contiguous(weight));
    let (states, weight) = (values::<E>(&hidden), values::<E>(&weight));
    let width = weight.len();
    let mut outputs = vec![E::default(); states.len()];
    let norm = |first: usize, outputs: &mut [E]| {
        norm_rows(&states[first * width..], weight, epsilon, form, outputs);
    };
    if states.len() < MIN_PARALLEL_VALUES {
        norm(0, &mut outputs);
    } else {
        let n_rows = (VALUES_PER_TASK / width).max(1);
        threads::for_each_chunk(&mut outputs, n_rows * width, |task, outputs| {
            norm(task * n_rows, outputs);
        });
    }
    E::tensor(outputs, hidden.layout().shape().clone())
}

impl Norm {
    /// The norms of some states or heads, side by side.
    pub(super) fn norm<E: Value>(&self, states: &[E]) -> Vec<E> {
        let mut normed = vec![E::default(); states.len()];
        let weight = values(&self.weight);
        norm_rows(states, weight, self.epsilon, self.form, &mut normed);
        normed
    }
}

/// As [`rms_norm`], of the rows that there are outputs for.
fn norm_rows<E: Value>(
    states: &[E],
    weight: &[E],
    epsilon: f64,
    form: NormForm,
    outputs: &mut [E],
) {
    let width = weight.len();
    let rows = states.chunks_exact(width);
    for (state, output) in rows.zip(outputs.chunks_exact_mut(width)) {
        let mean_square = sum_squares(state) / width as f32;
        let scale = (mean_square + epsilon as f32).sqrt().recip();
        match form {
            NormForm::Weight => scale_rows(state, scale, weight, output),
            NormForm::WeightInF32 => scale_rows_in_f32(state, scale, 0.0, weight, output),
            NormForm::OnePlusWeight => scale_rows_in_f32(state, scale, 1.0, weight, output),
        }
    }
}
