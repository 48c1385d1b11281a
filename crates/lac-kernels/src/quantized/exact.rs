//! Products of activations in f32 with dequantised weights, some rows and columns of them at a time.

use std::ops::Range;

use super::dequantize::dequantize;
use super::instructions::Instructions;
use super::matrix::QuantizedMatrix;
use crate::cpu::dot::{BLOCK, Dot, ReadFrom, Rows};

/// Rows of weights that are dequantised together: they stay in a cache while the inputs pass.
const TILE: usize = 24;

/// Inputs that pass a tile at a time, which stay in a cache while they do.
const MAX_INPUTS: usize = 32;

/// The product of some rows of a matrix with every input of `[inputs, in]`, written to `outputs` `[inputs, rows]`.
///
/// Columns are cut where the sums of f32 products are, so the bits are theirs.
pub(super) fn products(
    matrix: &QuantizedMatrix,
    rows: Range<usize>,
    inputs: &[f32],
    outputs: &mut [f32],
) {
    let [_, width] = matrix.dims();
    let (n_inputs, stride) = (inputs.len() / width, rows.len());
    let format = matrix.format();
    let instructions = Instructions::best();
    let mut weights = vec![0.0; TILE.min(rows.len()) * BLOCK.min(width)];
    let mut totals = vec![0.0; MAX_INPUTS.min(n_inputs) * TILE];
    for first in (0..rows.len()).step_by(TILE) {
        let n_rows = TILE.min(rows.len() - first);
        for start in (0..width).step_by(BLOCK) {
            let columns = start..(start + BLOCK).min(width);
            let weights = &mut weights[..n_rows * columns.len()];
            for (row, weights) in weights.chunks_exact_mut(columns.len()).enumerate() {
                let row = rows.start + first + row;
                let bytes = matrix.column_bytes(row, columns.clone());
                dequantize(format, instructions, bytes, weights);
            }
            let weights = Rows::new(weights, columns.len(), columns.len(), n_rows);
            for first_input in (0..n_inputs).step_by(MAX_INPUTS) {
                let n_inputs = MAX_INPUTS.min(n_inputs - first_input);
                let inputs = &inputs[first_input * width + start..];
                let inputs = Rows::new(inputs, width, columns.len(), n_inputs);
                f32::products(weights, inputs, ReadFrom::Cache, &mut totals, n_rows);
                for (input, totals) in totals.chunks_exact(n_rows).take(n_inputs).enumerate() {
                    let outputs = &mut outputs[(first_input + input) * stride + first..][..n_rows];
                    for (output, total) in outputs.iter_mut().zip(totals) {
                        *output = if start == 0 { *total } else { *output + total };
                    }
                }
            }
        }
    }
}
