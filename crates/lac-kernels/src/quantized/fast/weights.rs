//! Rows of quantised weights.

/// Some rows of a matrix: whole rows of blocks.
#[derive(Clone, Copy)]
pub(in crate::quantized) struct WeightRows<'a> {
    bytes: &'a [u8],
    n_rows: usize,
}

impl<'a> WeightRows<'a> {
    /// `n_rows` rows, side by side in `bytes`.
    pub(in crate::quantized) fn new(bytes: &'a [u8], n_rows: usize) -> Self {
        Self { bytes, n_rows }
    }

    pub(super) fn len(&self) -> usize {
        self.n_rows
    }

    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &'a [u8] {
        let n_bytes = self.bytes.len() / self.n_rows;
        &self.bytes[row * n_bytes..(row + 1) * n_bytes]
    }
}
