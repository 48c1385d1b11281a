//! A layer, or a sublayer, in one pass over the tokens, where its weights stay in every core's cache: a task takes
//! some tokens through, and what stands between two operations never leaves its core.
//!
//! The operations are those of the other files, in their order and rounded as they are: the bits are the same.

use std::borrow::Cow;
use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::attention::{Attention, StridedRows};
use super::dot::{Dot, ReadFrom, Rows};
use super::linear_map::{by_inputs, gated, project, rows, tasks_by_inputs};
use super::rotary::rotate_heads;
use super::storage::{contiguous, values};
use super::sublayers::{GatedMlp, LinearMap, Norm, QkvProjection};
use crate::settings::Scores;
use crate::slots::AttendedSlots;

/// `[batch, seq, heads * head_dim]` of queries, keys and values, from `[batch, seq, hidden]`.
pub(super) fn heads<E: Dot>(hidden: FlexTensor, qkv: &QkvProjection) -> Option<[FlexTensor; 3]> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let weights = qkv.weights.each_ref().map(rows::<E>);
    let tasks = tasks_by_inputs(&weights, batch * seq, 1)?;
    let states = values::<E>(&hidden);
    let shapes = weights.map(|weight| Shape::from([batch, seq, weight.len()]));
    let heads = by_inputs(batch * seq, shapes, tasks, |task, outputs| {
        let states = &states[task.start * width..task.end * width];
        qkv.write::<E>(task, seq, states, outputs);
    });
    Some(heads)
}

/// A linear map's outputs added to the residual stream `[batch, seq, hidden]`.
pub(super) fn add_linear<E: Dot>(
    hidden: FlexTensor,
    input: FlexTensor,
    linear: &LinearMap,
) -> Option<FlexTensor> {
    let (hidden, input) = (contiguous(hidden), contiguous(input));
    let [batch, seq, width] = dims(&hidden);
    let weight = rows::<E>(&linear.weight);
    let tasks = tasks_by_inputs(&[weight], batch * seq, 1)?;
    let n_in = weight.width();
    let inputs = Rows::new(values::<E>(&input), n_in, n_in, batch * seq);
    let states = values::<E>(&hidden);
    let shape = hidden.layout().shape().clone();
    let [output] = by_inputs(batch * seq, [shape], tasks, |task, [outputs]| {
        let states = &states[task.start * width..task.end * width];
        linear.add(inputs.slice(task), states, outputs);
    });
    Some(output)
}

/// The MLP's outputs added to the residual stream `[batch, seq, hidden]`.
pub(super) fn add_mlp<E: Dot>(hidden: FlexTensor, mlp: &GatedMlp) -> Option<FlexTensor> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let weights = mlp.weights.each_ref().map(rows::<E>);
    let tasks = tasks_by_inputs(&weights, batch * seq, 1)?;
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
    qkv: &QkvProjection,
    output: &LinearMap,
    mlp: &GatedMlp,
    slots: &AttendedSlots,
    scores: Scores,
) -> Option<[FlexTensor; 3]> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let [query_weight, key_weight, value_weight] = qkv.weights.each_ref().map(rows::<E>);
    let [gate, up, down] = mlp.weights.each_ref().map(rows::<E>);
    let weights = [
        query_weight,
        key_weight,
        value_weight,
        rows(&output.weight),
        gate,
        up,
        down,
    ];
    let tasks = tasks_by_inputs(&weights, batch, seq)?;

    let states = values::<E>(&hidden);
    let head_dim = qkv.head_dim;
    let [n_queries, n_keys, n_values] =
        [query_weight, key_weight, value_weight].map(|weight| weight.len());
    let shapes = [width, n_keys, n_values].map(|width| Shape::from([batch, seq, width]));
    let work = |rows: Range<usize>, [outputs, keys, own_values]: [&mut [E]; 3]| {
        let tokens = rows.start * seq..rows.end * seq;
        let n_tokens = tokens.len();
        let states = &states[tokens.start * width..tokens.end * width];
        let mut queries = vec![E::default(); n_tokens * n_queries];
        qkv.write(tokens, seq, states, [&mut queries, keys, own_values]);
        let n_kv_heads = n_keys / head_dim;
        let attention = Attention {
            queries: StridedRows::of_tokens(&queries, seq, n_queries / head_dim, head_dim),
            keys: StridedRows::of_tokens(keys, seq, n_kv_heads, head_dim),
            values: StridedRows::of_tokens(own_values, seq, n_kv_heads, head_dim),
            n_heads: n_queries / head_dim,
            n_kv_heads,
            seq,
            head_dim,
            scores,
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

/// The states after the norm before a sublayer; without a norm, as they are.
fn normed<'a, E: Dot>(norm: Option<&Norm>, states: &'a [E]) -> Cow<'a, [E]> {
    match norm {
        None => Cow::Borrowed(states),
        Some(norm) => Cow::Owned(norm.norm(states)),
    }
}

