//! A layer, or a part of it, in one pass over the tokens, where its weights stay in every core's cache: a task takes
//! some tokens through, and what stands between two operations never leaves its core.
//!
//! The operations are those of the other files, in their order and rounded as they are: the bits are the same.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::attention::{Attention, StridedRows};
use super::dot::{Dot, ReadFrom, Rows};
use super::linear::{by_inputs, gated, project, read_from, rows, tasks_by_inputs};
use super::norm::norm_rows;
use super::numeric::{add_rows, rotate_halves};
use super::storage::{contiguous, values};
use crate::slots::AttendedSlots;

/// A root-mean-square norm. Its weight is contiguous, as all weights and biases below are.
pub(super) struct Norm {
    /// `[hidden]`.
    pub(super) weight: FlexTensor,
    pub(super) epsilon: f64,
}

/// Norm, projections to queries, keys and values, and rotation of queries and keys.
pub(super) struct QkvProjection {
    pub(super) norm: Norm,
    /// `[heads * head_dim, hidden]`, of queries, keys and values.
    pub(super) weights: [FlexTensor; 3],
    pub(super) biases: [Option<FlexTensor>; 3],
    /// Cosines and sines `[1 or batch, 1, seq, head_dim / 2]`, of whole rows.
    pub(super) rotation: [FlexTensor; 2],
}

/// A linear map with or without a bias.
pub(super) struct Linear {
    /// `[out, in]`.
    pub(super) weight: FlexTensor,
    pub(super) bias: Option<FlexTensor>,
}

/// Norm and gated MLP.
pub(super) struct Mlp {
    pub(super) norm: Norm,
    /// Gate, up and down.
    pub(super) weights: [FlexTensor; 3],
}

/// `[batch, seq, heads * head_dim]` of queries, keys and values, from `[batch, seq, hidden]`.
pub(super) fn heads<E: Dot>(hidden: FlexTensor, qkv: QkvProjection) -> Option<[FlexTensor; 3]> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let qkv = HeadRows::<E>::of(&qkv, seq);
    let tasks = tasks_by_inputs(&qkv.weights, batch * seq, 1)?;
    let states = values::<E>(&hidden);
    let shapes = qkv
        .weights
        .map(|weight| Shape::from([batch, seq, weight.len()]));
    let heads = by_inputs(batch * seq, shapes, tasks, |task, outputs| {
        let states = &states[task.start * width..task.end * width];
        qkv.write(task, states, outputs);
    });
    Some(heads)
}

/// A linear map's outputs added to the residual stream `[batch, seq, hidden]`.
pub(super) fn add_linear<E: Dot>(
    hidden: FlexTensor,
    input: FlexTensor,
    linear: Linear,
) -> Option<FlexTensor> {
    let (hidden, input) = (contiguous(hidden), contiguous(input));
    let [batch, seq, width] = dims(&hidden);
    let linear = LinearRows::<E>::of(&linear);
    let tasks = tasks_by_inputs(&[linear.weight], batch * seq, 1)?;
    let n_in = linear.weight.width();
    let inputs = Rows::new(values(&input), n_in, n_in, batch * seq);
    let states = values::<E>(&hidden);
    let shape = hidden.layout().shape().clone();
    let [output] = by_inputs(batch * seq, [shape], tasks, |task, [outputs]| {
        let states = &states[task.start * width..task.end * width];
        linear.add(inputs.slice(task), states, outputs);
    });
    Some(output)
}

/// The MLP's outputs added to the residual stream `[batch, seq, hidden]`.
pub(super) fn add_mlp<E: Dot>(hidden: FlexTensor, mlp: Mlp) -> Option<FlexTensor> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let mlp = MlpRows::<E>::of(&mlp);
    let tasks = tasks_by_inputs(&mlp.weights, batch * seq, 1)?;
    let states = values::<E>(&hidden);
    let shape = hidden.layout().shape().clone();
    let [output] = by_inputs(batch * seq, [shape], tasks, |task, [outputs]| {
        mlp.add(&states[task.start * width..task.end * width], outputs);
    });
    Some(output)
}

/// A whole layer for sequences that begin with this pass: the residual stream `[batch, seq, hidden]` after it, and
/// keys and values `[batch, seq, kv_heads * head_dim]`.
pub(super) fn layer<E: Dot>(
    hidden: FlexTensor,
    qkv: QkvProjection,
    output: Linear,
    mlp: Mlp,
    slots: &AttendedSlots,
) -> Option<[FlexTensor; 3]> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let qkv = HeadRows::<E>::of(&qkv, seq);
    let output = LinearRows::<E>::of(&output);
    let mlp = MlpRows::<E>::of(&mlp);
    let [query_weight, key_weight, value_weight] = qkv.weights;
    let [gate, up, down] = mlp.weights;
    let weights = [
        query_weight,
        key_weight,
        value_weight,
        output.weight,
        gate,
        up,
        down,
    ];
    let tasks = tasks_by_inputs(&weights, batch, seq)?;

    let states = values::<E>(&hidden);
    let head_dim = 2 * qkv.half;
    let [n_queries, n_keys, n_values] = qkv.weights.map(|weight| weight.len());
    let shapes = [width, n_keys, n_values].map(|width| Shape::from([batch, seq, width]));
    let work = |rows: Range<usize>, [outputs, keys, own_values]: [&mut [E]; 3]| {
        let tokens = rows.start * seq..rows.end * seq;
        let n_tokens = tokens.len();
        let states = &states[tokens.start * width..tokens.end * width];
        let mut queries = vec![E::default(); n_tokens * n_queries];
        qkv.write(tokens, states, [&mut queries, keys, own_values]);
        let n_kv_heads = n_keys / head_dim;
        let attention = Attention {
            queries: StridedRows::of_tokens(&queries, seq, n_queries / head_dim, head_dim),
            keys: StridedRows::of_tokens(keys, seq, n_kv_heads, head_dim),
            values: StridedRows::of_tokens(own_values, seq, n_kv_heads, head_dim),
            n_heads: n_queries / head_dim,
            n_kv_heads,
            seq,
            head_dim,
        };
        let mut attended = vec![E::default(); n_tokens * n_queries];
        let slots = |row: usize, query: usize| slots.of_query(rows.start + row, query);
        attention.attend(0, slots, &mut attended);
        let attended = Rows::new(&attended, n_queries, n_queries, n_tokens);
        let mut between = vec![E::default(); n_tokens * width];
        output.add(attended, states, &mut between);
        mlp.add(&between, outputs);
    };
    Some(by_inputs(batch, shapes, tasks, work))
}

