//! Where a tensor's values lie in its storage, and which tensors the kernels take.

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensorKind, Flex};
use burn::tensor::{DType, Tensor};

use crate::value::Value;

/// Returns whether the kernels take a tensor: it lies on burn-flex, is f32, f16 or bf16, is not followed by autodiff
/// and is not empty.
pub fn has_cpu_kernel<const D: usize>(tensor: &Tensor<D>) -> bool {
    let has_kernel = matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16);
    has_kernel
        && !tensor.dims().contains(&0)
        // Under autodiff every float tensor is of that kind, whichever backend lies below.
        && matches!(tensor.clone().into_dispatch().kind, DispatchTensorKind::Flex(_))
}

/// burn-flex's own tensor. Panics where [`has_cpu_kernel`] is false.
pub(crate) fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let primitive = tensor.try_into_primitive::<Flex>();
    primitive.expect("kernels are asked for only where has_cpu_kernel says so")
}

/// The tensor with its values in order, side by side; a copy only where they are not.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().contiguous_offsets().is_some() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The values of a contiguous tensor.
pub(crate) fn values<E: Value>(tensor: &FlexTensor) -> &[E] {
    let start = tensor.layout().start_offset();
    &E::storage(tensor)[start..start + tensor.layout().num_elements()]
}

/// Makes the last axis contiguous where it is not: then rows can be read wherever they lie.
pub(super) fn with_whole_rows(tensor: FlexTensor) -> FlexTensor {
    let last = tensor.layout().num_dims() - 1;
    if tensor.layout().shape()[last] <= 1 || tensor.layout().strides()[last] == 1 {
        tensor
    } else {
        tensor.to_contiguous()
    }
}
