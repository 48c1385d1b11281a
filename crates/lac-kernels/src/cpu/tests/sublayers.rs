//! Sublayers in one pass over the tokens against the operations one by one.

use burn::tensor::{DType, FloatDType, Tensor};

use super::super::{
    GatedMlp, LinearMap, Norm, QkvHeads, QkvProjection, Residual, add_linear, add_mlp, add_outputs,
    attend, fuses_sequences, fuses_tokens, gated_linear, layer, linear, queries_keys_values,
    rms_norm, rotate,
};
use super::{DTYPES, read, tensor, values};
use crate::settings::{Activation, NormForm, Scores};
use crate::slots::AttendedSlots;

/// What models choose differently.
#[derive(Clone, Copy, Debug)]
struct Choices {
    form: NormForm,
    activation: Activation,
    /// How many heads a norm of queries and keys spans; 0 for no such norms.
    normed_heads: [usize; 2],
    /// `None` for heads that are not rotated.
    n_pairs: Option<usize>,
    soft_cap: Option<f32>,
    norms: Norms,
    multiplier: f32,
}

/// Where a sublayer has norms.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Norms {
    Before,
    After,
    BeforeAndAfter,
}

const LLAMA: Choices = Choices {
    form: NormForm::Weight,
    activation: Activation::Silu,
    normed_heads: [0, 0],
    n_pairs: Some(5),
    soft_cap: None,
    norms: Norms::Before,
    multiplier: 1.0,
};

const ALL_CHOICES: [Choices; 4] = [
    LLAMA,
    // Norms of every head and a bound on the scores; (1 + w) norms; gelu.
    Choices {
        form: NormForm::OnePlusWeight,
        activation: Activation::GeluTanh,
        normed_heads: [1, 1],
        soft_cap: Some(0.5),
        norms: Norms::BeforeAndAfter,
        ..LLAMA
    },
    // Norms of all heads together; a rotation of six values in ten; norms after the sublayers alone.
    Choices {
        form: NormForm::WeightInF32,
        norms: Norms::After,
        normed_heads: [6, 2],
        n_pairs: Some(3),
        ..LLAMA
    },
    // No rotation; a multiplier.
    Choices {
        n_pairs: None,
        multiplier: 0.22,
        ..LLAMA
    },
];

#[test]
fn one_pass_gives_the_bits_of_its_operations() {
    // With more threads there would be too few tokens for all of them.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    threads.unwrap().install(|| {
        for choices in ALL_CHOICES {
            compare_one_pass(choices);
        }
    });
}

