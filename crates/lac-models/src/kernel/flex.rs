//! The operations on burn-flex: threads over rows of weights, tokens or heads.

mod attention;
mod dot;
mod fused;
mod linear;
mod norm;
mod numeric;
mod pool;
mod rotary;
#[cfg(test)]
mod tests;
mod value;

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensorKind, Flex};
use burn::tensor::{DType, Tensor, bf16, f16};

use self::value::Value;
use super::{Norm, Visible};

/// Calls a function for the data type of a tensor.
macro_rules! for_data_type {
    ($tensor:expr, |$value:ident| $call:expr) => {
        match $tensor.dtype() {
            DType::BF16 => {
                type $value = bf16;
                $call
            }
            DType::F16 => {
                type $value = f16;
                $call
            }
            _ => {
                type $value = f32;
                $call
            }
        }
    };
}

/// Whether there are kernels for a tensor's backend and data type, and anything to do.
pub(crate) fn has_kernels<const D: usize>(tensor: &Tensor<D>) -> bool {
    let has_kernel = matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16);
    has_kernel
        && !tensor.dims().contains(&0)
        // Under autodiff every float tensor is of that kind, whichever backend lies below.
        && matches!(tensor.clone().into_dispatch().kind, DispatchTensorKind::Flex(_))
}

/// Multiplies `[rows, in]` by each of the weights `[out, in]` and adds each one's bias `[out]`, where it has one:
/// `[rows, out]` for each weight.
pub(crate) fn linear<const N: usize>(
    input: Tensor<2>,
    weights: [Tensor<2>; N],
    biases: [Option<Tensor<1>>; N],
) -> [Tensor<2>; N] {
    let input = primitive(input);
    let weights = weights.map(primitive);
    let biases = biases.map(|bias| bias.map(primitive));
    for_data_type!(input, |E| linear::linear::<E, N>(input, weights, biases)).map(tensor)
}

/// `silu(gate · x) * (up · x)` of `[rows, in]`, with weights `[out, in]`: `[rows, out]`.
pub(crate) fn swiglu(input: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let (input, gate, up) = (primitive(input), primitive(gate), primitive(up));
    tensor(for_data_type!(input, |E| linear::swiglu::<E>(
        input, gate, up
    )))
}

/// Root-mean-square norm over the last axis of `[batch, seq, hidden]`.
pub(crate) fn rms_norm(hidden: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let (hidden, weight) = (primitive(hidden), primitive(weight));
    tensor(for_data_type!(hidden, |E| norm::rms_norm::<E>(
        hidden, weight, epsilon
    )))
}

/// Rotates heads `[batch, heads, seq, head_dim]` by cosines and sines `[1 or batch, 1, seq, head_dim / 2]`.
pub(crate) fn rotate(heads: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let (heads, cos, sin) = (primitive(heads), primitive(cos), primitive(sin));
    tensor(for_data_type!(heads, |E| rotary::rotate::<E>(
        heads, cos, sin
    )))
}

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values
/// `[batch, kv_heads, slots, head_dim]`: `[batch, seq, heads * head_dim]`.
pub(crate) fn attend(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    visible: &Visible,
) -> Tensor<3> {
    let (queries, keys, values) = (primitive(queries), primitive(keys), primitive(values));
    tensor(for_data_type!(queries, |E| attention::attend::<E>(
        queries, keys, values, visible
    )))
}

/// Norm, projections to queries, keys and values, and rotation of queries and keys by cosines and sines
/// `[1 or batch, 1, seq, head_dim / 2]`, from `[batch, seq, hidden]`: `[batch, seq, heads * head_dim]` each. `None` where that is not done in one pass over the tokens.
pub(crate) fn heads(
    hidden: &Tensor<3>,
    norm: Norm,
    weights: [Tensor<2>; 3],
    biases: [Option<Tensor<1>>; 3],
    rotation: [Tensor<4>; 2],
) -> Option<[Tensor<3>; 3]> {
    let has_kernels = has_kernels_of(hidden, &weights)
        && has_kernels_of(hidden, biases.iter().flatten())
        && has_kernels_of(hidden, [&norm.weight])
        && has_kernels_of(hidden, &rotation);
    has_kernels.then_some(())?;
    let hidden = primitive(hidden.clone());
    let norm_weight = primitive(norm.weight);
    let weights = weights.map(primitive);
    let biases = biases.map(|bias| bias.map(primitive));
    let rotation = rotation.map(primitive);
    let heads = for_data_type!(hidden, |E| fused::heads::<E>(
        hidden,
        norm_weight,
        norm.epsilon,
        weights,
        biases,
        rotation
    ));
    Some(heads?.map(tensor))
}

