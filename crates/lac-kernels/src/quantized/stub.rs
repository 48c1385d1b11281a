//! Stands in for the operations without the feature `flex`: no tensor has a kernel, so that none is called.

use burn::tensor::Tensor;

use super::activations::Activations;
use super::matrix::QuantizedMatrix;
use crate::settings::Activation;

const NONE: &str = "kernels are asked for only where has_cpu_kernel says so";

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`](crate::has_cpu_kernel) is false for every tensor.
pub fn linear<const N: usize>(
    _input: Tensor<2>,
    _weights: [&QuantizedMatrix; N],
    _biases: [Option<Tensor<1>>; N],
    _activations: Activations,
) -> [Tensor<2>; N] {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`](crate::has_cpu_kernel) is false for every tensor.
pub fn gated_linear(
    _input: Tensor<2>,
    _gate: &QuantizedMatrix,
    _up: &QuantizedMatrix,
    _activation: Activation,
    _activations: Activations,
) -> Tensor<2> {
    unreachable!("{NONE}")
}
