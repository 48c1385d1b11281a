//! Sublayers of a decoder layer, as the kernels take them.

use burn::tensor::Tensor;

/// A root-mean-square norm (Zhang and Sennrich 2019).
#[derive(Clone, Debug)]
pub struct Norm {
    /// `[hidden]`.
    pub weight: Tensor<1>,
    /// Added to the mean square.
    pub epsilon: f64,
}

/// Norm, projections to queries, keys and values, and rotation of queries and keys.
#[derive(Clone, Debug)]
pub struct QkvProjection {
    /// The norm before the projections.
    pub norm: Norm,
    /// `[heads * head_dim, hidden]`, of queries, keys and values.
    pub weights: [Tensor<2>; 3],
    /// `[heads * head_dim]`, of queries, keys and values.
    pub biases: [Option<Tensor<1>>; 3],
    /// Cosines and sines `[1 or batch, 1, seq, head_dim / 2]`.
    pub rotation: [Tensor<4>; 2],
}

/// A linear map.
#[derive(Clone, Debug)]
pub struct LinearMap {
    /// `[out, in]`.
    pub weight: Tensor<2>,
    /// `[out]`.
    pub bias: Option<Tensor<1>>,
}

/// Norm and gated MLP.
#[derive(Clone, Debug)]
pub struct GatedMlp {
    /// The norm before the MLP.
    pub norm: Norm,
    /// Gate, up `[intermediate, hidden]` and down `[hidden, intermediate]`.
    pub weights: [Tensor<2>; 3],
}
