//! Reads the values of a tensor of a GGUF file, row by row.

use std::sync::Arc;

use burn::tensor::{Element, TensorData};
use half::{bf16, f16};
use lac_kernels::quantized::{BlockFormat, QuantizedError, QuantizedMatrix};

use super::container::Container;
use super::error::GgufError;
use super::tensor_info::TensorInfo;
use crate::checkpoint::WeightDtype;
use crate::checkpoint::hash::{PIECE_BYTES, TensorHash, hash_pieces};
use crate::file::excerpt;

/// A tensor where it lies in its file.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredTensor<'a> {
    pub(super) name: &'a str,
    pub(super) container: &'a Container,
    pub(super) info: &'a TensorInfo,
}

impl StoredTensor<'_> {
    /// Reads the tensor, hashes its bytes and converts its values, which are those that ggml defines. At any time, some
    /// rows are there twice at most.
    pub(super) fn values(&self, dtype: WeightDtype) -> Result<(TensorData, TensorHash), GgufError> {
        match dtype {
            WeightDtype::F32 => self.converted(dtype, |value| value, f32::is_finite),
            WeightDtype::F16 => self.converted(dtype, f16::from_f32, f16::is_finite),
            WeightDtype::Bf16 => self.converted(dtype, bf16::from_f32, bf16::is_finite),
        }
    }

    /// Reads the tensor as it is, hashes its bytes and checks that its values are finite.
    pub(super) fn bytes(&self) -> Result<(Vec<u8>, TensorHash), GgufError> {
        let rows = self.rows();
        let mut bytes = vec![0; rows.count * rows.bytes];
        let pieces = bytes.chunks_mut(rows.per_piece * rows.bytes);
        let hash = hash_pieces(pieces, self.n_bytes(), |piece_idx, piece, hasher| {
            let first_row = piece_idx * rows.per_piece;
            self.read(first_row, piece)?;
            hasher.update(piece);
            self.for_each_row(piece.to_vec(), |row, values| {
                self.check(first_row + row, values, WeightDtype::F32, f32::is_finite)
            })
        })?;
        Ok((bytes, hash))
    }

    /// Reads a matrix, hashes its bytes and quantises its values to blocks of which its rows are a whole number. At any
    /// time, some rows are there twice at most.
    pub(super) fn quantize(&self, format: BlockFormat) -> Result<(Vec<u8>, TensorHash), GgufError> {
        let rows = self.rows();
        let row_bytes = rows.width / format.block_len() * format.block_bytes();
        let mut blocks = vec![0; rows.count * row_bytes];
        let pieces = blocks.chunks_mut(rows.per_piece * row_bytes);
        let hash = hash_pieces(pieces, self.n_bytes(), |piece_idx, piece, hasher| {
            let first_row = piece_idx * rows.per_piece;
            let mut bytes = vec![0; piece.len() / row_bytes * rows.bytes];
            self.read(first_row, &mut bytes)?;
            hasher.update(&bytes);
            self.for_each_row(bytes, |row, values| {
                let quantized = QuantizedMatrix::quantize(format, [1, rows.width], values);
                let quantized =
                    quantized.map_err(|error| self.not_quantised(error, first_row + row))?;
                piece[row * row_bytes..][..row_bytes].copy_from_slice(quantized.bytes());
                Ok(())
            })
        })?;
        Ok((blocks, hash))
    }

    /// Names the value of a row that cannot be quantised.
    fn not_quantised(&self, error: QuantizedError, row: usize) -> GgufError {
        let (path, name) = (self.container.path.clone(), excerpt(self.name));
        match error {
            QuantizedError::Unrepresentable { index, value, .. } if !value.is_finite() => {
                let at = self.place(row, index);
                GgufError::NotFinite {
                    path,
                    name,
                    at,
                    value,
                }
            }
            other => GgufError::Tensor {
                path,
                name,
                problem: format!("cannot be quantised: row {row}: {other}"),
            },
        }
    }

    /// Hashes the tensor's bytes without keeping them.
    pub(super) fn hash(&self) -> Result<TensorHash, GgufError> {
        let rows = self.rows();
        let first_rows = (0..rows.count).step_by(rows.per_piece);
        hash_pieces(first_rows, self.n_bytes(), |_, first_row, hasher| {
            let n_rows = rows.per_piece.min(rows.count - first_row);
            let mut piece = vec![0; n_rows * rows.bytes];
            self.read(first_row, &mut piece)?;
            hasher.update(&piece);
            Ok(())
        })
    }

    fn converted<T: Element>(
        &self,
        dtype: WeightDtype,
        convert: impl Fn(f32) -> T + Sync,
        is_finite: impl Fn(T) -> bool + Sync,
    ) -> Result<(TensorData, TensorHash), GgufError> {
        let rows = self.rows();
        let mut values = vec![convert(0.0); rows.count * rows.width];
        let pieces = values.chunks_mut(rows.per_piece * rows.width);
        let hash = hash_pieces(pieces, self.n_bytes(), |piece_idx, piece, hasher| {
            let first_row = piece_idx * rows.per_piece;
            let mut bytes = vec![0; piece.len() / rows.width * rows.bytes];
            self.read(first_row, &mut bytes)?;
            hasher.update(&bytes);
            self.for_each_row(bytes, |row, values| {
                self.check(first_row + row, values, dtype, |value| {
                    is_finite(convert(value))
                })?;
                let converted = &mut piece[row * rows.width..][..rows.width];
                for (converted, &value) in converted.iter_mut().zip(values) {
                    *converted = convert(value);
                }
                Ok(())
            })
        })?;
        Ok((TensorData::new(values, self.info.shape.clone()), hash))
    }

    /// Calls `work` for every row of a piece's bytes, with the row's number in the piece and its values.
    fn for_each_row(
        &self,
        bytes: Vec<u8>,
        mut work: impl FnMut(usize, &[f32]) -> Result<(), GgufError>,
    ) -> Result<(), GgufError> {
        let rows = self.rows();
        let n_rows = bytes.len() / rows.bytes;
        let mut values = vec![0.0; rows.width];
        let shape = [n_rows, rows.width];
        let matrix =
            QuantizedMatrix::new(self.info.format, shape, Arc::new(bytes), 0).map_err(|error| {
                GgufError::Tensor {
                    path: self.container.path.clone(),
                    name: excerpt(self.name),
                    problem: format!("cannot be read: {error}"),
                }
            })?;
        for row in 0..n_rows {
            matrix.dequantize_row(row, &mut values);
            work(row, &values)?;
        }
        Ok(())
    }

    /// Checks that a row's values are finite, and finite after their conversion.
    fn check(
        &self,
        row: usize,
        values: &[f32],
        dtype: WeightDtype,
        is_finite: impl Fn(f32) -> bool,
    ) -> Result<(), GgufError> {
        if values
            .iter()
            .fold(true, |all, &value| all & is_finite(value))
        {
            return Ok(());
        }
        let fault = values.iter().position(|&value| !is_finite(value));
        let column = fault.unwrap_or_default();
        let (path, name) = (self.container.path.clone(), excerpt(self.name));
        let at = self.place(row, column);
        let value = values[column];
        Err(if value.is_finite() {
            GgufError::TooLarge {
                path,
                name,
                at,
                value,
                dtype: dtype.name(),
            }
        } else {
            GgufError::NotFinite {
                path,
                name,
                at,
                value,
            }
        })
    }

    /// Returns the indices of a value.
    fn place(&self, mut row: usize, column: usize) -> Vec<usize> {
        let mut at = vec![column];
        for &size in self.info.shape.iter().rev().skip(1) {
            at.push(row % size);
            row /= size;
        }
        at.reverse();
        at
    }

    fn read(&self, first_row: usize, bytes: &mut [u8]) -> Result<(), GgufError> {
        let start = first_row as u64 * self.rows().bytes as u64;
        self.container.read(self.info, start, bytes)
    }

    fn n_bytes(&self) -> usize {
        // A file that is opened is no larger than the address space can count where its tensors are read.
        self.info.n_bytes as usize
    }

    fn rows(&self) -> Rows {
        let width = self.info.shape.last().copied().unwrap_or(1);
        // Opening the file has checked that rows are whole numbers of blocks.
        let bytes = self.info.format.row_bytes(width).unwrap_or(1);
        Rows {
            count: self.n_bytes() / bytes,
            width,
            bytes,
            per_piece: (PIECE_BYTES / bytes).max(1),
        }
    }
}

/// The rows of a tensor.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    /// Values in a row.
    width: usize,
    /// Bytes of a row in the file.
    bytes: usize,
    /// Rows that are read and hashed together.
    per_piece: usize,
}
