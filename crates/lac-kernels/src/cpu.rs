//! The operations on burn-flex: threads over rows of weights, tokens or heads.

mod attention;
pub(crate) mod dot;
mod experts;
mod fused;
pub(crate) mod linear_map;
mod norm;
pub(crate) mod numeric;
mod residual;
mod rotary;
mod soft_cap;
pub(crate) mod storage;
mod sublayers;
#[cfg(test)]
mod tests;

pub use storage::has_cpu_kernel;
pub use sublayers::{GatedMlp, LinearMap, Norm, QkvHeads, QkvProjection, Residual};

use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor, bf16, f16};

use self::storage::primitive;
use crate::routing::{RouterWeights, Routing};
use crate::settings::{Activation, NormForm, Scores};
use crate::slots::AttendedSlots;
use crate::value::Value;

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

/// Multiplies `[rows, in]` by each of the weights `[out, in]` and adds the weight's bias `[out]`, if it has one; returns
/// `[rows, out]` for each weight.
///
/// # Panics
/// If [`has_cpu_kernel`] is false for one of the tensors.
pub fn linear<const N: usize>(
    input: Tensor<2>,
    weights: [Tensor<2>; N],
    biases: [Option<Tensor<1>>; N],
) -> [Tensor<2>; N] {
    let input = primitive(input);
    let weights = weights.map(primitive);
    let biases = biases.map(|bias| bias.map(primitive));
    for_data_type!(input, |E| linear_map::linear::<E, N>(
        input, weights, biases
    ))
    .map(tensor)
}

/// Returns `activation(gate · x) * (up · x)` of `[rows, in]`, with weights `[out, in]`, as `[rows, out]` (SwiGLU and
/// GEGLU, Shazeer 2020, arXiv 2002.05202).
///
/// # Panics
/// If [`has_cpu_kernel`] is false for one of the tensors.
pub fn gated_linear(
    input: Tensor<2>,
    gate: Tensor<2>,
    up: Tensor<2>,
    activation: Activation,
) -> Tensor<2> {
    let (input, gate, up) = (primitive(input), primitive(gate), primitive(up));
    tensor(for_data_type!(input, |E| linear_map::gated_linear::<E>(
        input, gate, up, activation
    )))
}

/// Chooses the likeliest `n_chosen` experts of each token from the router's logits `[tokens, experts]`. The softmax is taken
/// in f32, and of equally likely experts the first is chosen.
///
/// # Panics
/// If [`has_cpu_kernel`] is false for the logits, or `n_chosen` is not from 1 to the number of experts.
pub fn route(logits: Tensor<2>, n_chosen: usize, weights: RouterWeights) -> Routing {
    let [_, n_experts] = logits.dims();
    let logits = storage::contiguous(primitive(logits));
    let logits: Vec<f32> = for_data_type!(logits, |E| {
        let values = storage::values::<E>(&logits).iter();
        values.map(|&value| value.widen()).collect()
    });
    Routing::choose(&logits, n_experts, n_chosen, weights)
}

/// Returns the weighted sum of each token's experts, `down(activation(gate · x) * (up · x))`, of `[tokens, hidden]` as the
/// same shape. The matrices of all experts lie below each other: gate and up are `[experts * intermediate, hidden]`, down is
/// `[experts * hidden, intermediate]`. The weights of experts that no token goes through are not read. Sums are taken in f32,
/// in the order of the experts' indices, and rounded once.
///
/// # Panics
/// If [`has_cpu_kernel`] is false for a tensor, or the routing is of other tokens or experts.
pub fn experts(
    input: Tensor<2>,
    gate_up_down: [Tensor<2>; 3],
    routing: &Routing,
    activation: Activation,
) -> Tensor<2> {
    let [n_tokens, _] = input.dims();
    let n_pairs = n_tokens * routing.n_chosen();
    assert_eq!(
        routing.experts().len(),
        n_pairs,
        "a routing of these tokens"
    );
    let (input, weights) = (primitive(input), gate_up_down.map(primitive));
    tensor(for_data_type!(input, |E| experts::experts::<E>(
        input, weights, routing, activation
    )))
}

