//! Matrices of quantised weights as GGUF files hold them: blocks of integers with scales.
//!
//! A [`QuantizedMatrix`] keeps its bytes as they were read and shares them; nothing here widens a matrix as a whole.
//! [`QuantizedMatrix::dequantize_row`] gives the values of a row, to the bit as ggml defines them for its
//! [`BlockFormat`]; the integers, scales and operations are those of `dequantize_row_*` in ggml's `ggml-quants.c`,
//! without fused multiply-add.
//!
//! ```
//! use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};
//!
//! let values: Vec<f32> = (0..64).map(|idx| idx as f32 - 20.0).collect();
//! // Two rows of one block each, which takes 34 bytes.
//! let matrix = QuantizedMatrix::quantize(BlockFormat::Q8_0, [2, 32], &values)?;
//! assert_eq!(matrix.bytes().len(), 68);
//!
//! let mut row = [0.0; 32];
//! matrix.dequantize_row(1, &mut row);
//! assert!((row[0] - 12.0).abs() < 0.2);
//! # Ok::<(), lac_kernels::quantized::QuantizedError>(())
//! ```

pub use activations::Activations;
pub use error::QuantizedError;
pub use format::{BlockFormat, UnknownFormat};
pub use matrix::{QuantizedMatrix, SharedBytes};
#[cfg(feature = "flex")]
pub use operations::{gated_linear, linear};
#[cfg(not(feature = "flex"))]
pub use stub::{gated_linear, linear};

mod activations;
mod blocks;
mod dequantize;
mod error;
#[cfg(feature = "flex")]
mod exact;
#[cfg(feature = "flex")]
mod fast;
mod format;
mod instructions;
mod matrix;
#[cfg(feature = "flex")]
mod operations;
mod quantize;
#[cfg(not(feature = "flex"))]
mod stub;
#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests;
