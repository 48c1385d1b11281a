//! Sublayers of a decoder layer, as the operations take them: made from tensors, and kept as the kernels read them.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Tensor};

use super::storage::{contiguous, has_cpu_kernel, primitive, with_whole_rows};
use crate::settings::{Activation, NormForm};

/// A root-mean-square norm (Zhang and Sennrich 2019).
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[hidden]`, contiguous.
    pub(super) weight: FlexTensor,
    pub(super) epsilon: f64,
    pub(super) form: NormForm,
}

impl Norm {
    /// Makes a norm of a weight `[hidden]`, the number that is added to the mean square, and the weight's form. Returns
    /// `None` for a weight without a kernel.
    pub fn new(weight: Tensor<1>, epsilon: f64, form: NormForm) -> Option<Self> {
        let weight = gathered(weight)?;
        Some(Self {
            weight,
            epsilon,
            form,
        })
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

    /// Returns whether states of this type and width can be normed.
    pub(super) fn fits(&self, dtype: DType, width: usize) -> bool {
        let norm = self.norm.as_ref();
        self.has_dtype(dtype) && norm.is_none_or(|norm| norm.weight.layout().shape()[0] == width)
    }

    fn has_dtype(&self, dtype: DType) -> bool {
        self.norm
            .as_ref()
            .is_none_or(|norm| norm.weight.dtype() == dtype)
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

/// Norm, projections to queries, keys and values, and norms and rotation of queries and keys.
#[derive(Clone, Debug)]
pub struct QkvProjection {
    pub(super) norm: Option<Norm>,
    /// `[heads * head_dim, hidden]`, of queries, keys and values; contiguous.
    pub(super) weights: [FlexTensor; 3],
    /// `[heads * head_dim]`, contiguous.
    pub(super) biases: [Option<FlexTensor>; 3],
    pub(super) head_dim: usize,
    /// Of queries and keys.
    pub(super) head_norms: Option<[Norm; 2]>,
    /// Cosines and sines `[1 or batch, 1, seq, pairs]`, with contiguous rows.
    pub(super) rotation: Option<[FlexTensor; 2]>,
}

impl QkvProjection {
    /// Makes the projection of the norm before it, if it has one, weights `[heads * head_dim, hidden]` and biases `[heads * head_dim]`
    /// of queries, keys and values, and what is done with the heads. Returns `None` where a tensor has no kernel or
    /// another data type than the others, or where the widths of the heads' norms do not divide theirs.
    pub fn new(
        norm: Option<Norm>,
        weights: [Tensor<2>; 3],
        biases: [Option<Tensor<1>>; 3],
        heads: QkvHeads,
    ) -> Option<Self> {
        let dtype = weights[0].dtype();
        let [queries, keys, values] = weights.map(gathered);
        let rotation = match heads.rotation {
            None => None,
            Some(rotation) => {
                let of_kernel = |angles| has_cpu_kernel(&angles).then(|| primitive(angles));
                let [cos, sin] = rotation.map(of_kernel);
                Some([cos?, sin?].map(with_whole_rows))
            }
        };
        let [query_bias, key_bias, value_bias] = biases.map(gathered_bias);
        let projection = Self {
            norm,
            weights: [queries?, keys?, values?],
            biases: [query_bias?, key_bias?, value_bias?],
            head_dim: heads.head_dim,
            head_norms: heads.norms,
            rotation,
        };
        let head_norms = projection.head_norms.iter().flatten();
        let widths = projection.weights.iter().zip(head_norms.clone());
        let are_whole = widths.into_iter().all(|(weight, norm)| {
            let n_outs = weight.layout().shape()[0];
            n_outs.is_multiple_of(norm.weight.layout().shape()[0])
        });
        are_whole.then_some(())?;
        let rest = projection.biases.iter().flatten();
        let rest = rest.chain(projection.rotation.iter().flatten());
        let norms = head_norms.chain(&projection.norm);
        let rest = rest.chain(norms.map(|norm| &norm.weight));
        have_dtype(dtype, projection.weights.iter().chain(rest)).then_some(projection)
    }
}

/// A linear map with or without a bias, whose outputs are added to the residual stream.
#[derive(Clone, Debug)]
pub struct LinearMap {
    /// `[out, in]`, contiguous.
    pub(super) weight: FlexTensor,
    /// `[out]`, contiguous.
    pub(super) bias: Option<FlexTensor>,
    pub(super) residual: Residual,
}

impl LinearMap {
    /// Makes a linear map of a weight `[out, in]`, a bias `[out]` and the residual connection. Returns `None` where one
    /// of them has no kernel or another data type than the others.
    pub fn new(weight: Tensor<2>, bias: Option<Tensor<1>>, residual: Residual) -> Option<Self> {
        let map = Self {
            weight: gathered(weight)?,
            bias: gathered_bias(bias)?,
            residual,
        };
        let dtype = map.weight.dtype();
        (have_dtype(dtype, &map.bias) && map.residual.has_dtype(dtype)).then_some(map)
    }
}

/// Norm and gated MLP, `down(activation(gate(x)) * up(x))`.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    pub(super) norm: Option<Norm>,
    /// Gate, up `[intermediate, hidden]` and down `[hidden, intermediate]`; contiguous.
    pub(super) weights: [FlexTensor; 3],
    pub(super) activation: Activation,
    pub(super) residual: Residual,
}

impl GatedMlp {
    /// Makes a gated MLP of the norm before it, if it has one, the weights of gate, up `[intermediate, hidden]` and
    /// down `[hidden, intermediate]`, the function that gates, and the residual connection. Returns `None` where a
    /// weight has no kernel or another data type than the others.
    pub fn new(
        norm: Option<Norm>,
        weights: [Tensor<2>; 3],
        activation: Activation,
        residual: Residual,
    ) -> Option<Self> {
        let dtype = weights[0].dtype();
        let [gate, up, down] = weights.map(gathered);
        let mlp = Self {
            norm,
            weights: [gate?, up?, down?],
            activation,
            residual,
        };
        let norm = mlp.norm.iter().map(|norm| &norm.weight);
        let is_taken = have_dtype(dtype, mlp.weights.iter().chain(norm));
        (is_taken && mlp.residual.has_dtype(dtype)).then_some(mlp)
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
