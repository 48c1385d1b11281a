//! Root-mean-square norm.

use burn::backend::flex::FlexTensor;
use rayon::prelude::*;

use super::numeric::{scale_rows, sum_squares};
use super::value::Value;
use super::{contiguous, values};

/// Below this many values the work is done before a second thread has woken up.
const MIN_PARALLEL_VALUES: usize = 1 << 15;

/// `hidden / sqrt(mean(hidden²) + ε) * weight` over the last axis, the division in f32.
pub(super) fn rms_norm<E: Value>(
    hidden: FlexTensor,
    weight: FlexTensor,
    epsilon: f64,
) -> FlexTensor {
    let (hidden, weight) = (contiguous(hidden), contiguous(weight));
    let (states, weight) = (values::<E>(&hidden), values::<E>(&weight));
    let width = weight.len();
    let mut outputs = vec![E::default(); states.len()];
    let norm = |(state, output): (&[E], &mut [E])| {
        let mean_square = sum_squares(state) / width as f32;
        let scale = (mean_square + epsilon as f32).sqrt().recip();
        scale_rows(state, scale, weight, output);
    };
    if states.len() < MIN_PARALLEL_VALUES {
        let rows = states
            .chunks_exact(width)
            .zip(outputs.chunks_exact_mut(width));
        rows.for_each(norm);
    } else {
        let rows = states
            .par_chunks_exact(width)
            .zip(outputs.par_chunks_exact_mut(width));
        rows.for_each(norm);
    }
    E::tensor(outputs, hidden.layout().shape().clone())
}
