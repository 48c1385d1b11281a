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
use super::{GatedMlp, LinearMap, Norm, ToHeads, Visible};

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

/// Queries, keys and values `[batch, seq, heads * head_dim]` of `[batch, seq, hidden]`. `None` where that is not done
/// in one pass over the tokens.
pub(crate) fn heads(hidden: &Tensor<3>, to_heads: ToHeads) -> Option<[Tensor<3>; 3]> {
    let to_heads = fused_heads(hidden, to_heads)?;
    let hidden = primitive(hidden.clone());
    let heads = for_data_type!(hidden, |E| fused::heads::<E>(hidden, to_heads));
    Some(heads?.map(tensor))
}

/// A linear map of `[batch, seq, in]`, added to the residual stream `[batch, seq, hidden]`. `None` where that is not
/// done in one pass over the tokens.
pub(crate) fn add_linear(
    hidden: &Tensor<3>,
    input: &Tensor<3>,
    linear: LinearMap,
) -> Option<Tensor<3>> {
    let linear = fused_linear(hidden, linear)?;
    has_kernels_of(hidden, [input]).then_some(())?;
    let (hidden, input) = (primitive(hidden.clone()), primitive(input.clone()));
    let sum = for_data_type!(hidden, |E| fused::add_linear::<E>(hidden, input, linear));
    sum.map(tensor)
}

/// Norm and gated MLP, added to the residual stream `[batch, seq, hidden]`. `None` where that is not done in one pass
/// over the tokens.
pub(crate) fn add_mlp(hidden: &Tensor<3>, mlp: GatedMlp) -> Option<Tensor<3>> {
    let mlp = fused_mlp(hidden, mlp)?;
    let hidden = primitive(hidden.clone());
    let sum = for_data_type!(hidden, |E| fused::add_mlp::<E>(hidden, mlp));
    sum.map(tensor)
}

/// A whole layer for sequences that begin with this pass: the residual stream `[batch, seq, hidden]` after it, and
/// keys and values `[batch, seq, kv_heads * head_dim]`. `None` where that is not done in one pass over the tokens.
pub(crate) fn layer(
    hidden: &Tensor<3>,
    to_heads: ToHeads,
    output: LinearMap,
    mlp: GatedMlp,
    visible: &Visible,
) -> Option<[Tensor<3>; 3]> {
    let to_heads = fused_heads(hidden, to_heads)?;
    let output = fused_linear(hidden, output)?;
    let mlp = fused_mlp(hidden, mlp)?;
    let hidden = primitive(hidden.clone());
    let outputs = for_data_type!(hidden, |E| fused::layer::<E>(
        hidden, to_heads, output, mlp, visible
    ));
    Some(outputs?.map(tensor))
}

fn fused_heads(hidden: &Tensor<3>, to_heads: ToHeads) -> Option<fused::ToHeads> {
    let has_kernels = has_kernels_of(hidden, &to_heads.weights)
        && has_kernels_of(hidden, to_heads.biases.iter().flatten())
        && has_kernels_of(hidden, &to_heads.rotation);
    has_kernels.then_some(())?;
    Some(fused::ToHeads {
        norm: fused_norm(hidden, to_heads.norm)?,
        weights: to_heads.weights.map(whole),
        biases: to_heads.biases.map(|bias| bias.map(whole)),
        rotation: to_heads
            .rotation
            .map(|angles| with_whole_rows(primitive(angles))),
    })
}

fn fused_linear(hidden: &Tensor<3>, linear: LinearMap) -> Option<fused::Linear> {
    let has_kernels =
        has_kernels_of(hidden, [&linear.weight]) && has_kernels_of(hidden, &linear.bias);
    has_kernels.then(|| fused::Linear {
        weight: whole(linear.weight),
        bias: linear.bias.map(whole),
    })
}

fn fused_mlp(hidden: &Tensor<3>, mlp: GatedMlp) -> Option<fused::Mlp> {
    has_kernels_of(hidden, &mlp.weights).then_some(())?;
    Some(fused::Mlp {
        norm: fused_norm(hidden, mlp.norm)?,
        weights: mlp.weights.map(whole),
    })
}

fn fused_norm(hidden: &Tensor<3>, norm: Norm) -> Option<fused::Norm> {
    has_kernels_of(hidden, [&norm.weight]).then(|| fused::Norm {
        weight: whole(norm.weight),
        epsilon: norm.epsilon,
    })
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

fn whole<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    contiguous(primitive(tensor))
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