fn compare_one_pass(choices: Choices) {
    let (hidden_size, n_heads, n_kv_heads, head_dim, inner) = (48, 6, 2, 10, 70);
    let (n_queries, n_keys) = (n_heads * head_dim, n_kv_heads * head_dim);
    let all_dims = [(1, 1), (5, 7), (9, 13)];
    for (dtype, (batch, seq)) in DTYPES
        .into_iter()
        .flat_map(|dtype| all_dims.map(|dims| (dtype, dims)))
    {
        let assert_same = |found: Vec<f32>, expected: Vec<f32>, what: &str| {
            assert_eq!(
                found, expected,
                "{what}, {choices:?}, {dtype:?}, {batch} x {seq}"
            );
        };
        let matrix = |n_out: usize, n_in: usize, seed| {
            tensor(&values(n_out * n_in, seed), [n_out, n_in], dtype)
        };
        let vector = |n: usize, seed| tensor(&values(n, seed), [n], dtype);
        let rows = |states: Tensor<3>| {
            let [batch, seq, width] = states.dims();
            states.reshape([batch * seq, width])
        };
        let split = |states: Tensor<2>| {
            let n_heads = states.dims()[1] / head_dim;
            states
                .reshape([batch, seq, n_heads, head_dim])
                .swap_dims(1, 2)
        };
        let shape = [batch, seq, hidden_size];
        let hidden = tensor(&values(batch * seq * hidden_size, 30), shape, dtype);
        let norm_weight = |seed| vector(hidden_size, seed);
        let form = choices.form;
        let norm = |seed| Norm::new(norm_weight(seed), 1e-5, form).unwrap();
        let norm_before = |seed| (choices.norms != Norms::After).then(|| norm(seed));
        let normed_before = |states: Tensor<3>, seed| match choices.norms {
            Norms::After => states,
            _ => rms_norm(states, norm_weight(seed), 1e-5, form),
        };
        let residual = |seed| Residual {
            norm: (choices.norms != Norms::Before).then(|| norm(seed)),
            multiplier: choices.multiplier,
        };
        let add = |states: Tensor<3>, outputs: Tensor<3>, seed| {
            let outputs = match choices.norms {
                Norms::Before => outputs,
                _ => rms_norm(outputs, norm_weight(seed), 1e-5, form),
            };
            // In f32, since burn rounds a number to the tensor's data type before it multiplies.
            let multiplied = outputs.cast(FloatDType::F32) * choices.multiplier;
            states + multiplied.cast(float_dtype(dtype))
        };
        let weights = [
            matrix(n_queries, hidden_size, 32),
            matrix(n_keys, hidden_size, 33),
            matrix(n_keys, hidden_size, 34),
        ];
        let biases = [Some(vector(n_queries, 35)), None, Some(vector(n_keys, 36))];
        // Angles that differ from row to row, as left padding makes them.
        let rotation = choices.n_pairs.map(|n_pairs| {
            [37, 38].map(|seed| {
                let angles = values(batch * seq * n_pairs, seed);
                tensor(&angles, [batch, 1, seq, n_pairs], dtype)
            })
        });
        let widths = choices.normed_heads.map(|n_heads| n_heads * head_dim);
        let head_weights = [0, 1].map(|idx| vector(widths[idx].max(1), 70 + idx as u64));
        let head_norms = || {
            let norm = |weight: &Tensor<1>| Norm::new(weight.clone(), 1e-6, form).unwrap();
            head_weights.each_ref().map(norm)
        };
        let heads = QkvHeads {
            head_dim,
            norms: (widths[0] > 0).then(head_norms),
            rotation: rotation.clone(),
        };
        let qkv =
            QkvProjection::new(norm_before(31), weights.clone(), biases.clone(), heads).unwrap();
        assert!(fuses_tokens(&hidden, &weights.each_ref()));
        let found = queries_keys_values(&hidden, &qkv).expect("small enough for one pass");
        let normed = rows(normed_before(hidden.clone(), 31));
        let [queries, keys, own_values] = linear(normed, weights.clone(), biases.clone());
        let of_heads = |projected: Tensor<2>, idx: usize| {
            let [n_tokens, n_outs] = projected.dims();
            let normed = match widths[idx] {
                0 => projected,
                width => {
                    let heads = projected.reshape([1, n_tokens * n_outs / width, width]);
                    rms_norm(heads, head_weights[idx].clone(), 1e-6, form)
                        .reshape([n_tokens, n_outs])
                }
            };
            match rotation.clone() {
                Some([cos, sin]) => rotate(split(normed), cos, sin),
                None => split(normed),
            }
        };
        let (queries, keys) = (of_heads(queries, 0), of_heads(keys, 1));
        let own_values = split(own_values);
        for (found, expected) in found.into_iter().zip([&queries, &keys, &own_values]) {
            let found = read(split(rows(found)));
            assert_same(found, read(expected.clone()), "queries, keys, values");
        }

        let slots = AttendedSlots {
            past: 0,
            window: Some(5),
            padding: (0..batch).map(|row| row % seq).collect(),
            ends: Vec::new(),
        };
        let scores = Scores {
            soft_cap: choices.soft_cap,
            ..Scores::of_head_dim(head_dim)
        };
        let attended = attend(queries, keys.clone(), own_values.clone(), &slots, scores);
        let output_weight = matrix(hidden_size, n_queries, 39);
        let output = |bias| LinearMap::new(output_weight.clone(), bias, residual(71)).unwrap();
        let between = |bias: Option<Tensor<1>>| {
            let [sum] = linear(rows(attended.clone()), [output_weight.clone()], [bias]);
            add(hidden.clone(), sum.reshape(shape), 71)
        };
        let added = add_outputs(&hidden, &normed_before(hidden.clone(), 45), &residual(73));
        let added = read(added.expect("states of one type"));
        let expected = add(hidden.clone(), normed_before(hidden.clone(), 45), 73);
        assert_same(added, read(expected), "sum");
        for bias in [None, Some(vector(hidden_size, 40))] {
            let found = add_linear(&hidden, &attended, &output(bias.clone()));
            let found = read(found.expect("small enough for one pass"));
            assert_same(found, read(between(bias)), "residual");
        }

        let mlp_weights = [
            matrix(inner, hidden_size, 41),
            matrix(inner, hidden_size, 42),
            matrix(hidden_size, inner, 43),
        ];
        let activation = choices.activation;
        let mlp = GatedMlp::new(
            norm_before(44),
            mlp_weights.clone(),
            activation,
            residual(72),
        )
        .unwrap();
        let between = between(None);
        let found = add_mlp(&between, &mlp).expect("small enough for one pass");
        let normed = rows(normed_before(between.clone(), 44));
        let [gate, up, down] = mlp_weights.clone();
        let [sum] = linear(gated_linear(normed, gate, up, activation), [down], [None]);
        let expected = read(add(between, sum.reshape(shape), 72));
        assert_same(read(found), expected.clone(), "MLP");

        let all: Vec<&Tensor<2>> = weights
            .iter()
            .chain([&output_weight])
            .chain(&mlp_weights)
            .collect();
        assert!(fuses_sequences(&hidden, &all));
        let found = layer(&hidden, &qkv, &output(None), &mlp, &slots, scores);
        let [found, found_keys, found_values] = found.expect("small enough for one pass");
        assert_same(read(found), expected, "layer");
        assert_same(read(split(rows(found_keys))), read(keys), "layer's keys");
        assert_same(
            read(split(rows(found_values))),
            read(own_values),
            "layer's values",
        );
    }
}

