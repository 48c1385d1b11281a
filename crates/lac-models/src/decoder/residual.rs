//! How a sublayer's outputs are added to the residual stream.

use burn::tensor::{DType, Tensor};

use super::cast::cast;
use super::norm::DecoderNorm;

/// A residual connection: the outputs are normed, multiplied and added.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResidualAdd<'a> {
    pub(super) norm: Option<&'a DecoderNorm>,
    pub(super) multiplier: f64,
}

impl ResidualAdd<'_> {
    /// Adds a sublayer's outputs to the residual stream, `[batch, seq, hidden]` both.
    pub(super) fn add(self, hidden: Tensor<3>, outputs: Tensor<3>) -> Tensor<3> {
        if lac_kernels::has_cpu_kernel(&hidden)
            && let Some(residual) = self.as_kernel()
            && let Some(sum) = lac_kernels::add_outputs(&hidden, &outputs, &residual)
        {
            return sum;
        }
        let outputs = DecoderNorm::forward_optional(self.norm, outputs);
        hidden + scaled(outputs, self.multiplier)
    }

    pub(super) fn as_kernel(self) -> Option<lac_kernels::Residual> {
        Some(lac_kernels::Residual {
            norm: DecoderNorm::optional_kernel(self.norm)?,
            multiplier: self.multiplier as f32,
        })
    }
}

/// Multiplies in f32, whatever the data type: burn would round the number to the tensor's.
pub(super) fn scaled<const D: usize>(tensor: Tensor<D>, multiplier: f64) -> Tensor<D> {
    if multiplier == 1.0 {
        return tensor;
    }
    let dtype = tensor.dtype();
    cast(cast(tensor, DType::F32) * multiplier, dtype)
}

/// Bounds values softly, `cap · tanh(value / cap)`, in f32.
pub(super) fn soft_capped<const D: usize>(tensor: Tensor<D>, cap: f64) -> Tensor<D> {
    if lac_kernels::has_cpu_kernel(&tensor) {
        return lac_kernels::soft_cap(tensor, cap as f32);
    }
    let dtype = tensor.dtype();
    cast((cast(tensor, DType::F32) / cap).tanh() * cap, dtype)
}
