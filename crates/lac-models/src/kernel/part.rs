//! Parts of a layer, as kernels take them.

use burn::tensor::Tensor;

/// A root-mean-square norm.
pub(crate) struct Norm {
    /// `[hidden]`.
    pub weight: Tensor<1>,
    /// Added to the mean square.
    pub epsilon: f64,
}

/// Norm, projections to queries, keys and values, and rotation of queries and keys.
pub(crate) struct ToHeads {
    pub norm: Norm,
    /// `[heads * head_dim, hidden]`, of queries, keys and values.
    pub weights: [Tensor<2>; 3],
    pub biases: [Option<Tensor<1>>; 3],
    /// Cosines and sines `[1 or batch, 1, seq, head_dim / 2]`.
    pub rotation: [Tensor<4>; 2],
}

/// A linear map.
pub(crate) struct LinearMap {
    /// `[out, in]`.
    pub weight: Tensor<2>,
    /// `[out]`.
    pub bias: Option<Tensor<1>>,
}

/// Norm and gated MLP.
pub(crate) struct GatedMlp {
    pub norm: Norm,
    /// Gate, up `[intermediate, hidden]` and down `[hidden, intermediate]`.
    pub weights: [Tensor<2>; 3],
}