/// The values of a [`Norm`].
struct NormRow<'a, E> {
    weight: &'a [E],
    epsilon: f64,
}

impl<'a, E: Dot> NormRow<'a, E> {
    fn of(norm: &'a Norm) -> Self {
        Self {
            weight: values(&norm.weight),
            epsilon: norm.epsilon,
        }
    }

    fn norm(&self, states: &[E]) -> Vec<E> {
        let mut normed = vec![E::default(); states.len()];
        norm_rows(states, self.weight, self.epsilon, &mut normed);
        normed
    }
}

/// The values of [`QkvProjection`].
struct HeadRows<'a, E> {
    norm: NormRow<'a, E>,
    weights: [Rows<'a, E>; 3],
    biases: [Option<&'a [E]>; 3],
    /// Cosines and sines.
    rotation: [StridedRows<'a, E>; 2],
    /// Half of a head.
    half: usize,
    seq: usize,
    from: ReadFrom,
}

impl<'a, E: Dot> HeadRows<'a, E> {
    fn of(qkv: &'a QkvProjection, seq: usize) -> Self {
        let weights = qkv.weights.each_ref().map(rows);
        Self {
            norm: NormRow::of(&qkv.norm),
            from: read_from(&weights),
            weights,
            biases: qkv.biases.each_ref().map(|bias| bias.as_ref().map(values)),
            rotation: qkv.rotation.each_ref().map(StridedRows::of),
            half: qkv.rotation[0].layout().shape()[3],
            seq,
        }
    }

    /// Queries, keys and values of some tokens of the pass, whose states are given.
    fn write(&self, tokens: Range<usize>, states: &[E], outputs: [&mut [E]; 3]) {
        let normed = self.norm.norm(states);
        let width = self.weights[0].width();
        let inputs = Rows::new(&normed, width, width, tokens.len());
        let project = |idx: usize, outputs: &mut [E]| {
            project(
                self.weights[idx],
                self.biases[idx],
                inputs,
                self.from,
                outputs,
            );
        };
        let [queries, keys, own_values] = outputs;
        project(2, own_values);
        for (idx, outputs) in [queries, keys].into_iter().enumerate() {
            let mut projected = vec![E::default(); outputs.len()];
            project(idx, &mut projected);
            let n_outs = self.weights[idx].len();
            let places = outputs.chunks_exact_mut(n_outs);
            let heads = projected.chunks_exact(n_outs).zip(places);
            for (token, (heads, places)) in tokens.clone().zip(heads) {
                let indices = [token / self.seq, 0, token % self.seq];
                let [cos, sin] = self
                    .rotation
                    .map(|angles| &angles.from(indices)[..self.half]);
                rotate_halves(heads, cos, sin, places);
            }
        }
    }
}

/// The values of a [`Linear`].
struct LinearRows<'a, E> {
    weight: Rows<'a, E>,
    bias: Option<&'a [E]>,
    from: ReadFrom,
}

impl<'a, E: Dot> LinearRows<'a, E> {
    fn of(linear: &'a Linear) -> Self {
        let weight = rows(&linear.weight);
        Self {
            from: read_from(&[weight]),
            weight,
            bias: linear.bias.as_ref().map(values),
        }
    }

    fn add(&self, inputs: Rows<'_, E>, states: &[E], outputs: &mut [E]) {
        project(self.weight, self.bias, inputs, self.from, outputs);
        add_rows(states, outputs);
    }
}

/// The values of an [`Mlp`].
struct MlpRows<'a, E> {
    norm: NormRow<'a, E>,
    weights: [Rows<'a, E>; 3],
    from: ReadFrom,
}

impl<'a, E: Dot> MlpRows<'a, E> {
    fn of(mlp: &'a Mlp) -> Self {
        let weights = mlp.weights.each_ref().map(rows);
        Self {
            norm: NormRow::of(&mlp.norm),
            from: read_from(&weights),
            weights,
        }
    }

    fn add(&self, states: &[E], outputs: &mut [E]) {
        let [gate, up, down] = self.weights;
        let normed = self.norm.norm(states);
        let n_rows = states.len() / gate.width();
        let inputs = Rows::new(&normed, gate.width(), gate.width(), n_rows);
        let mut inner = vec![E::default(); n_rows * gate.len()];
        gated([gate, up], inputs, self.from, &mut inner);
        let inner = Rows::new(&inner, gate.len(), gate.len(), n_rows);
        project(down, None, inner, self.from, outputs);
        add_rows(states, outputs);
    }
}

fn dims(hidden: &FlexTensor) -> [usize; 3] {
    let shape = hidden.layout().shape();
    [shape[0], shape[1], shape[2]]
}
