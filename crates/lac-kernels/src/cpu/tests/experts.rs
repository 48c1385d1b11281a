//! Experts against plain loops in f64, and that a token's bits depend on no other token.

use burn::tensor::DType;

use super::{DTYPES, assert_close, products, read, tensor, values};
use crate::cpu::{experts, gated_linear, linear, route};
use crate::routing::RouterWeights;
use crate::settings::Activation;

struct Sizes {
    n_tokens: usize,
    hidden: usize,
    intermediate: usize,
    n_experts: usize,
    n_chosen: usize,
}

/// Input, router, gate, up and down.
fn weights(sizes: &Sizes, seed: u64) -> [Vec<f32>; 5] {
    let n_values = sizes.n_experts * sizes.intermediate * sizes.hidden;
    [
        values(sizes.n_tokens * sizes.hidden, seed),
        values(sizes.n_experts * sizes.hidden, seed + 1),
        values(n_values, seed + 2),
        values(n_values, seed + 3),
        values(n_values, seed + 4),
    ]
}

/// The experts' output for some of the tokens.
fn output(
    sizes: &Sizes,
    [input, router, gate, up, down]: &[Vec<f32>; 5],
    tokens: std::ops::Range<usize>,
    dtype: DType,
) -> Vec<f32> {
    let Sizes {
        hidden,
        intermediate,
        n_experts,
        n_chosen,
        ..
    } = *sizes;
    let input = &input[tokens.start * hidden..tokens.end * hidden];
    let input = tensor(input, [tokens.len(), hidden], dtype);
    let router = tensor(router, [n_experts, hidden], dtype);
    let [gate, up] =
        [gate, up].map(|weight| tensor(weight, [n_experts * intermediate, hidden], dtype));
    let down = tensor(down, [n_experts * hidden, intermediate], dtype);
    let [logits] = linear(input.clone(), [router], [None]);
    let routing = route(logits, n_chosen, RouterWeights::Renormalised);
    let weights = [gate, up, down];
    read(experts(input, weights, &routing, Activation::Silu))
}

#[test]
fn experts_of_every_size() {
    for sizes in [
        [1, 8, 4, 1, 1],
        [1, 24, 10, 4, 2],
        [7, 33, 13, 8, 2],
        [40, 130, 50, 6, 3],
        [3, 64, 96, 64, 8],
    ] {
        let [n_tokens, hidden, intermediate, n_experts, n_chosen] = sizes;
        let sizes = Sizes {
            n_tokens,
            hidden,
            intermediate,
            n_experts,
            n_chosen,
        };
        let tensors = weights(&sizes, 40);
        let found = output(&sizes, &tensors, 0..n_tokens, DType::F32);
        let [input, router, gate, up, down] = tensors;
        let logits = products(&input, &router, hidden);
        let silu = |x: f64| x / (1.0 + (-x).exp());
        let mut expected = Vec::new();
        for (logits, state) in logits.chunks(n_experts).zip(input.chunks(hidden)) {
            let mut order: Vec<usize> = (0..n_experts).collect();
            order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
            let chosen = &order[..n_chosen];
            let total: f64 = chosen.iter().map(|&expert| logits[expert].exp()).sum();
            let mut sums = vec![0.0; hidden];
            for &expert in chosen {
                let n_values = intermediate * hidden;
                let of_expert = |weight: &[f32]| {
                    products(state, &weight[expert * n_values..][..n_values], hidden)
                };
                let pairs = of_expert(&gate).into_iter().zip(of_expert(&up));
                let inner = pairs.map(|(gate, up)| silu(gate) * up);
                let inner: Vec<f64> = inner.collect();
                let down = &down[expert * n_values..][..n_values];
                for (sum, row) in sums.iter_mut().zip(down.chunks(intermediate)) {
                    let product: f64 = row
                        .iter()
                        .zip(&inner)
                        .map(|(&w, &x)| f64::from(w) * x)
                        .sum();
                    *sum += logits[expert].exp() / total * product;
                }
            }
            expected.extend(sums);
        }
        // What f32 loses inside an expert is as large as the products there.
        let most = expected
            .iter()
            .fold(0.0f64, |most, value| most.max(value.abs()));
        let scale = 1.0 / (1.0 + most) as f32;
        let found: Vec<f32> = found.iter().map(|value| value * scale).collect();
        let expected: Vec<f64> = expected
            .iter()
            .map(|value| value * f64::from(scale))
            .collect();
        assert_close(
            &found,
            &expected,
            DType::F32,
            hidden,
            &format!("{n_tokens} tokens"),
        );
    }
}

#[test]
fn one_expert_is_a_gated_mlp() {
    for dtype in DTYPES {
        let sizes = Sizes {
            n_tokens: 5,
            hidden: 48,
            intermediate: 20,
            n_experts: 1,
            n_chosen: 1,
        };
        let tensors = weights(&sizes, 50);
        let [input, _, gate, up, down] = &tensors;
        let inner = gated_linear(
            tensor(input, [5, 48], dtype),
            tensor(gate, [20, 48], dtype),
            tensor(up, [20, 48], dtype),
            Activation::Silu,
        );
        let [expected] = linear(inner, [tensor(down, [48, 20], dtype)], [None]);
        assert_eq!(output(&sizes, &tensors, 0..5, dtype), read(expected));
    }
}

#[test]
fn a_token_gives_the_same_bits_among_others() {
    for dtype in DTYPES {
        // Weights that stay in a cache, and weights that do not.
        for (hidden, intermediate) in [(40, 24), (384, 512)] {
            let sizes = Sizes {
                n_tokens: 50,
                hidden,
                intermediate,
                n_experts: 6,
                n_chosen: 2,
            };
            let tensors = weights(&sizes, 60);
            let together = output(&sizes, &tensors, 0..50, dtype);
            for tokens in [0..1, 3..6, 20..45, 49..50] {
                let own = output(&sizes, &tensors, tokens.clone(), dtype);
                let expected = &together[tokens.start * hidden..tokens.end * hidden];
                assert_eq!(own, expected, "{dtype:?}, {tokens:?}");
            }
        }
    }
}