/// Returns the root-mean-square norm over the last axis of `[batch, seq, hidden]`, times a weight `[hidden]` in its form;
/// `epsilon` is added to the mean square (Zhang and Sennrich 2019, arXiv 1910.07467).
///
/// # Panics
/// If [`has_cpu_kernel`] is false for one of the tensors.
pub fn rms_norm(hidden: Tensor<3>, weight: Tensor<1>, epsilon: f64, form: NormForm) -> Tensor<3> {
    let (hidden, weight) = (primitive(hidden), primitive(weight));
    tensor(for_data_type!(hidden, |E| norm::rms_norm::<E>(
        hidden, weight, epsilon, form
    )))
}

/// Rotates heads `[batch, heads, seq, head_dim]` by cosines and sines `[1 or batch, 1, seq, pairs]`: the first `2 * pairs`
/// values of a head, the two halves of them against each other (Su et al. 2021, arXiv 2104.09864). The values after
/// them stay as they are.
///
/// # Panics
/// If [`has_cpu_kernel`] is false for one of the tensors.
pub fn rotate(heads: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let (heads, cos, sin) = (primitive(heads), primitive(cos), primitive(sin));
    tensor(for_data_type!(heads, |E| rotary::rotate::<E>(
        heads, cos, sin
    )))
}

/// Attends with queries `[batch, heads, seq, head_dim]` over keys and values `[batch, kv_heads, slots, head_dim]`, each
/// query to the slots that `slots` names; returns `[batch, seq, heads * head_dim]`. `heads / kv_heads` query heads share a
/// key head. `scores` says what is done with products before the softmax.
///
/// # Panics
/// If [`has_cpu_kernel`] is false for one of the tensors.
pub fn attend(
    queries: Tensor<4>,
    keys: Tensor<4>,
    values: Tensor<4>,
    slots: &AttendedSlots,
    scores: Scores,
) -> Tensor<3> {
    let (queries, keys, values) = (primitive(queries), primitive(keys), primitive(values));
    tensor(for_data_type!(queries, |E| attention::attend::<E>(
        queries, keys, values, slots, scores
    )))
}

/// Returns whether one pass over the tokens of `[batch, seq, hidden]` goes through all of these weights `[out, in]`, so
/// that [`queries_keys_values`], [`add_linear`] and [`add_mlp`] can be asked: the weights stay in a cache together, and
/// there are enough tokens for all threads. Ask before a description of a sublayer is made; this reads shapes alone.
pub fn fuses_tokens(hidden: &Tensor<3>, weights: &[&Tensor<2>]) -> bool {
    let [batch, seq, _] = hidden.dims();
    fuses(hidden, weights, batch * seq, 1)
}

/// Returns whether one pass over the sequences of `[batch, seq, hidden]` goes through all weights of a layer, so that
/// [`layer`] can be asked; as [`fuses_tokens`], with enough sequences for all threads, none of them too long for a
/// cache.
pub fn fuses_sequences(hidden: &Tensor<3>, weights: &[&Tensor<2>]) -> bool {
    let [batch, seq, _] = hidden.dims();
    fuses(hidden, weights, batch, seq)
}

fn fuses(hidden: &Tensor<3>, weights: &[&Tensor<2>], n_units: usize, unit: usize) -> bool {
    if !has_cpu_kernel(hidden) {
        return false;
    }
    let n_values = |weight: &&Tensor<2>| weight.dims().iter().product::<usize>();
    let n_values: usize = weights.iter().map(n_values).sum();
    let n_bytes = n_values * hidden.dtype().size();
    linear_map::is_cut_by_inputs(n_values, n_bytes, n_units, unit)
}

/// Returns queries, keys and values `[batch, seq, heads * head_dim]` of `[batch, seq, hidden]`; `None` where
/// [`fuses_tokens`] is false for their weights, or the states have another data type.
pub fn queries_keys_values(hidden: &Tensor<3>, qkv: &QkvProjection) -> Option<[Tensor<3>; 3]> {
    let hidden = states_like(&qkv.weights[0], hidden)?;
    let heads = for_data_type!(hidden, |E| fused::heads::<E>(hidden, qkv));
    Some(heads?.map(tensor))
}

