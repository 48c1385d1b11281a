//! Quantising to Q8_0 and Q4_0 as ggml's reference does (`quantize_row_q8_0_ref` and `quantize_row_q4_0_ref` in
//! `ggml-quants.c`).

use burn::tensor::f16;

use super::error::QuantizedError;
use super::format::BlockFormat;

const LEN: usize = 32;

/// The blocks of `[out, in]` values.
pub(super) fn quantize(
    format: BlockFormat,
    [n_rows, width]: [usize; 2],
    values: &[f32],
) -> Result<Vec<u8>, QuantizedError> {
    let write = match format {
        BlockFormat::Q8_0 => q8_0,
        BlockFormat::Q4_0 => q4_0,
        _ => return Err(QuantizedError::NoQuantizer { format }),
    };
    if !width.is_multiple_of(LEN) {
        return Err(QuantizedError::Width { format, width });
    }
    if n_rows.checked_mul(width) != Some(values.len()) {
        return Err(QuantizedError::Values {
            n_rows,
            width,
            n_values: values.len(),
        });
    }
    let mut bytes = Vec::with_capacity(values.len() / LEN * format.block_bytes());
    for (block_idx, values) in values.as_chunks::<LEN>().0.iter().enumerate() {
        let largest = largest(values);
        // As the block's scale is written: what is not finite, or has no scale in f16, would come back as something
        // else.
        let scale = match format {
            BlockFormat::Q8_0 => values[largest].abs() / 127.0,
            _ => values[largest] / -8.0,
        };
        let index = values.iter().position(|value| !value.is_finite());
        let index = index.or((!f16::from_f32(scale).is_finite()).then_some(largest));
        if let Some(index) = index {
            return Err(QuantizedError::Unrepresentable {
                format,
                row: block_idx * LEN / width,
                index: block_idx * LEN % width + index,
                value: values[index],
            });
        }
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        bytes.extend(f16::from_f32(scale).to_le_bytes());
        write(values, inverse, &mut bytes);
    }
    Ok(bytes)
}

/// The first of the values with the largest magnitude.
fn largest(values: &[f32; LEN]) -> usize {
    let mut largest = 0;
    for (idx, value) in values.iter().enumerate() {
        if value.abs() > values[largest].abs() {
            largest = idx;
        }
    }
    largest
}

/// Integers from −127 to 127, ties away from zero.
fn q8_0(values: &[f32; LEN], inverse: f32, bytes: &mut Vec<u8>) {
    bytes.extend(values.map(|value| (value * inverse).round() as i8 as u8));
}

/// Integers from 0 to 15, which stand for −8 to 7. The scale has the sign that gives the largest value −8.
fn q4_0(values: &[f32; LEN], inverse: f32, bytes: &mut Vec<u8>) {
    let integers = values.map(|value| ((value * inverse + 8.5) as u8).min(15));
    let (lower, upper) = integers.split_at(LEN / 2);
    bytes.extend(
        lower
            .iter()
            .zip(upper)
            .map(|(lower, upper)| lower | (upper << 4)),
    );
}
