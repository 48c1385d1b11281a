//! What stands for the kernels where none was compiled in: nothing has one, so none is ever asked for.

use burn::tensor::Tensor;

use super::{GatedMlp, LinearMap, ToHeads, Visible};

const NONE: &str = "kernels are asked for only where has_kernels says so";

pub(crate) fn has_kernels<const D: usize>(_tensor: &Tensor<D>) -> bool {
    false
}

pub(crate) fn linear<const N: usize>(
    _input: Tensor<2>,
    _weights: [Tensor<2>; N],
    _biases: [Option<Tensor<1>>; N],
) -> [Tensor<2>; N] {
    unreachable!("{NONE}")
}

pub(crate) fn swiglu(_input: Tensor<2>, _gate: Tensor<2>, _up: Tensor<2>) -> Tensor<2> {
    unreachable!("{NONE}")
}

pub(crate) fn rms_norm(_hidden: Tensor<3>, _weight: Tensor<1>, _epsilon: f64) -> Tensor<3> {
    unreachable!("{NONE}")
}

pub(crate) fn rotate(_heads: Tensor<4>, _cos: Tensor<4>, _sin: Tensor<4>) -> Tensor<4> {
    unreachable!("{NONE}")
}

pub(crate) fn attend(
    _queries: Tensor<4>,
    _keys: Tensor<4>,
    _values: Tensor<4>,
    _visible: &Visible,
) -> Tensor<3> {
    unreachable!("{NONE}")
}

pub(crate) fn heads(_hidden: &Tensor<3>, _to_heads: ToHeads) -> Option<[Tensor<3>; 3]> {
    None
}

pub(crate) fn add_linear(
    _hidden: &Tensor<3>,
    _input: &Tensor<3>,
    _linear: LinearMap,
) -> Option<Tensor<3>> {
    None
}

pub(crate) fn add_mlp(_hidden: &Tensor<3>, _mlp: GatedMlp) -> Option<Tensor<3>> {
    None
}

pub(crate) fn layer(
    _hidden: &Tensor<3>,
    _to_heads: ToHeads,
    _output: LinearMap,
    _mlp: GatedMlp,
    _visible: &Visible,
) -> Option<[Tensor<3>; 3]> {
    None
}
