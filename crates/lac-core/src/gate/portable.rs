//! The gate in tensor operations. It runs on every backend and under autodiff, and the kernels are tested against it.

use burn::tensor::Tensor;

use super::config::GateConfig;
use super::record::{Record, as_numbers};
use super::select::l2_norm;
use crate::kernel::{Field, Select};

/// The record of the embedding output `[batch, seq, hidden]`.
pub(super) fn embedding(config: &GateConfig, embedding: &Tensor<3>) -> Record {
    let norm = config.rounding.round(l2_norm(embedding));
    let zero = norm.zeros_like();
    let one = norm.ones_like();
    Record::from_rows([
        norm.clone(),
        zero.clone(),
        zero.clone(),
        zero.clone(),
        norm,
        zero.clone(),
        zero,
        one,
    ])
}

/// The record of a layer's output `[batch, seq, hidden]`, given that of the state before it. `n_layers` is the number
/// of layers judged before this one.
pub(super) fn layer(
    config: &GateConfig,
    before: &Record,
    n_layers: usize,
    output: &Tensor<3>,
    select: Select,
) -> Record {
    let input_norm = before.row(Field::Carried);
    let norm = config.rounding.round(l2_norm(output));
    let delta = config.rounding.round(norm.clone() - input_norm.clone());
    let (threshold, max, min) = match n_layers {
        0 => {
            let range = config.first_threshold.range(&delta);
            (threshold(config, range), delta.clone(), delta.clone())
        }
        _ => (
            next_threshold(config, before),
            before.row(Field::Max).max_pair(delta.clone()),
            before.row(Field::Min).min_pair(delta.clone()),
        ),
    };
    let active = delta.clone().greater_equal(threshold.clone());
    let carried = match select {
        Select::KeepOutput => norm.clone(),
        Select::KeepInput => input_norm.mask_where(active.clone(), norm.clone()),
    };
    let seen = before.row(Field::Seen) + 1.0;
    let active = as_numbers(active);
    Record::from_rows([norm, delta, threshold, active, carried, max, min, seen])
}

/// The threshold of the layer after the state of a record, `[batch, seq]`. The embedding's record has no range: zero.
pub(super) fn next_threshold(config: &GateConfig, before: &Record) -> Tensor<2> {
    threshold(config, before.row(Field::Max) - before.row(Field::Min))
}

fn threshold(config: &GateConfig, range: Tensor<2>) -> Tensor<2> {
    let rounding = config.rounding;
    rounding.round(rounding.round(range) * config.alpha)
}
