//! The experts of a sparse MLP: each task streams some rows of the weights of all chosen experts past the tokens that go
//! through them. Weights of other experts are not read.

use burn::backend::flex::FlexTensor;

use super::dot::{Dot, Rows};
use super::linear_map::{
    TILE, by_outs, gated, products, rows, tasks_by_outs, where_bytes_lie, with_sums,
};
use super::storage::contiguous;
use crate::routing::Routing;
use crate::settings::Activation;

/// The sum over a token's experts of `weight · down(activation(gate(x)) * up(x))`, of `[tokens, hidden]`. The matrices of all
/// experts lie below each other: gate and up are `[experts * intermediate, hidden]`, down is `[experts * hidden, intermediate]`.
///
/// A token's sum is taken in f32, in the order of its experts' indices, and rounded once: its bits do not depend on the
/// other tokens.
pub(super) fn experts<E: Dot>(
    input: FlexTensor,
    weights: [FlexTensor; 3],
    routing: &Routing,
    activation: Activation,
) -> FlexTensor {
    let input = contiguous(input);
    let weights = weights.map(contiguous);
    let inputs = rows::<E>(&input);
    let [gate, up, down] = weights.each_ref().map(rows::<E>);
    let (hidden, intermediate) = (inputs.width(), down.width());
    let n_tokens = inputs.len();
    let groups = routing.by_expert();
    let n_pairs = routing.experts().len();
    let from = where_bytes_lie(groups.len() * 3 * hidden * intermediate * size_of::<E>());

    // A row for each token of each expert, expert by expert.
    let mut states = Vec::with_capacity(n_pairs * hidden);
    for group in &groups {
        for &(token, _) in &group.tokens {
            states.extend_from_slice(inputs.row(token));
        }
    }
    let states = Rows::new(&states, hidden, hidden, n_pairs);
    let n_outs = [intermediate];
    let tasks = tasks_by_outs(&n_outs, n_pairs, 2 * hidden, TILE);
    let [inner] = by_outs(n_pairs, n_outs, tasks, |task, mut block: &mut [E]| {
        let mut start = 0;
        for group in &groups {
            let own = start..start + group.tokens.len();
            start = own.end;
            let (outputs, others) = block.split_at_mut(own.len() * task.outs.len());
            block = others;
            let first = group.expert * intermediate;
            let outs = first + task.outs.start..first + task.outs.end;
            let weights = [gate, up].map(|weight| weight.slice(outs.clone()));
            gated(weights, activation, states.slice(own), from, outputs);
        }
    });

    let inner = rows::<E>(&inner);
    let n_outs = [hidden];
    let tasks = tasks_by_outs(&n_outs, n_pairs, intermediate, TILE);
    let [output] = by_outs(n_tokens, n_outs, tasks, |task, block: &mut [E]| {
        let width = task.outs.len();
        with_sums(block, |sums| {
            let mut start = 0;
            for group in &groups {
                let own = start..start + group.tokens.len();
                start = own.end;
                let mut outputs = vec![0.0; own.len() * width];
                let first = group.expert * hidden;
                let weight = down.slice(first + task.outs.start..first + task.outs.end);
                products(weight, inner.slice(own), from, &mut outputs);
                for (&(token, weight), outputs) in
                    group.tokens.iter().zip(outputs.chunks_exact(width))
                {
                    let sums = &mut sums[token * width..(token + 1) * width];
                    for (sum, output) in sums.iter_mut().zip(outputs) {
                        *sum += weight * output;
                    }
                }
            }
        });
    });
    output
}
