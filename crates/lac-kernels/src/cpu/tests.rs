//! The kernels against plain loops in f64, in all data types and awkward sizes; and that an output's bits
//! depend on its own row alone.

mod experts;
mod sublayers;

use burn::tensor::{DType, Device, Tensor, TensorData};
use proptest::prelude::*;

use crate::settings::{Activation, NormForm, Scores};
use crate::slots::AttendedSlots;

use super::{attend, gated_linear, has_cpu_kernel, linear, rms_norm, rotate, soft_cap};

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];

/// Values between −1 and 1, exact in every data type.
fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let next = |_| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        ((state >> 33) % 129) as f32 / 64.0 - 1.0
    };
    (0..n).map(next).collect()
}

fn tensor<const D: usize>(values: &[f32], shape: [usize; D], dtype: DType) -> Tensor<D> {
    let tensor = Tensor::from_data(
        TensorData::new(values.to_vec(), shape),
        (&Device::flex(), dtype),
    );
    assert!(has_cpu_kernel(&tensor));
    tensor
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().convert::<f32>().try_to_vec().unwrap()
}

/// Half a unit in the last place of the data type, at the size of the value; and what f32 sums lose.
fn tolerance(dtype: DType, value: f64, n_terms: usize) -> f64 {
    let unit = match dtype {
        DType::BF16 => 2f64.powi(-8),
        DType::F16 => 2f64.powi(-11),
        _ => 0.0,
    };
    1.01 * unit * value.abs() + 1e-7 * (n_terms as f64).sqrt() + 1e-6
}

fn assert_close(found: &[f32], expected: &[f64], dtype: DType, n_terms: usize, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (idx, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        let error = (f64::from(found) - expected).abs();
        assert!(
            error <= tolerance(dtype, expected, n_terms),
            "{what}, {dtype:?}, value {idx}: {found} instead of {expected}"
        );
    }
}

/// `[rows, in]` times `[out, in]`.
fn products(input: &[f32], weight: &[f32], n_in: usize) -> Vec<f64> {
    let dot = |x: &[f32], w: &[f32]| -> f64 {
        x.iter()
            .zip(w)
            .map(|(&x, &w)| f64::from(x) * f64::from(w))
            .sum()
    };
    input
        .chunks(n_in)
        .flat_map(|x| weight.chunks(n_in).map(move |w| dot(x, w)))
        .collect()
}

#[test]
fn linear_maps_of_every_size() {
    for dtype in DTYPES {
        for (rows, n_in, n_out) in [
            (1, 1, 1),
            (1, 33, 5),
            (1, 896, 130),
            (2, 17, 7),
            (3, 1025, 6),
            (5, 64, 13),
            (17, 2100, 25),
            (40, 300, 97),
        ] {
            let what = format!("{rows} x {n_in} x {n_out}");
            let input = values(rows * n_in, 1);
            let weight = values(n_out * n_in, 2);
            let other = values((n_out + 1) * n_in, 3);
            let [first, second] = linear(
                tensor(&input, [rows, n_in], dtype),
                [
                    tensor(&weight, [n_out, n_in], dtype),
                    tensor(&other, [n_out + 1, n_in], dtype),
                ],
                [None, None],
            );
            let expected = products(&input, &weight, n_in);
            assert_close(&read(first), &expected, dtype, n_in, &what);
            let expected = products(&input, &other, n_in);
            assert_close(&read(second), &expected, dtype, n_in, &what);
        }
    }
}

#[test]
fn biases_are_added_after_rounding() {
    // In bf16, 256 + 1 is a tie that goes to 256, and only then 1.5 is added: 258, not 260.
    let input = tensor(&[256.0, 1.0], [1, 2], DType::BF16);
    let weight = tensor(&[1.0, 1.0], [1, 2], DType::BF16);
    let bias = tensor(&[1.5], [1], DType::BF16);
    let [output] = linear(input, [weight], [Some(bias)]);
    assert_eq!(read(output), [258.0]);
}

