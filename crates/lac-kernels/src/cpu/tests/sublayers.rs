//! Sublayers in one pass over the tokens against the operations one by one.

use burn::tensor::{DType, Tensor};

use super::super::{
    GatedMlp, LinearMap, Norm, QkvProjection, add_linear, add_mlp, attend, fuses_sequences,
    fuses_tokens, layer, linear, queries_keys_values, rms_norm, rotate, swiglu,
};
use super::{DTYPES, read, tensor, values};
use crate::slots::AttendedSlots;

#[test]
fn one_pass_gives_the_bits_of_its_operations() {
    // With more threads there would be too few tokens for all of them.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(2).build();
    threads.unwrap().install(compare_one_pass);
}

fn compare_one_pass() {
    let (hidden_size, n_heads, n_kv_heads, head_dim, inner) = (48, 6, 2, 10, 70);
    let (n_queries, n_keys) = (n_heads * head_dim, n_kv_heads * head_dim);
    let all_dims = [(1, 1), (5, 7), (9, 13)];
    for (dtype, (batch, seq)) in DTYPES
        .into_iter()
        .flat_map(|dtype| all_dims.map(|dims| (dtype, dims)))
    {
        let assert_same = |found: Vec<f32>, expected: Vec<f32>, what: &str| {
            assert_eq!(found, expected, "{what}, {dtype:?}, {batch} x {seq}");
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
        let norm = |seed| Norm::new(norm_weight(seed), 1e-5).unwrap();
        let weights = [
            matrix(n_queries, hidden_size, 32),
            matrix(n_keys, hidden_size, 33),
            matrix(n_keys, hidden_size, 34),
        ];
        let biases = [Some(vector(n_queries, 35)), None, Some(vector(n_keys, 36))];
        // Angles that differ from row to row, as left padding makes them.
        let rotation = [37, 38].map(|seed| {
            let angles = values(batch * seq * head_dim / 2, seed);
            tensor(&angles, [batch, 1, seq, head_dim / 2], dtype)
        });
        let qkv = QkvProjection::new(norm(31), weights.clone(), biases.clone(), rotation.clone())
            .unwrap();
        assert!(fuses_tokens(&hidden, &weights.each_ref()));
        let found = queries_keys_values(&hidden, &qkv).expect("small enough for one pass");
        let normed = rows(rms_norm(hidden.clone(), norm_weight(31), 1e-5));
        let [queries, keys, own_values] =
            linear(normed, weights.clone(), biases.clone()).map(split);
        let [cos, sin] = rotation.clone();
        let queries = rotate(queries, cos.clone(), sin.clone());
        let keys = rotate(keys, cos, sin);
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
        let attended = attend(queries, keys.clone(), own_values.clone(), &slots);
        let output_weight = matrix(hidden_size, n_queries, 39);
        let output = |bias| LinearMap::new(output_weight.clone(), bias).unwrap();
        let between = |bias: Option<Tensor<1>>| {
            let [sum] = linear(rows(attended.clone()), [output_weight.clone()], [bias]);
            hidden.clone() + sum.reshape(shape)
        };
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
        let mlp = GatedMlp::new(norm(44), mlp_weights.clone()).unwrap();
        let between = between(None);
        let found = add_mlp(&between, &mlp).expect("small enough for one pass");
        let normed = rows(rms_norm(between.clone(), norm_weight(44), 1e-5));
        let [gate, up, down] = mlp_weights.clone();
        let [sum] = linear(swiglu(normed, gate, up), [down], [None]);
        let expected = read(between + sum.reshape(shape));
        assert_same(read(found), expected.clone(), "MLP");

        let all: Vec<&Tensor<2>> = weights
            .iter()
            .chain([&output_weight])
            .chain(&mlp_weights)
            .collect();
        assert!(fuses_sequences(&hidden, &all));
        let found = layer(&hidden, &qkv, &output(None), &mlp, &slots);
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
            let map = LinearMap::new(weight.clone(), None).unwrap();
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
    assert!(LinearMap::new(weight(DType::BF16), Some(bias(DType::BF16))).is_some());
    assert!(LinearMap::new(weight(DType::BF16), Some(bias(DType::F32))).is_none());
    let norm = Norm::new(tensor(&values(4, 64), [4], DType::F32), 1e-5);
    let norm = norm.expect("a tensor with a kernel");
    assert!(GatedMlp::new(norm, [(); 3].map(|()| weight(DType::F16))).is_none());
    let map = LinearMap::new(weight(DType::F32), None).unwrap();
    let states = tensor(&values(4, 65), [1, 1, 4], DType::F16);
    assert!(add_linear(&states, &states, &map).is_none());
}
