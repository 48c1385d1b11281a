//! What a quantised matrix is refused for.

use super::format::BlockFormat;

/// Returned if a quantised matrix cannot be made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizedError {
    /// Rows are no whole number of blocks.
    #[error("rows of {width} weights are no whole number of {format} blocks of {}", format.block_len())]
    Width {
        /// The format.
        format: BlockFormat,
        /// Weights in a row.
        width: usize,
    },
    /// The matrix has no rows, or rows of no weights.
    #[error("a matrix of {n_rows} rows of {width} weights is empty")]
    Empty {
        /// Rows.
        n_rows: usize,
        /// Weights in a row.
        width: usize,
    },
    /// The bytes end before the matrix does.
    #[error(
        "{n_rows} rows of {width} weights in {format} take {}from byte {offset} on, and {n_bytes} bytes are there",
        needed.map(|needed| format!("{needed} bytes ")).unwrap_or_else(|| "more bytes than can be counted ".into())
    )]
    Bytes {
        /// The format.
        format: BlockFormat,
        /// Rows.
        n_rows: usize,
        /// Weights in a row.
        width: usize,
        /// Where the matrix begins.
        offset: usize,
        /// Bytes that the matrix takes; `None` if their number exceeds `usize`.
        needed: Option<usize>,
        /// Bytes that are there, those before the offset included.
        n_bytes: usize,
    },
    /// The number of values is not that of the shape.
    #[error("a matrix of {n_rows} rows of {width} has not {n_values} values")]
    Values {
        /// Rows.
        n_rows: usize,
        /// Weights in a row.
        width: usize,
        /// Values that were given.
        n_values: usize,
    },
    /// This crate reads the format and does not write it.
    #[error("weights cannot be quantised to {format} here: use Q8_0 or Q4_0")]
    NoQuantizer {
        /// The format.
        format: BlockFormat,
    },
    /// A value that the format cannot hold.
    #[error("weight {index} of row {row} is {value}, which {format} cannot hold")]
    Unrepresentable {
        /// The format.
        format: BlockFormat,
        /// The value's row.
        row: usize,
        /// Its place in the row.
        index: usize,
        /// The value.
        value: f32,
    },
}
