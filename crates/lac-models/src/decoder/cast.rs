//! Data types of tensors.

use burn::tensor::{DType, FloatDType, Tensor};

/// Converts a tensor to a data type; a tensor that has it already is returned as it is.
pub(super) fn cast<const D: usize>(tensor: Tensor<D>, dtype: DType) -> Tensor<D> {
    if tensor.dtype() == dtype {
        return tensor;
    }
    match dtype {
        DType::F16 => tensor.cast(FloatDType::F16),
        DType::BF16 => tensor.cast(FloatDType::BF16),
        _ => tensor.cast(FloatDType::F32),
    }
}
