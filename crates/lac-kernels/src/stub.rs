//! Stands in for the kernels where none was compiled in: no tensor has one, so none is called.

use burn::tensor::Tensor;

use crate::slots::AttendedSlots;
use crate::sublayers::{GatedMlp, LinearMap, QkvProjection};

const NONE: &str = "kernels are asked for only where has_cpu_kernel says so";

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
pub fn swiglu(_input: Tensor<2>, _gate: Tensor<2>, _up: Tensor<2>) -> Tensor<2> {
    unreachable!("{NONE}")
}

/// Stands for the kernel of this name.
///
/// # Panics
/// Always: [`has_cpu_kernel`] is false for every tensor.
pub fn rms_norm(_hidden: Tensor<3>, _weight: Tensor<1>, _epsilon: f64) -> Tensor<3> {
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
) -> Tensor<3> {
    unreachable!("{NONE}")
}

/// Returns `None`: no kernel was compiled in.
pub fn queries_keys_values(
    _hidden: &Tensor<3>,
    _to_heads: QkvProjection,
) -> Option<[Tensor<3>; 3]> {
    None
}

/// Returns `None`: no kernel was compiled in.
pub fn add_linear(
    _hidden: &Tensor<3>,
    _input: &Tensor<3>,
    _linear: LinearMap,
) -> Option<Tensor<3>> {
    None
}

/// Returns `None`: no kernel was compiled in.
pub fn add_mlp(_hidden: &Tensor<3>, _mlp: GatedMlp) -> Option<Tensor<3>> {
    None
}

/// Returns `None`: no kernel was compiled in.
pub fn layer(
    _hidden: &Tensor<3>,
    _to_heads: QkvProjection,
    _output: LinearMap,
    _mlp: GatedMlp,
    _slots: &AttendedSlots,
) -> Option<[Tensor<3>; 3]> {
    None
}