impl QkvProjection {
    /// Queries, keys and values of some tokens of the pass, whose states are given.
    fn write<E: Dot>(
        &self,
        tokens: Range<usize>,
        seq: usize,
        states: &[E],
        outputs: [&mut [E]; 3],
    ) {
        let weights = self.weights.each_ref().map(rows::<E>);
        let rotation = self.rotation.as_ref().map(|rotation| {
            let n_pairs = rotation[0].layout().shape()[3];
            (rotation.each_ref().map(StridedRows::<E>::of), n_pairs)
        });
        let normed = normed(self.norm.as_ref(), states);
        let width = weights[0].width();
        let inputs = Rows::new(&normed, width, width, tokens.len());
        let project = |idx: usize, outputs: &mut [E]| {
            let bias = self.biases[idx].as_ref().map(values);
            project(weights[idx], bias, inputs, ReadFrom::Cache, outputs);
        };
        let [queries, keys, own_values] = outputs;
        project(2, own_values);
        for (idx, outputs) in [queries, keys].into_iter().enumerate() {
            let mut projected = vec![E::default(); outputs.len()];
            project(idx, &mut projected);
            if let Some(norms) = &self.head_norms {
                projected = norms[idx].norm(&projected);
            }
            let Some((rotation, n_pairs)) = rotation else {
                outputs.copy_from_slice(&projected);
                continue;
            };
            let n_outs = weights[idx].len();
            let places = outputs.chunks_exact_mut(n_outs);
            let heads = projected.chunks_exact(n_outs).zip(places);
            for (token, (heads, places)) in tokens.clone().zip(heads) {
                let indices = [token / seq, 0, token % seq];
                let [cos, sin] = rotation.map(|angles| &angles.from(indices)[..n_pairs]);
                rotate_heads(heads, self.head_dim, cos, sin, places);
            }
        }
    }
}

impl LinearMap {
    /// The map's outputs of some tokens, added to their states.
    fn add<E: Dot>(&self, inputs: Rows<'_, E>, states: &[E], outputs: &mut [E]) {
        let bias = self.bias.as_ref().map(values);
        project(rows(&self.weight), bias, inputs, ReadFrom::Cache, outputs);
        self.residual.add(states, outputs);
    }
}

impl GatedMlp {
    /// The MLP's outputs of some tokens, added to their states.
    fn add<E: Dot>(&self, states: &[E], outputs: &mut [E]) {
        let [gate, up, down] = self.weights.each_ref().map(rows::<E>);
        let normed = normed(self.norm.as_ref(), states);
        let n_rows = states.len() / gate.width();
        let inputs = Rows::new(&normed, gate.width(), gate.width(), n_rows);
        let mut inner = vec![E::default(); n_rows * gate.len()];
        gated(
            [gate, up],
            self.activation,
            inputs,
            ReadFrom::Cache,
            &mut inner,
        );
        let inner = Rows::new(&inner, gate.len(), gate.len(), n_rows);
        project(down, None, inner, ReadFrom::Cache, outputs);
        self.residual.add(states, outputs);
    }
}

fn dims(hidden: &FlexTensor) -> [usize; 3] {
    let shape = hidden.layout().shape();
    [shape[0], shape[1], shape[2]]
}