#[test]
fn gated_maps() {
    let sizes = [(1, 40, 9), (3, 128, 50), (33, 70, 31)];
    let silu = |x: f64| x / (1.0 + (-x).exp());
    let gelu = |x: f64| {
        let root = (2.0 / std::f64::consts::PI).sqrt();
        x / 2.0 * (1.0 + (root * (x + 0.044715 * x.powi(3))).tanh())
    };
    type Exact = fn(f64) -> f64;
    let activations: [(Activation, Exact); 2] =
        [(Activation::Silu, silu), (Activation::GeluTanh, gelu)];
    for ((activation, exact), (rows, n_in, n_out)) in activations
        .into_iter()
        .flat_map(|activation| sizes.map(|sizes| (activation, sizes)))
    {
        let input = values(rows * n_in, 4);
        let (gate, up) = (values(n_out * n_in, 5), values(n_out * n_in, 6));
        let found = gated_linear(
            tensor(&input, [rows, n_in], DType::F32),
            tensor(&gate, [n_out, n_in], DType::F32),
            tensor(&up, [n_out, n_in], DType::F32),
            activation,
        );
        let gates = products(&input, &gate, n_in);
        let ups = products(&input, &up, n_in);
        for ((found, gate), up) in read(found).into_iter().zip(gates).zip(ups) {
            let expected = exact(gate) * up;
            let error = (f64::from(found) - expected).abs();
            assert!(
                error <= 1e-5 * (1.0 + expected.abs()),
                "{found} instead of {expected}"
            );
        }
    }
}

#[test]
fn norms() {
    for (dtype, form) in DTYPES.into_iter().flat_map(|dtype| {
        [
            NormForm::Weight,
            NormForm::WeightInF32,
            NormForm::OnePlusWeight,
        ]
        .map(|form| (dtype, form))
    }) {
        for width in [1, 7, 128, 1000] {
            let hidden = values(3 * width, 7);
            let weight = values(width, 8);
            let found = rms_norm(
                tensor(&hidden, [1, 3, width], dtype),
                tensor(&weight, [width], dtype),
                1e-5,
                form,
            );
            let one = match form {
                NormForm::Weight | NormForm::WeightInF32 => 0.0,
                NormForm::OnePlusWeight => 1.0,
            };
            let expected: Vec<f64> = hidden
                .chunks(width)
                .flat_map(|row| {
                    let squares: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
                    let scale = (squares / width as f64 + 1e-5).sqrt().recip();
                    row.iter()
                        .zip(&weight)
                        .map(move |(&x, &w)| f64::from(x) * scale * (one + f64::from(w)))
                })
                .collect();
            // The normed value is rounded, and its product with the weight once more.
            for (found, expected) in read(found).into_iter().zip(expected) {
                let error = (f64::from(found) - expected).abs();
                assert!(
                    error <= 2.0 * tolerance(dtype, expected, width),
                    "{dtype:?} {width}"
                );
            }
        }
    }
}

#[test]
fn rotations_of_views() {
    // Heads as a view with other strides than its shape's, angles that all rows share.
    check_rotation(6);
}

#[test]
fn values_beyond_the_pairs_are_not_rotated() {
    check_rotation(4);
    check_rotation(2);
}

fn check_rotation(n_rotated: usize) {
    let (batch, heads, seq, head_dim) = (2, 3, 4, 6);
    let all = values(batch * seq * heads * head_dim, 9);
    let view = tensor(&all, [batch, seq, heads, head_dim], DType::F32).swap_dims(1, 2);
    let n_pairs = n_rotated / 2;
    let cosines = values(seq * n_pairs, 10);
    let sines = values(seq * n_pairs, 11);
    let found = rotate(
        view,
        tensor(&cosines, [1, 1, seq, n_pairs], DType::F32),
        tensor(&sines, [1, 1, seq, n_pairs], DType::F32),
    );
    let found = read(found);
    for row in 0..batch {
        for head in 0..heads {
            for position in 0..seq {
                let from = &all[((row * seq + position) * heads + head) * head_dim..][..head_dim];
                let to = &found[((row * heads + head) * seq + position) * head_dim..][..head_dim];
                assert_eq!(to[n_rotated..], from[n_rotated..]);
                for pair in 0..n_pairs {
                    let angle = position * n_pairs + pair;
                    let (x, y) = (from[pair], from[pair + n_pairs]);
                    let (cos, sin) = (cosines[angle], sines[angle]);
                    assert_eq!(to[pair], x * cos - y * sin);
                    assert_eq!(to[pair + n_pairs], y * cos + x * sin);
                }
            }
        }
    }
}

