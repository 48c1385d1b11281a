//! Sublayers of a decoder layer, as the operations take them: made from tensors, and kept as the kernels read them.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};

use super::storage::{contiguous, has_cpu_kernel, primitive, with_whole_rows};

/// A root-mean-square norm (Zhang and Sennrich 2019).
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[hidden]`, contiguous.
    pub(super) weight: FlexTensor,
    pub(super) epsilon: f64,
}

impl Norm {
    /// Makes a norm of a weight `[hidden]` and the number that is added to the mean square. Returns `None` for a
    /// weight without a kernel.
    pub fn new(weight: Tensor<1>, epsilon: f64) -> Option<Self> {
        let weight = gathered(weight)?;
        Some(Self { weight, epsilon })
    }
}

/// Norm, projections to queries, keys and values, and rotation of queries and keys.
#[derive(Clone, Debug)]
pub struct QkvProjection {
    pub(super) norm: Norm,
    /// `[heads * head_dim, hidden]`, of queries, keys and values; contiguous.
    pub(super) weights: [FlexTensor; 3],
    /// `[heads * head_dim]`, contiguous.
    pub(super) biases: [Option<FlexTensor>; 3],
    /// Cosines and sines `[1 or batch, 1, seq, head_dim / 2]`, with contiguous rows.
    pub(super) rotation: [FlexTensor; 2],
}

impl QkvProjection {
    /// Makes the projection of the norm before it, weights `[heads * head_dim, hidden]` and biases `[heads * head_dim]`
    /// of queries, keys and values, and the cosines and sines `[1 or batch, 1, seq, head_dim / 2]` that rotate queries
    /// and keys. Returns `None` where a tensor has no kernel or another data type than the norm.
    pub fn new(
        norm: Norm,
        weights: [Tensor<2>; 3],
        biases: [Option<Tensor<1>>; 3],
        rotation: [Tensor<4>; 2],
    ) -> Option<Self> {
        let dtype = norm.weight.dtype();
        let [queries, keys, values] = weights.map(gathered);
        let [cos, sin] = rotation.map(|angles| has_cpu_kernel(&angles).then(|| primitive(angles)));
        let [query_bias, key_bias, value_bias] = biases.map(gathered_bias);
        let projection = Self {
            norm,
            weights: [queries?, keys?, values?],
            biases: [query_bias?, key_bias?, value_bias?],
            rotation: [cos?, sin?].map(with_whole_rows),
        };
        let rest = projection.biases.iter().flatten();
        let rest = rest.chain(&projection.rotation);
        have_dtype(dtype, projection.weights.iter().chain(rest)).then_some(projection)
    }
}

/// A linear map with or without a bias.
#[derive(Clone, Debug)]
pub struct LinearMap {
    /// `[out, in]`, contiguous.
    pub(super) weight: FlexTensor,
    /// `[out]`, contiguous.
    pub(super) bias: Option<FlexTensor>,
}

impl LinearMap {
    /// Makes a linear map of a weight `[out, in]` and a bias `[out]`. Returns `None` where one of them has no kernel,
    /// or the two have different data types.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>) -> Option<Self> {
        let map = Self {
            weight: gathered(weight)?,
            bias: gathered_bias(bias)?,
        };
        have_dtype(map.weight.dtype(), &map.bias).then_some(map)
    }
}

/// Norm and gated MLP, `down(silu(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    pub(super) norm: Norm,
    /// Gate, up `[intermediate, hidden]` and down `[hidden, intermediate]`; contiguous.
    pub(super) weights: [FlexTensor; 3],
}

impl GatedMlp {
    /// Makes a gated MLP of the norm before it and the weights of gate, up `[intermediate, hidden]` and down
    /// `[hidden, intermediate]`. Returns `None` where a weight has no kernel or another data type than the norm.
    pub fn new(norm: Norm, weights: [Tensor<2>; 3]) -> Option<Self> {
        let [gate, up, down] = weights.map(gathered);
        let mlp = Self {
            norm,
            weights: [gate?, up?, down?],
        };
        have_dtype(mlp.norm.weight.dtype(), &mlp.weights).then_some(mlp)
    }
}

/// The tensor as the kernels read it, contiguous; `None` where it has no kernel.
fn gathered<const D: usize>(tensor: Tensor<D>) -> Option<FlexTensor> {
    has_cpu_kernel(&tensor).then(|| contiguous(primitive(tensor)))
}

/// As [`gathered`], of a bias that need not be there.
fn gathered_bias(bias: Option<Tensor<1>>) -> Option<Option<FlexTensor>> {
    match bias {
        Some(bias) => gathered(bias).map(Some),
        None => Some(None),
    }
}

fn have_dtype<'a>(dtype: DType, tensors: impl IntoIterator<Item = &'a FlexTensor>) -> bool {
    tensors.into_iter().all(|tensor| tensor.dtype() == dtype)
}
