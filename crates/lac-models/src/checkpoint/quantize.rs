//! Quantises values in files to blocks in memory, a piece at a time.

use std::sync::Arc;

use half::{bf16, f16};
use lac_kernels::quantized::{BlockFormat, QuantizedError, QuantizedMatrix};
use safetensors::tensor::Dtype;

use super::hash::{PIECE_BYTES, TensorHash, hash_pieces};
use super::values::{ReadBytes, Unusable, place};

/// Reads, hashes, checks and quantises `n_bytes` bytes of values. Rows are whole numbers of blocks.
pub(super) fn quantize(
    read: impl ReadBytes,
    n_bytes: usize,
    from: Dtype,
    shape: [usize; 2],
    format: BlockFormat,
) -> Result<(QuantizedMatrix, TensorHash), Unusable> {
    match from {
        Dtype::F32 => blocks(read, n_bytes, f32::from_le_bytes, shape, format),
        Dtype::F16 => {
            let value = |bytes: [u8; 2]| f16::from_le_bytes(bytes).to_f32();
            blocks(read, n_bytes, value, shape, format)
        }
        Dtype::BF16 => {
            let value = |bytes: [u8; 2]| bf16::from_le_bytes(bytes).to_f32();
            blocks(read, n_bytes, value, shape, format)
        }
        Dtype::F64 => {
            let value = |bytes: [u8; 8]| f64::from_le_bytes(bytes) as f32;
            blocks(read, n_bytes, value, shape, format)
        }
        _ => Err(Unusable::Dtype),
    }
}

fn blocks<const N: usize>(
    read: impl ReadBytes,
    n_bytes: usize,
    value: impl Fn([u8; N]) -> f32 + Sync,
    shape: [usize; 2],
    format: BlockFormat,
) -> Result<(QuantizedMatrix, TensorHash), Unusable> {
    // A piece is a whole number of blocks: both are powers of two.
    let n_values = PIECE_BYTES / N;
    let n_block_bytes = |n_values: usize| n_values / format.block_len() * format.block_bytes();
    let mut blocks = vec![0; n_block_bytes(n_bytes / N)];
    let pieces = blocks.chunks_mut(n_block_bytes(n_values));
    let hash = hash_pieces(pieces, n_bytes, |piece_idx, piece, hasher| {
        let start = piece_idx * PIECE_BYTES;
        let mut bytes = vec![0; PIECE_BYTES.min(n_bytes - start)];
        read(start, &mut bytes).map_err(Unusable::File)?;
        hasher.update(&bytes);
        let values = bytes.as_chunks::<N>().0.iter();
        let values: Vec<f32> = values.map(|&bytes| value(bytes)).collect();
        let quantized = QuantizedMatrix::quantize(format, [1, values.len()], &values);
        let quantized = quantized.map_err(|error| fault(error, start / N, &shape))?;
        piece.copy_from_slice(quantized.bytes());
        Ok(())
    })?;
    let matrix = QuantizedMatrix::new(format, shape, Arc::new(blocks), 0);
    Ok((matrix.map_err(Unusable::Blocks)?, hash))
}

/// Names the value of a piece that cannot be quantised; `start` is the number of the piece's first value.
fn fault(error: QuantizedError, start: usize, shape: &[usize]) -> Unusable {
    match error {
        QuantizedError::Unrepresentable { index, value, .. } => {
            let at = place(start + index, shape);
            if value.is_finite() {
                let value = value.into();
                Unusable::TooLarge { at, value }
            } else {
                Unusable::NotFinite { at, value }
            }
        }
        other => Unusable::Blocks(other),
    }
}