/// A linear map of `[batch, seq, in]` by a weight `[out, in]` and its bias `[out]`, added to `[batch, seq, out]`.
/// `None` where that is not done in one pass over the tokens.
pub(crate) fn add_linear(
    hidden: &Tensor<3>,
    input: &Tensor<3>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Option<Tensor<3>> {
    let has_kernels = has_kernels_of(hidden, [input])
        && has_kernels_of(hidden, [&weight])
        && has_kernels_of(hidden, &bias);
    has_kernels.then_some(())?;
    let (hidden, input) = (primitive(hidden.clone()), primitive(input.clone()));
    let (weight, bias) = (primitive(weight), bias.map(primitive));
    let sum = for_data_type!(hidden, |E| fused::add_linear::<E>(
        hidden, input, weight, bias
    ));
    sum.map(tensor)
}

/// Norm and gated MLP of weights gate, up and down, added to the residual stream `[batch, seq, hidden]`. `None` where
/// that is not done in one pass over the tokens.
pub(crate) fn add_mlp(
    hidden: &Tensor<3>,
    norm: Norm,
    weights: [Tensor<2>; 3],
) -> Option<Tensor<3>> {
    let has_kernels = has_kernels_of(hidden, &weights) && has_kernels_of(hidden, [&norm.weight]);
    has_kernels.then_some(())?;
    let hidden = primitive(hidden.clone());
    let (norm_weight, weights) = (primitive(norm.weight), weights.map(primitive));
    let sum = for_data_type!(hidden, |E| fused::add_mlp::<E>(
        hidden,
        norm_weight,
        norm.epsilon,
        weights
    ));
    sum.map(tensor)
}

/// Whether there are kernels for tensors beside a hidden state, which have its data type.
fn has_kernels_of<'a, const D: usize>(
    hidden: &Tensor<3>,
    tensors: impl IntoIterator<Item = &'a Tensor<D>>,
) -> bool {
    let dtype = hidden.dtype();
    has_kernels(hidden)
        && tensors
            .into_iter()
            .all(|tensor| tensor.dtype() == dtype && has_kernels(tensor))
}

/// The sum of some values, as fast as they can be read.
pub(crate) fn sum(values: &[f32]) -> f32 {
    numeric::sum(values)
}

fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let primitive = tensor.try_into_primitive::<Flex>();
    primitive.expect("kernels are asked for only where has_kernels says so")
}

fn tensor<const D: usize>(primitive: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive)
}

/// The tensor with its values in order, side by side; a copy only where they are not.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.layout().contiguous_offsets().is_some() {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// The values of a contiguous tensor.
fn values<E: Value>(tensor: &FlexTensor) -> &[E] {
    let start = tensor.layout().start_offset();
    &E::storage(tensor)[start..start + tensor.layout().num_elements()]
}

/// Makes the last axis contiguous where it is not: then rows can be read wherever they lie.
fn with_whole_rows(tensor: FlexTensor) -> FlexTensor {
    let last = tensor.layout().num_dims() - 1;
    if tensor.layout().shape()[last] <= 1 || tensor.layout().strides()[last] == 1 {
        tensor
    } else {
        tensor.to_contiguous()
    }
}

/// Where the row at some indices of all axes but the last starts in the storage. Axes of length 1 broadcast.
fn row_start(tensor: &FlexTensor, indices: &[usize]) -> usize {
    let layout = tensor.layout();
    // Strides are signed: a flipped view counts backwards from its offset.
    let offset = indices
        .iter()
        .zip(layout.strides())
        .zip(layout.shape().iter())
        .map(|((&index, &stride), &len)| if len == 1 { 0 } else { index as isize * stride })
        .sum::<isize>();
    (layout.start_offset() as isize + offset) as usize
}
