//! The operations on burn-flex: threads over rows of weights, tokens or heads.

mod attention;
mod dot;
mod fused;
mod linear;
mod norm;
mod numeric;
mod rotary;
mod storage;
#[cfg(test)]
mod tests;

use burn::backend::flex::FlexTensor;
use burn::backend::{DispatchTensorKind, Flex};
use burn::tensor::{DType, Tensor, bf16, f16};

use self::storage::{contiguous, with_whole_rows};
use crate::slots::AttendedSlots;
use crate::sublayers::{GatedMlp, LinearMap, Norm, QkvProjection};

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
pub fn has_cpu_kernel<const D: usize>(tensor: &Tensor<D>) -> bool {
    let has_kernel = matches!(tensor.dtype(), DType::F32 | DType::F16 | DType::BF16);
    has_kernel
        && !tensor.dims().contains(&0)
        // Under autodiff every float tensor is of that kind, whichever backend lies below.
        && matches!(tensor.clone().into_dispatch().kind, DispatchTensorKind::Flex(_))
}

/// Multiplies `[rows, in]` by each of the weights `[out, in]` and adds each one's bias `[out]`, where it has one:
/// `[rows, out]` for each weight.
///
/// # Panics
/// For tensors of which [`has_cpu_kernel`] is false.
pub fn linear<const N: usize>(
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
///
/// # Panics
/// For tensors of which [`has_cpu_kernel`] is false.
pub fn swiglu(input: Tensor<2>, gate: Tensor<2>, up: Tensor<2>) -> Tensor<2> {
    let (input, gate, up) = (primitive(input), primitive(gate), primitive(up));
    tensor(for_data_type!(input, |E| linear::swiglu::<E>(
        input, gate, up
    )))
}

/// Root-mean-square norm over the last axis of `[batch, seq, hidden]`.
///
/// # Panics
/// For tensors of which [`has_cpu_kernel`] is false.
pub fn rms_norm(hidden: Tensor<3>, weight: Tensor<1>, epsilon: f64) -> Tensor<3> {
    let (hidden, weight) = (primitive(hidden), primitive(weight));
    tensor(for_data_type!(hidden, |E| norm::rms_norm::<E>(
        hidden, weight, epsilon
    )))
}

/// Rotates heads `[batch, heads, seq, head_dim]` by cosines and sines `[1 or batch, 1, seq, head_dim / 2]`.
///
/// # Panics
/// For tensors of which [`has_cpu_kernel`] is false.
pub fn rotate(heads: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let (heads, cos, sin) = (primitive(heads), primitive(cos), primitive(sin));
    tensor(for_data_type!(heads, |E| rotary::rotate::<E>(
        heads, cos, sin
    )))
}

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values
/// `[batch, kv_heads, slots, head_dim]`: `[batch, seq, heads * head_dim]`.
///
/// # Panics
/// For tensors of which [`has_cpu_kernel`] is false.
pub fn attend(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    slots: &AttendedSlots,
) -> Tensor<3> {
    let (queries, keys, values) = (primitive(queries), primitive(keys), primitive(values));
    tensor(for_data_type!(queries, |E| attention::attend::<E>(
        queries, keys, values, slots
    )))
}

/// Queries, keys and values `[batch, seq, heads * head_dim]` of `[batch, seq, hidden]`. `None` where that is not done
/// in one pass over the tokens.
pub fn queries_keys_values(hidden: &Tensor<3>, qkv: QkvProjection) -> Option<[Tensor<3>; 3]> {
    let qkv = fused_qkv(hidden, qkv)?;
    let hidden = primitive(hidden.clone());
    let heads = for_data_type!(hidden, |E| fused::heads::<E>(hidden, qkv));
    Some(heads?.map(tensor))
}

/// A linear map of `[batch, seq, in]`, added to the residual stream `[batch, seq, hidden]`. `None` where that is not
/// done in one pass over the tokens.
pub fn add_linear(hidden: &Tensor<3>, input: &Tensor<3>, linear: LinearMap) -> Option<Tensor<3>> {
    let linear = fused_linear(hidden, linear)?;
    have_cpu_kernels(hidden, [input]).then_some(())?;
    let (hidden, input) = (primitive(hidden.clone()), primitive(input.clone()));
    let sum = for_data_type!(hidden, |E| fused::add_linear::<E>(hidden, input, linear));
    sum.map(tensor)
}

/// Norm and gated MLP, added to the residual stream `[batch, seq, hidden]`. `None` where that is not done in one pass
/// over the tokens.
pub fn add_mlp(hidden: &Tensor<3>, mlp: GatedMlp) -> Option<Tensor<3>> {
    let mlp = fused_mlp(hidden, mlp)?;
    let hidden = primitive(hidden.clone());
    let sum = for_data_type!(hidden, |E| fused::add_mlp::<E>(hidden, mlp));
    sum.map(tensor)
}

/// A whole layer for sequences that begin with this pass: the residual stream `[batch, seq, hidden]` after it, and
/// keys and values `[batch, seq, kv_heads * head_dim]`. `None` where that is not done in one pass over the tokens.
pub fn layer(
    hidden: &Tensor<3>,
    qkv: QkvProjection,
    output: LinearMap,
    mlp: GatedMlp,
    slots: &AttendedSlots,
) -> Option<[Tensor<3>; 3]> {
    let qkv = fused_qkv(hidden, qkv)?;
    let output = fused_linear(hidden, output)?;
    let mlp = fused_mlp(hidden, mlp)?;
    let hidden = primitive(hidden.clone());
    let outputs = for_data_type!(hidden, |E| fused::layer::<E>(
        hidden, qkv, output, mlp, slots
    ));
    Some(outputs?.map(tensor))
}

fn fused_qkv(hidden: &Tensor<3>, qkv: QkvProjection) -> Option<fused::QkvProjection> {
    let has_cpu_kernel = have_cpu_kernels(hidden, &qkv.weights)
        && have_cpu_kernels(hidden, qkv.biases.iter().flatten())
        && have_cpu_kernels(hidden, &qkv.rotation);
    has_cpu_kernel.then_some(())?;
    Some(fused::QkvProjection {
        norm: fused_norm(hidden, qkv.norm)?,
        weights: qkv.weights.map(whole),
        biases: qkv.biases.map(|bias| bias.map(whole)),
        rotation: qkv
            .rotation
            .map(|angles| with_whole_rows(primitive(angles))),
    })
}

fn fused_linear(hidden: &Tensor<3>, linear: LinearMap) -> Option<fused::Linear> {
    let has_cpu_kernel =
        have_cpu_kernels(hidden, [&linear.weight]) && have_cpu_kernels(hidden, &linear.bias);
    has_cpu_kernel.then(|| fused::Linear {
        weight: whole(linear.weight),
        bias: linear.bias.map(whole),
    })
}

fn fused_mlp(hidden: &Tensor<3>, mlp: GatedMlp) -> Option<fused::Mlp> {
    have_cpu_kernels(hidden, &mlp.weights).then_some(())?;
    Some(fused::Mlp {
        norm: fused_norm(hidden, mlp.norm)?,
        weights: mlp.weights.map(whole),
    })
}

fn fused_norm(hidden: &Tensor<3>, norm: Norm) -> Option<fused::Norm> {
    have_cpu_kernels(hidden, [&norm.weight]).then(|| fused::Norm {
        weight: whole(norm.weight),
        epsilon: norm.epsilon,
    })
}

/// Whether there are kernels for tensors beside a hidden state, which have its data type.
fn have_cpu_kernels<'a, const D: usize>(
    hidden: &Tensor<3>,
    tensors: impl IntoIterator<Item = &'a Tensor<D>>,
) -> bool {
    let dtype = hidden.dtype();
    has_cpu_kernel(hidden)
        && tensors
            .into_iter()
            .all(|tensor| tensor.dtype() == dtype && has_cpu_kernel(tensor))
}

/// The sum of some values, as fast as they can be read.
pub(crate) fn sum(values: &[f32]) -> f32 {
    numeric::sum(values)
}

fn primitive<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    let primitive = tensor.try_into_primitive::<Flex>();
    primitive.expect("kernels are asked for only where has_cpu_kernel says so")
}

fn whole<const D: usize>(tensor: Tensor<D>) -> FlexTensor {
    contiguous(primitive(tensor))
}

fn tensor<const D: usize>(primitive: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive)
}
