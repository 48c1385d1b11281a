//! Parts of a layer in one pass over the tokens, where the weights of a part stay in every core's cache: a task
//! takes some tokens through a whole part, and what stands between two operations never leaves its core.
//!
//! The operations are those of the other files, in their order and rounded as they are: the bits are the same.

use std::ops::Range;

use burn::backend::flex::FlexTensor;
use burn::tensor::Shape;

use super::dot::{Dot, Rows};
use super::linear::{by_inputs, gated, project, read_from, rows, tasks_by_inputs};
use super::norm::norm_rows;
use super::numeric::{add_rows, rotate_halves};
use super::{contiguous, row_start, values, with_whole_rows};

/// Norm, projections to queries, keys and values, and rotation of queries and keys by cosines and sines
/// `[1 or batch, 1, seq, head_dim / 2]`: `[batch, seq, heads * head_dim]` each from `[batch, seq, hidden]`.
pub(super) fn heads<E: Dot>(
    hidden: FlexTensor,
    norm_weight: FlexTensor,
    epsilon: f64,
    weights: [FlexTensor; 3],
    biases: [Option<FlexTensor>; 3],
    [cos, sin]: [FlexTensor; 2],
) -> Option<[FlexTensor; 3]> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let weights = weights.map(contiguous);
    let weights: [Rows<'_, E>; 3] = std::array::from_fn(|idx| rows(&weights[idx]));
    let tasks = tasks_by_inputs(&weights, batch * seq)?;
    let biases = biases.map(|bias| bias.map(contiguous));
    let biases: [Option<&[E]>; 3] = std::array::from_fn(|idx| biases[idx].as_ref().map(values));
    let norm_weight = contiguous(norm_weight);
    let (states, norm_weight) = (values::<E>(&hidden), values::<E>(&norm_weight));
    let (cos, sin) = (with_whole_rows(cos), with_whole_rows(sin));
    let half = cos.layout().shape()[3];
    let (cosines, sines) = (E::storage(&cos), E::storage(&sin));
    let from = read_from(&weights);

    let n_outs = weights.map(|weight| weight.len());
    let work = |task: Range<usize>, [queries, keys, own_values]: [&mut [E]; 3]| {
        let mut normed = vec![E::default(); task.len() * width];
        norm_rows(
            &states[task.start * width..],
            norm_weight,
            epsilon,
            &mut normed,
        );
        let inputs = Rows::new(&normed, width, width, task.len());
        project(weights[2], biases[2], inputs, from, own_values);
        for (idx, outputs) in [queries, keys].into_iter().enumerate() {
            let mut projected = vec![E::default(); outputs.len()];
            project(weights[idx], biases[idx], inputs, from, &mut projected);
            let tokens = projected.chunks_exact(n_outs[idx]);
            let places = outputs.chunks_exact_mut(n_outs[idx]);
            for (token, (heads, places)) in task.clone().zip(tokens.zip(places)) {
                let indices = [token / seq, 0, token % seq];
                let cos = &cosines[row_start(&cos, &indices)..][..half];
                let sin = &sines[row_start(&sin, &indices)..][..half];
                let places = places.chunks_exact_mut(2 * half);
                for (head, place) in heads.chunks_exact(2 * half).zip(places) {
                    rotate_halves(head, cos, sin, place);
                }
            }
        }
    };
    let outputs = by_inputs(batch * seq, n_outs, tasks, work);
    let mut n_outs = n_outs.iter();
    Some(outputs.map(|outputs| {
        let n_outs = n_outs.next().copied().unwrap_or_default();
        E::tensor(outputs, Shape::from([batch, seq, n_outs]))
    }))
}

/// A linear map's outputs added to the residual stream `[batch, seq, hidden]`.
pub(super) fn add_linear<E: Dot>(
    hidden: FlexTensor,
    input: FlexTensor,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
) -> Option<FlexTensor> {
    let (hidden, input, weight) = (contiguous(hidden), contiguous(input), contiguous(weight));
    let [batch, seq, width] = dims(&hidden);
    let weight = rows::<E>(&weight);
    let tasks = tasks_by_inputs(&[weight], batch * seq)?;
    let bias = bias.map(contiguous);
    let bias = bias.as_ref().map(values::<E>);
    let inputs = Rows::new(values(&input), weight.width(), weight.width(), batch * seq);
    let states = values::<E>(&hidden);
    let from = read_from(&[weight]);
    let work = |task: Range<usize>, [outputs]: [&mut [E]; 1]| {
        project(weight, bias, inputs.slice(task.clone()), from, outputs);
        add_rows(&states[task.start * width..], outputs);
    };
    let [output] = by_inputs(batch * seq, [width], tasks, work);
    Some(E::tensor(output, hidden.layout().shape().clone()))
}

/// Norm, the gated MLP with weights gate, up and down, and its outputs added to the residual stream
/// `[batch, seq, hidden]`.
pub(super) fn add_mlp<E: Dot>(
    hidden: FlexTensor,
    norm_weight: FlexTensor,
    epsilon: f64,
    weights: [FlexTensor; 3],
) -> Option<FlexTensor> {
    let hidden = contiguous(hidden);
    let [batch, seq, width] = dims(&hidden);
    let weights = weights.map(contiguous);
    let weights: [Rows<'_, E>; 3] = std::array::from_fn(|idx| rows(&weights[idx]));
    let tasks = tasks_by_inputs(&weights, batch * seq)?;
    let norm_weight = contiguous(norm_weight);
    let (states, norm_weight) = (values::<E>(&hidden), values::<E>(&norm_weight));
    let from = read_from(&weights);
    let [gate, up, down] = weights;
    let work = |task: Range<usize>, [outputs]: [&mut [E]; 1]| {
        let states = &states[task.start * width..task.end * width];
        let mut normed = vec![E::default(); states.len()];
        norm_rows(states, norm_weight, epsilon, &mut normed);
        let inputs = Rows::new(&normed, width, width, task.len());
        let mut inner = vec![E::default(); task.len() * gate.len()];
        gated([gate, up], inputs, from, &mut inner);
        let inner = Rows::new(&inner, gate.len(), gate.len(), task.len());
        project(down, None, inner, from, outputs);
        add_rows(states, outputs);
    };
    let [output] = by_inputs(batch * seq, [width], tasks, work);
    Some(E::tensor(output, hidden.layout().shape().clone()))
}

fn dims(hidden: &FlexTensor) -> [usize; 3] {
    let shape = hidden.layout().shape();
    [shape[0], shape[1], shape[2]]
}
