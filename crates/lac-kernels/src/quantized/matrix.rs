//! A matrix of quantised weights.

use std::fmt::{Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;

use super::dequantize::dequantize;
use super::error::QuantizedError;
use super::format::BlockFormat;
use super::instructions::Instructions;
use super::quantize::quantize;

/// Bytes that several matrices can share: an `Arc` of whatever holds them.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A weight `[out, in]` in blocks, row after row.
#[derive(Clone)]
pub struct QuantizedMatrix {
    format: BlockFormat,
    n_rows: usize,
    width: usize,
    bytes: SharedBytes,
    range: Range<usize>,
}

impl QuantizedMatrix {
    /// Makes a matrix of `[out, in]` weights whose blocks begin at byte `offset`. The bytes are shared, not copied.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};
    ///
    /// // A scale of 1 (f16) and 32 integers of 8 bits, after two bytes of something else.
    /// let mut bytes = vec![9, 9, 0x00, 0x3c];
    /// bytes.extend([7; 32]);
    /// let matrix = QuantizedMatrix::new(BlockFormat::Q8_0, [1, 32], Arc::new(bytes), 2)?;
    /// assert_eq!(matrix.dequantize_rows(0..1), [7.0; 32]);
    /// # Ok::<(), lac_kernels::quantized::QuantizedError>(())
    /// ```
    ///
    /// # Errors
    /// [`QuantizedError::Width`] where rows are no whole number of blocks, [`QuantizedError::Empty`] for an empty
    /// matrix, and [`QuantizedError::Bytes`] where the bytes end too early.
    pub fn new(
        format: BlockFormat,
        [n_rows, width]: [usize; 2],
        bytes: SharedBytes,
        offset: usize,
    ) -> Result<Self, QuantizedError> {
        if n_rows == 0 || width == 0 {
            return Err(QuantizedError::Empty { n_rows, width });
        }
        if !width.is_multiple_of(format.block_len()) {
            return Err(QuantizedError::Width { format, width });
        }
        let n_bytes = (*bytes).as_ref().len();
        let needed = format
            .row_bytes(width)
            .and_then(|row| row.checked_mul(n_rows));
        let end = needed.and_then(|needed| needed.checked_add(offset));
        let Some(end) = end.filter(|&end| end <= n_bytes) else {
            return Err(QuantizedError::Bytes {
                format,
                n_rows,
                width,
                offset,
                needed,
                n_bytes,
            });
        };
        Ok(Self {
            format,
            n_rows,
            width,
            bytes,
            range: offset..end,
        })
    }

    /// Quantises `[out, in]` values, row after row, as ggml's reference quantiser does, to the bit.
    ///
    /// # Errors
    /// [`QuantizedError::NoQuantizer`] for formats other than Q8_0 and Q4_0, [`QuantizedError::Unrepresentable`] for a
    /// value that is not finite or whose block's scale overflows f16, [`QuantizedError::Values`] for another number of
    /// values, and the errors of [`new`](Self::new).
    pub fn quantize(
        format: BlockFormat,
        shape: [usize; 2],
        values: &[f32],
    ) -> Result<Self, QuantizedError> {
        let bytes = quantize(format, shape, values)?;
        Self::new(format, shape, Arc::new(bytes), 0)
    }

    /// Returns the format of the blocks.
    pub fn format(&self) -> BlockFormat {
        self.format
    }

    /// Returns `[out, in]`.
    pub fn dims(&self) -> [usize; 2] {
        [self.n_rows, self.width]
    }

    /// Returns the blocks of all rows.
    pub fn bytes(&self) -> &[u8] {
        &(*self.bytes).as_ref()[self.range.clone()]
    }

    /// Returns some of the rows as a matrix of their own, which shares the bytes.
    ///
    /// # Panics
    /// If there are fewer rows, or the range is empty.
    pub fn rows(&self, rows: Range<usize>) -> Self {
        assert!(
            !rows.is_empty() && rows.end <= self.n_rows,
            "rows {rows:?} of {}",
            self.n_rows
        );
        let row = self.range.len() / self.n_rows;
        let start = self.range.start;
        Self {
            n_rows: rows.len(),
            bytes: Arc::clone(&self.bytes),
            range: start + rows.start * row..start + rows.end * row,
            ..*self
        }
    }

    /// Copies matrices of one format and width into one, below each other.
    ///
    /// # Panics
    /// If there is none, or their formats or widths differ.
    pub fn below_each_other<'a>(matrices: impl Iterator<Item = &'a Self>) -> Self {
        let mut bytes = Vec::new();
        let (mut n_rows, mut first) = (0, None);
        for matrix in matrices {
            let first: &Self = first.get_or_insert(matrix);
            let is_alike = matrix.format == first.format && matrix.width == first.width;
            assert!(is_alike, "matrices of one format and width");
            bytes.extend_from_slice(matrix.bytes());
            n_rows += matrix.n_rows;
        }
        let first = first.expect("a matrix or more");
        Self {
            n_rows,
            range: 0..bytes.len(),
            bytes: Arc::new(bytes),
            ..*first
        }
    }

    /// Returns the blocks of some rows.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn row_bytes(&self, rows: Range<usize>) -> &[u8] {
        let row = self.range.len() / self.n_rows;
        &self.bytes()[rows.start * row..rows.end * row]
    }

    /// The blocks of some columns of a row, whole blocks of it.
    #[cfg(feature = "flex")]
    pub(super) fn column_bytes(&self, row: usize, columns: Range<usize>) -> &[u8] {
        let per_block = |columns| columns / self.format.block_len() * self.format.block_bytes();
        &self.row_bytes(row..row + 1)[per_block(columns.start)..per_block(columns.end)]
    }

    /// Writes the values of a row, `[in]`.
    ///
    /// # Panics
    /// If there is no such row, or the place is not as long as a row.
    pub fn dequantize_row(&self, row: usize, values: &mut [f32]) {
        assert_eq!(values.len(), self.width, "a row's width");
        let bytes = self.row_bytes(row..row + 1);
        dequantize(self.format, Instructions::best(), bytes, values);
    }

    /// Returns the values of some rows, `[rows, in]`.
    ///
    /// # Panics
    /// If there are fewer rows.
    pub fn dequantize_rows(&self, rows: Range<usize>) -> Vec<f32> {
        let mut values = vec![0.0; rows.len() * self.width];
        let bytes = self.row_bytes(rows);
        dequantize(self.format, Instructions::best(), bytes, &mut values);
        values
    }
}

impl Debug for QuantizedMatrix {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuantizedMatrix")
            .field("format", &self.format)
            .field("dims", &self.dims())
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}