/// Attention of one query, in f64.
fn attention(query: &[f32], keys: &[&[f32]], values: &[&[f32]], settings: Scores) -> Vec<f64> {
    let scale = f64::from(settings.scale);
    let capped = |score: f64| match settings.soft_cap.map(f64::from) {
        Some(cap) => cap * (score / cap).tanh(),
        None => score,
    };
    let scores: Vec<f64> = keys
        .iter()
        .map(|key| {
            let products = query
                .iter()
                .zip(*key)
                .map(|(&q, &k)| f64::from(q) * f64::from(k));
            capped(scale * products.sum::<f64>())
        })
        .collect();
    let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = scores.iter().map(|score| (score - largest).exp()).collect();
    let total: f64 = weights.iter().sum();
    (0..query.len())
        .map(|idx| {
            let sum = weights
                .iter()
                .zip(values)
                .map(|(weight, value)| weight * f64::from(value[idx]));
            sum.sum::<f64>() / total
        })
        .collect()
}

#[test]
fn soft_bounds_of_any_number_of_values() {
    for dtype in DTYPES {
        for n_values in [1, 4099, 40_000] {
            let scaled: Vec<f32> = values(n_values, 90)
                .iter()
                .map(|value| 64.0 * value)
                .collect();
            let found = read(soft_cap(tensor(&scaled, [1, n_values], dtype), 30.0));
            let expected: Vec<f64> = scaled
                .iter()
                .map(|&value| 30.0 * (f64::from(value) / 30.0).tanh())
                .collect();
            // Values of up to 30 have an ulp of 2e-6 in f32.
            for (idx, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let error = (f64::from(*found) - expected).abs();
                let most = tolerance(dtype, *expected, 1) + 4e-7 * expected.abs();
                assert!(
                    error <= most,
                    "{dtype:?}, value {idx}: {found} instead of {expected}"
                );
            }
            // No value depends on those beside it.
            let alone = read(soft_cap(
                tensor(&scaled[n_values - 1..], [1, 1], dtype),
                30.0,
            ));
            assert_eq!(alone[0], found[n_values - 1], "{dtype:?}, {n_values}");
        }
    }
}

#[test]
fn attention_sees_what_it_may() {
    let (batch, n_heads, n_kv_heads, head_dim, capacity) = (2, 4, 2, 10, 12);
    let plain = Scores::of_head_dim(head_dim);
    let capped = Scores {
        scale: 2.0,
        soft_cap: Some(1.5),
    };
    for (past, seq, window, padding, scores) in [
        (0, 5, None, [0, 0], plain),
        (6, 1, None, [0, 3], plain),
        (6, 3, Some(4), [2, 0], plain),
        (0, 8, Some(3), [5, 0], plain),
        (6, 1, None, [0, 3], capped),
        (0, 8, Some(3), [5, 0], capped),
    ] {
        for dtype in DTYPES {
            let queries = values(batch * n_heads * seq * head_dim, 12);
            let n_cached = batch * n_kv_heads * capacity * head_dim;
            let (keys, cached) = (values(n_cached, 13), values(n_cached, 14));
            let cache_shape = [batch, n_kv_heads, capacity, head_dim];
            let found = attend(
                tensor(&queries, [batch, n_heads, seq, head_dim], dtype),
                tensor(&keys, cache_shape, dtype).narrow(2, 0, past + seq),
                tensor(&cached, cache_shape, dtype).narrow(2, 0, past + seq),
                &AttendedSlots {
                    past,
                    window,
                    padding: padding.to_vec(),
                    ends: Vec::new(),
                },
                scores,
            );
            let found = read(found);
            for row in 0..batch {
                for head in 0..n_heads {
                    for query in 0..seq {
                        let own = past + query;
                        if own < padding[row] {
                            continue;
                        }
                        let oldest = window.map_or(0, |window| (own + 1).saturating_sub(window));
                        let slots = oldest.max(padding[row])..own + 1;
                        let kv_head = head / (n_heads / n_kv_heads);
                        let slot = |from: &'static str, slot: usize| {
                            let from = if from == "keys" { &keys } else { &cached };
                            &from[((row * n_kv_heads + kv_head) * capacity + slot) * head_dim..]
                                [..head_dim]
                        };
                        let expected = attention(
                            &queries[((row * n_heads + head) * seq + query) * head_dim..]
                                [..head_dim],
                            &slots
                                .clone()
                                .map(|idx| slot("keys", idx))
                                .collect::<Vec<_>>(),
                            &slots
                                .clone()
                                .map(|idx| slot("values", idx))
                                .collect::<Vec<_>>(),
                            scores,
                        );
                        let from = ((row * seq + query) * n_heads + head) * head_dim;
                        let what = format!("past {past}, row {row}, head {head}, query {query}");
                        assert_close(
                            &found[from..][..head_dim],
                            &expected,
                            dtype,
                            capacity,
                            &what,
                        );
                    }
                }
            }
        }
    }
}

