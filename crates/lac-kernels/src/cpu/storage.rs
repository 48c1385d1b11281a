//! Where a tensor's values lie in its storage.

use burn::backend::flex::FlexTensor;

use crate::value::Value;

/// The tensor with its values in order, side by side; a copy only where they are not.
pub(super) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().contiguous_offsets().is_some() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The values of a contiguous tensor.
pub(super) fn values<E: Value>(tensor: &FlexTensor) -> &[E] {
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