fn float_dtype(dtype: DType) -> FloatDType {
    match dtype {
        DType::F16 => FloatDType::F16,
        DType::BF16 => FloatDType::BF16,
        _ => FloatDType::F32,
    }
}

/// A token's sum does not depend on the tokens that it is taken with, nor on how they are cut into tasks.
#[test]
fn outputs_are_added_token_by_token() {
    let (n_tokens, width) = (150, 300);
    for dtype in DTYPES {
        let states = |seed| {
            let values = values(n_tokens * width, seed);
            tensor(&values, [1, n_tokens, width], dtype)
        };
        let (hidden, outputs) = (states(80), states(81));
        let weight = tensor(&values(width, 82), [width], dtype);
        let residual = Residual {
            norm: Norm::new(weight.clone(), 1e-5, NormForm::OnePlusWeight),
            multiplier: 0.22,
        };
        let together = read(add_outputs(&hidden, &outputs, &residual).unwrap());
        for token in [0, 77, n_tokens - 1] {
            let of_token = |states: &Tensor<3>| states.clone().narrow(1, token, 1);
            let alone = add_outputs(&of_token(&hidden), &of_token(&outputs), &residual);
            let own = &together[token * width..(token + 1) * width];
            assert_eq!(read(alone.unwrap()), own, "{dtype:?}, token {token}");
        }
        // A norm of another width, and states of another shape.
        let narrow = |states: &Tensor<3>| states.clone().narrow(2, 0, width / 2);
        assert!(add_outputs(&narrow(&hidden), &narrow(&outputs), &residual).is_none());
        assert!(add_outputs(&hidden, &narrow(&outputs), &Residual::plain()).is_none());
    }
}

/// What is asked with shapes alone is what the operations do.
#[test]
fn sublayers_are_fused_where_their_shapes_say_so() {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    threads.unwrap().install(|| {
        // Too few tokens for two threads; enough of them; weights of more than a megabyte.
        for (n_tokens, width, expected) in [(9, 300, false), (64, 300, true), (64, 700, false)] {
            let hidden = tensor(
                &values(n_tokens * width, 60),
                [1, n_tokens, width],
                DType::F32,
            );
            let weight = tensor(&values(width * width, 61), [width, width], DType::F32);
            let map = LinearMap::new(weight.clone(), None, Residual::plain()).unwrap();
            assert_eq!(fuses_tokens(&hidden, &[&weight]), expected, "{n_tokens}");
            let sum = add_linear(&hidden, &hidden, &map);
            assert_eq!(sum.is_some(), expected, "{n_tokens} tokens, {width}");
        }
    });
}

#[test]
fn descriptions_take_one_data_type() {
    let weight = |dtype| tensor(&values(12, 62), [3, 4], dtype);
    let bias = |dtype| tensor(&values(3, 63), [3], dtype);
    let map = |dtype, bias| LinearMap::new(weight(dtype), bias, Residual::plain());
    assert!(map(DType::BF16, Some(bias(DType::BF16))).is_some());
    assert!(map(DType::BF16, Some(bias(DType::F32))).is_none());
    let weight_of_norm = tensor(&values(4, 64), [4], DType::F32);
    let norm = Norm::new(weight_of_norm, 1e-5, NormForm::Weight);
    let norm = norm.expect("a tensor with a kernel");
    let weights = [(); 3].map(|()| weight(DType::F16));
    let residual = Residual {
        norm: Some(norm.clone()),
        multiplier: 1.0,
    };
    for (norm, residual) in [(Some(norm), Residual::plain()), (None, residual)] {
        let mlp = GatedMlp::new(norm, weights.clone(), Activation::Silu, residual);
        assert!(mlp.is_none());
    }
    let map = map(DType::F32, None).unwrap();
    let states = tensor(&values(4, 65), [1, 1, 4], DType::F16);
    assert!(add_linear(&states, &states, &map).is_none());
}
