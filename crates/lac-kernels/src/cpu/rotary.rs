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

/// Rotates the first `2 * pairs` values of heads `[batch, heads, seq, head_dim]`, wherever they lie, by cosines and sines
/// `[1 or batch, 1, seq, pairs]`.
pub(super) fn rotate<E: Value>(heads: FlexTensor, cos: FlexTensor, sin: FlexTensor) -> FlexTensor {
    let (heads, cos, sin) = (
        with_whole_rows(heads),
        with_whole_rows(cos),
        with_whole_rows(sin),
    );
    let shape = heads.layout().shape().clone();
    let (n_heads, seq, head_dim) = (shape[1], shape[2], shape[3]);
    let n_pairs = cos.layout().shape()[3];
    let (from, cosines, sines) = (
        StridedRows::<E>::of(&heads),
        StridedRows::<E>::of(&cos),
        StridedRows::<E>::of(&sin),
    );
    let mut outputs = vec![E::default(); shape.num_elements()];
    let rotate = |first: usize, outputs: &mut [E]| {
        for (row, output) in (first..).zip(outputs.chunks_exact_mut(head_dim)) {
            let indices = [row / seq / n_heads, row / seq % n_heads, row % seq];
            rotate_heads(
                &from.from(indices)[..head_dim],
                head_dim,
                &cosines.from(indices)[..n_pairs],
                &sines.from(indices)[..n_pairs],
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

/// Rotates heads that lie side by side by the angles of one position. What a head holds beyond the pairs is copied.
pub(super) fn rotate_heads<E: Value>(
    heads: &[E],
    head_dim: usize,
    cos: &[E],
    sin: &[E],
    outputs: &mut [E],
) {
    let n_rotated = 2 * cos.len();
    if n_rotated == head_dim {
        return rotate_halves(heads, cos, sin, outputs);
    }
    let outputs = outputs.chunks_exact_mut(head_dim);
    for (head, output) in heads.chunks_exact(head_dim).zip(outputs) {
        let (rotated, rest) = head.split_at(n_rotated);
        let (rotated_out, rest_out) = output.split_at_mut(n_rotated);
        rotate_halves(rotated, cos, sin, rotated_out);
        rest_out.copy_from_slice(rest);
    }
}
