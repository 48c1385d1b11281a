//! Stands in for the kernels without the feature `flex`: no tensor has one, so that none is called.

use burn::tensor::Tensor;

use crate::quantized::QuantizedMatrix;
use crate::routing::{RouterWeights, Routing};
use crate::settings::{Activation, NormForm, Scores};
use crate::slots::AttendedSlots;

const NONE: &str = "kernels are asked for only where has_cpu_kernel says so";

/// A value that cannot be made, so that nothing below can be.
#[derive(Clone, Debug)]
enum Never {}

/// Stands for a root-mean-square norm: there is no kernel for one.
#[derive(Clone, Debug)]
pub struct Norm(Never);

impl Norm {
    /// Returns `None`: no kernel was compiled in.
    pub fn new(_weight: Tensor<1>, _epsilon: f64, _form: NormForm) -> Option<Self> {
        None
    }
}

/// How a sublayer's outputs are added to the residual stream: normed, then multiplied.
#[derive(Clone, Debug)]
pub struct Residual {
    /// The norm of the outputs; `None` adds them as they are.
    pub norm: Option<Norm>,
    /// The number that the outputs are multiplied by.
    pub multiplier: f32,
}

impl Residual {
    /// Returns a plain residual connection: no norm, and a multiplier of 1.
    pub fn plain() -> Self {
        Self {
            norm: None,
            multiplier: 1.0,
        }
    }
}

/// What is done with the heads of queries and keys once they are projected.
#[derive(Clone, Debug)]
pub struct QkvHeads {
    /// Width of a head.
    pub head_dim: usize,
    /// Norms of queries and of keys, as wide as a head or as all heads together.
    pub norms: Option<[Norm; 2]>,
    /// The cosines and sines `[1 or batch, 1, seq, pairs]` that rotate the first `2 * pairs` values of each head; `None` for
    /// heads that are not rotated.
    pub rotation: Option<[Tensor<4>; 2]>,
}

/// Stands for the projections to queries, keys and values: there is no kernel for them.
#[derive(Clone, Debug)]
pub struct QkvProjection(Never);

impl QkvProjection {
    /// Returns `None`: no kernel was compiled in.
    pub fn new(
        _norm: Option<Norm>,
        _weights: [Tensor<2>; 3],
        _biases: [Option<Tensor<1>>; 3],
        _heads: QkvHeads,
    ) -> Option<Self> {
        None
    }
}

/// Stands for a linear map: there is no kernel for one.
#[derive(Clone, Debug)]
pub struct LinearMap(Never);

impl LinearMap {
    /// Returns `None`: no kernel was compiled in.
    pub fn new(_weight: Tensor<2>, _bias: Option<Tensor<1>>, _residual: Residual) -> Option<Self> {
        None
    }
}

/// Stands for a gated MLP: there is no kernel for one.
#[derive(Clone, Debug)]
pub struct GatedMlp(Never);

impl GatedMlp {
    /// Returns `None`: no kernel was compiled in.
    pub fn new(
        _norm: Option<Norm>,
        _weights: [Tensor<2>; 3],
        _activation: Activation,
        _residual: Residual,
    ) -> Option<Self> {
        None
    }
}

/// Returns whether a kernel takes the tensor: never, without the feature `flex`.
pub fn has_cpu_kernel<const D: usize>(_tensor: &Tensor<D>) -> bool {
    false
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn linear<const N: usize>(
    _input: Tensor<2>,
    _weights: [Tensor<2>; N],
    _biases: [Option<Tensor<1>>; N],
) -> [Tensor<2>; N] {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn gated_linear(
    _input: Tensor<2>,
    _gate: Tensor<2>,
    _up: Tensor<2>,
    _activation: Activation,
) -> Tensor<2> {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn route(_logits: Tensor<2>, _n_chosen: usize, _weights: RouterWeights) -> Routing {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn experts(
    _input: Tensor<2>,
    _gate_up_down: [Tensor<2>; 3],
    _routing: &Routing,
    _activation: Activation,
) -> Tensor<2> {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn rms_norm(
    _hidden: Tensor<3>,
    _weight: Tensor<1>,
    _epsilon: f64,
    _form: NormForm,
) -> Tensor<3> {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn rotate(_heads: Tensor<4>, _cos: Tensor<4>, _sin: Tensor<4>) -> Tensor<4> {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn attend(
    _queries: Tensor<4>,
    _keys: Tensor<4>,
    _values: Tensor<4>,
    _slots: &AttendedSlots,
    _scores: Scores,
) -> Tensor<3> {
    unreachable!("{NONE}")
}

/// Returns `false`: no kernel was compiled in.
pub fn fuses_tokens(_hidden: &Tensor<3>, _weights: &[&Tensor<2>]) -> bool {
    false
}

/// Returns `false`: no kernel was compiled in.
pub fn fuses_sequences(_hidden: &Tensor<3>, _weights: &[&Tensor<2>]) -> bool {
    false
}

/// Stands for the kernel of this name, which cannot be called without a projection.
pub fn queries_keys_values(_hidden: &Tensor<3>, qkv: &QkvProjection) -> Option<[Tensor<3>; 3]> {
    match qkv.0 {}
}

/// Stands for the kernel of this name, which cannot be called without a linear map.
pub fn add_linear(
    _hidden: &Tensor<3>,
    _input: &Tensor<3>,
    linear: &LinearMap,
) -> Option<Tensor<3>> {
    match linear.0 {}
}

/// Stands for the kernel of this name, which cannot be called without an MLP.
pub fn add_mlp(_hidden: &Tensor<3>, mlp: &GatedMlp) -> Option<Tensor<3>> {
    match mlp.0 {}
}

/// Returns `None`: no kernel was compiled in.
pub fn add_outputs(
    _hidden: &Tensor<3>,
    _outputs: &Tensor<3>,
    _residual: &Residual,
) -> Option<Tensor<3>> {
    None
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn soft_cap<const D: usize>(_values: Tensor<D>, _cap: f32) -> Tensor<D> {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name, which cannot be called without the layer's sublayers.
pub fn layer(
    _hidden: &Tensor<3>,
    qkv: &QkvProjection,
    _output: &LinearMap,
    _mlp: &GatedMlp,
    _slots: &AttendedSlots,
    _scores: Scores,
) -> Option<[Tensor<3>; 3]> {
    match qkv.0 {}
}

/// Returns 0: no kernel was compiled in that would read the weights.
pub fn use_large_pages<'a>(
    _tensors: impl IntoIterator<Item = &'a Tensor<2>>,
    _blocks: impl IntoIterator<Item = &'a QuantizedMatrix>,
) -> usize {
    0
}