/// Returns a linear map of `[batch, seq, in]`, added to the residual stream `[batch, seq, hidden]`; `None` where
/// [`fuses_tokens`] is false for its weight, or the states have another data type.
pub fn add_linear(hidden: &Tensor<3>, input: &Tensor<3>, linear: &LinearMap) -> Option<Tensor<3>> {
    let (hidden, input) = (
        states_like(&linear.weight, hidden)?,
        states_like(&linear.weight, input)?,
    );
    let sum = for_data_type!(hidden, |E| fused::add_linear::<E>(hidden, input, linear));
    sum.map(tensor)
}

/// Returns norm and gated MLP of the residual stream `[batch, seq, hidden]`, added to it; `None` where [`fuses_tokens`]
/// is false for the MLP's weights, or the states have another data type.
pub fn add_mlp(hidden: &Tensor<3>, mlp: &GatedMlp) -> Option<Tensor<3>> {
    let hidden = states_like(&mlp.weights[0], hidden)?;
    let sum = for_data_type!(hidden, |E| fused::add_mlp::<E>(hidden, mlp));
    sum.map(tensor)
}

/// Returns the residual stream `[batch, seq, hidden]` with the outputs of a sublayer for it, of the same shape, normed and
/// multiplied as `residual` says; `None` where a tensor has no kernel, or data types or shapes differ.
pub fn add_outputs(
    hidden: &Tensor<3>,
    outputs: &Tensor<3>,
    residual: &Residual,
) -> Option<Tensor<3>> {
    let dtype = hidden.dtype();
    let are_taken = [hidden, outputs]
        .iter()
        .all(|states| states.dtype() == dtype && has_cpu_kernel(states));
    let [.., width] = hidden.dims();
    let is_fitting = residual.fits(dtype, width) && hidden.dims() == outputs.dims();
    (are_taken && is_fitting).then_some(())?;
    let (hidden, outputs) = (primitive(hidden.clone()), primitive(outputs.clone()));
    Some(tensor(for_data_type!(
        hidden,
        |E| residual::add_outputs::<E>(hidden, outputs, residual)
    )))
}

/// Bounds every value softly, `cap · tanh(value / cap)` (Gemma 2, arXiv 2408.00118), in f32 and rounded once.
///
/// # Panics
/// If [`has_cpu_kernel`] is false for the tensor.
pub fn soft_cap<const D: usize>(values: Tensor<D>, cap: f32) -> Tensor<D> {
    let values = primitive(values);
    tensor(for_data_type!(values, |E| soft_cap::soft_cap::<E>(
        values, cap
    )))
}

/// Computes a whole layer for sequences that begin with this pass: returns the residual stream `[batch, seq, hidden]`
/// after it, and keys and values `[batch, seq, kv_heads * head_dim]`; `None` where [`fuses_sequences`] is false for all
/// weights together, or data types differ.
pub fn layer(
    hidden: &Tensor<3>,
    qkv: &QkvProjection,
    output: &LinearMap,
    mlp: &GatedMlp,
    slots: &AttendedSlots,
    scores: Scores,
) -> Option<[Tensor<3>; 3]> {
    let dtype = hidden.dtype();
    let has_dtype = |weight: &FlexTensor| weight.dtype() == dtype;
    (has_dtype(&output.weight) && has_dtype(&mlp.weights[0])).then_some(())?;
    let hidden = states_like(&qkv.weights[0], hidden)?;
    let outputs = for_data_type!(hidden, |E| fused::layer::<E>(
        hidden, qkv, output, mlp, slots, scores
    ));
    Some(outputs?.map(tensor))
}

/// Hidden states, if there is a kernel for them and a weight.
fn states_like(weight: &FlexTensor, states: &Tensor<3>) -> Option<FlexTensor> {
    let is_taken = states.dtype() == weight.dtype() && has_cpu_kernel(states);
    is_taken.then(|| primitive(states.clone()))
}

/// The sum of some values, as fast as they can be read.
pub(crate) fn sum(values: &[f32]) -> f32 {
    numeric::sum(values)
}

fn tensor<const D: usize>(primitive: FlexTensor) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(primitive)
}