/// What prefill gives is what decoding gives: queries that are taken together give the bits of each alone.
#[test]
fn a_query_gives_the_same_bits_alone() {
    let (batch, n_heads, n_kv_heads, head_dim, seq) = (2, 4, 2, 10, 19);
    for (dtype, window) in DTYPES
        .into_iter()
        .flat_map(|dtype| [(dtype, None), (dtype, Some(6))])
    {
        let heads = |n_heads: usize, seed| {
            let values = values(batch * n_heads * seq * head_dim, seed);
            tensor(&values, [batch, n_heads, seq, head_dim], dtype)
        };
        let (queries, keys, cached) = (
            heads(n_heads, 50),
            heads(n_kv_heads, 51),
            heads(n_kv_heads, 52),
        );
        let of = |past: usize, seq: usize| {
            let slots = AttendedSlots {
                past,
                window,
                padding: vec![3, 0],
                ends: Vec::new(),
            };
            let seen = |slots: &Tensor<4>| slots.clone().narrow(2, 0, past + seq);
            attend(
                queries.clone().narrow(2, past, seq),
                seen(&keys),
                seen(&cached),
                &slots,
                Scores::of_head_dim(head_dim),
            )
        };
        let together = of(0, seq);
        for query in 0..seq {
            let together = read(together.clone().narrow(1, query, 1));
            assert_eq!(
                read(of(query, 1)),
                together,
                "{dtype:?}, {window:?}, {query}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// What speculation and batching rest on: a row gives the same bits alone and among others.
    #[test]
    fn a_row_gives_the_same_bits_among_others(
        rows in 2usize..40,
        n_in in 1usize..1500,
        n_out in 1usize..60,
        dtype in prop::sample::select(DTYPES.to_vec()),
        seed in any::<u64>(),
    ) {
        let input = values(rows * n_in, seed);
        let weight = tensor(&values(n_out * n_in, seed ^ 1), [n_out, n_in], dtype);
        let [together] = linear(tensor(&input, [rows, n_in], dtype), [weight.clone()], [None]);
        let together = read(together);
        for row in [0, rows / 2, rows - 1] {
            let alone = tensor(&input[row * n_in..][..n_in], [1, n_in], dtype);
            let [alone] = linear(alone, [weight.clone()], [None]);
            prop_assert_eq!(&read(alone), &together[row * n_out..][..n_out]);
        }
    }
}

/// The same with each way of cutting the work: weights that stay in a cache, and weights that do not; few inputs,
/// and so many that tasks have some of them each.
#[test]
fn however_the_work_is_cut_a_row_gives_the_same_bits() {
    for dtype in DTYPES {
        for (n_in, n_out, seed) in [(128, 1000, 20), (384, 2000, 21)] {
            let input = values(70 * n_in, seed);
            let weights =
                [22, 23].map(|seed| tensor(&values(n_out * n_in, seed), [n_out, n_in], dtype));
            let bias = tensor(&values(n_out, 24), [n_out], dtype);
            let of = |rows: std::ops::Range<usize>| {
                let input = &input[rows.start * n_in..rows.end * n_in];
                let input = tensor(input, [rows.len(), n_in], dtype);
                let biases = [Some(bias.clone()), None];
                let [first, second] = linear(input.clone(), weights.clone(), biases);
                let [gate, up] = weights.clone();
                let gated = gated_linear(input, gate, up, Activation::Silu);
                [first, second, gated].map(read)
            };
            let together = of(0..70);
            for rows in [0..1, 3..6, 30..60] {
                for (together, own) in together.iter().zip(of(rows.clone())) {
                    assert_eq!(
                        own,
                        together[rows.start * n_out..rows.end * n_out],
                        "{dtype:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    let weight = tensor(&[1.0, 1.0], [1, 2], DType::F32);
    for (value, is_expected) in [
        (f32::NAN, f32::is_nan as fn(f32) -> bool),
        (f32::INFINITY, f32::is_infinite),
    ] {
        let input = tensor(&[value, 1.0], [1, 2], DType::F32);
        let [output] = linear(input.clone(), [weight.clone()], [None]);
        assert!(is_expected(read(output)[0]));
        for activation in [Activation::Silu, Activation::GeluTanh] {
            let gated = gated_linear(input.clone(), weight.clone(), weight.clone(), activation);
            assert!(is_expected(read(gated)[0]));
        }
        let normed = rms_norm(
            input.unsqueeze(),
            tensor(&[1.0, 1.0], [2], DType::F32),
            1e-5,
            NormForm::Weight,
        );
        assert!(read(normed)[0].is_nan());
    }
}
