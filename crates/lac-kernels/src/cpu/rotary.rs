//! Rotary positions.

use burn::backend::flex::FlexTensor;

use super::attention::StridedRows;
use super::numeric::rotate_halves;
use super::storage::with_whole_rows;
use crate::threads;
use crate::value::Value;

/// Below this many values the work is done before a second thread has woken up.
const MIN_PARALLEL_VALUES: usize = 1 << 15;

/// Rows in a task.
const ROWS_PER_TASK: usize = 64;

/// Rotates heads `[batch, heads, seq, head_dim]`, wherever they lie, by cosines and sines
/// `[1 or batch, 1, seq, head_dim / 2]`.
pub(super) fn rotate<E: Value>(heads: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
    let (heads, cos, sin) = (
        with_whole_rows(heads),
        with_whole_rows(cos),
        with_whole_rows(sin),
    );
    let shape = heads.layout().shape().clone();
    let (n_heads, seq, head_dim) = (shape[1], shape[2], shape[3]);
    let (from, cosines, sines) = (
        StridedRows::<E>::of(&heads),
        StridedRows::<E>::of(&cos),
        StridedRows::<E>::of(&sin),
    );
    let mut outputs = vec![E::default(); shape.num_elements()];
    let rotate = |first: usize, outputs: &mut [E]| {
        for (row, output) in (first..).zip(outputs.chunks_exact_mut(head_dim)) {
            let indices = [row / seq / n_heads, row / seq % n_heads, row % seq];
            rotate_halves(
                &from.from(indices)[..head_dim],
                &cosines.from(indices)[..head_dim / 2],
                &sines.from(indices)[..head_dim / 2],
                output,
            );
        }
    };
    if outputs.len() < MIN_PARALLEL_VALUES {
        rotate(0, &mut outputs);
    } else {
        let chunk_len = ROWS_PER_TASK * head_dim;
        threads::for_each_chunk(&mut outputs, chunk_len, |task, outputs| {
            rotate(task * ROWS_PER_TASK, outputs);
        });
    }
    E::tensor(outputs, shape)
}
