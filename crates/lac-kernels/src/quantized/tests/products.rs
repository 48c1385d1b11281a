//! What both kinds of products are.

use burn::tensor::DType;
use proptest::prelude::*;

use super::samples::{bits, inputs, matrix, read, tensor};
use crate::quantized::fast::{self, Inputs, WeightRows};
use crate::quantized::instructions::Instructions;
use crate::quantized::{Activations, BlockFormat, QuantizedMatrix, gated_linear, linear};
use crate::settings::Activation;

/// Formats whose weights are integers.
fn formats() -> impl Iterator<Item = (BlockFormat, usize)> {
    let group_len = |format| fast::group_len(format).map(|group| (format, group));
    BlockFormat::ALL.into_iter().filter_map(group_len)
}

/// The products of rounded inputs, `[inputs, rows]`.
fn products(instructions: Instructions, matrix: &QuantizedMatrix, inputs: &[f32]) -> Vec<f32> {
    let [n_rows, width] = matrix.dims();
    let group = fast::group_len(matrix.format()).unwrap();
    let n_inputs = inputs.len() / width;
    let inputs = Inputs::new::<f32>(instructions, group, inputs, width);
    let weights = WeightRows::new(matrix.bytes(), n_rows);
    let mut outputs = vec![f32::NAN; n_inputs * n_rows];
    let format = matrix.format();
    fast::products(format, instructions, weights, &inputs, &mut outputs, n_rows);
    outputs
}

/// Widths of one block and of several, of whole chunks and of parts.
fn widths(format: BlockFormat) -> Vec<usize> {
    match format.block_len() {
        32 => vec![32, 96, 256, 576, 896, 1056],
        _ => vec![256, 768, 1280],
    }
}

#[test]
fn all_instructions_give_the_same_bits() {
    let [portable, others @ ..] = &Instructions::available()[..] else {
        panic!("there are always portable ones");
    };
    for (format, _) in formats() {
        for width in widths(format) {
            for (n_rows, n_inputs) in [
                (1, 1),
                (5, 2),
                (33, 3),
                (31, 4),
                (16, 5),
                (48, 6),
                (65, 7),
                (7, 8),
                (12, 9),
                (3, 10),
                (34, 11),
                (20, 12),
                (1, 13),
                (9, 15),
                (37, 16),
                (70, 17),
                (64, 20),
                (3, 33),
                (40, 70),
            ] {
                let matrix = matrix(format, [n_rows, width], 3);
                let inputs = inputs(n_inputs * width, 4);
                let expected = products(*portable, &matrix, &inputs);
                for &instructions in others {
                    let found = products(instructions, &matrix, &inputs);
                    assert_eq!(
                        bits(&found),
                        bits(&expected),
                        "{format}, {instructions:?}, {n_rows} x {width}, {n_inputs} inputs"
                    );
                }
            }
        }
    }
}

/// The definition in plain words: rounded inputs times dequantised weights, in f64.
#[test]
fn rounded_products_are_those_of_rounded_inputs() {
    for (format, _) in formats() {
        for width in widths(format) {
            let matrix = matrix(format, [7, width], 5);
            let inputs = inputs(3 * width, 6);
            let rounded: Vec<f64> = inputs.chunks(32).flat_map(rounded).collect();
            let weights = matrix.dequantize_rows(0..7);
            for instructions in Instructions::available() {
                let found = products(instructions, &matrix, &inputs);
                for (idx, found) in found.into_iter().enumerate() {
                    let (input, row) = (idx / 7, idx % 7);
                    let terms = || {
                        let inputs = &rounded[input * width..][..width];
                        let weights = &weights[row * width..][..width];
                        inputs.iter().zip(weights).map(|(x, &w)| x * f64::from(w))
                    };
                    let expected: f64 = terms().sum();
                    // Offsets and integers cancel, so what f32 loses is a part of the terms.
                    let size: f64 = terms().map(f64::abs).sum();
                    let error = (f64::from(found) - expected).abs();
                    assert!(
                        error <= 2e-6 * size,
                        "{format}, {width}, {instructions:?}: {found}, {expected}"
                    );
                }
            }
        }
    }
}

/// A span's values as they are rounded.
fn rounded(span: &[f32]) -> Vec<f64> {
    let largest = span.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
    let value = |x: &f32| {
        let integer = (x * (127.0 / largest)).round_ties_even();
        f64::from(integer) * f64::from(largest / 127.0)
    };
    if largest == 0.0 {
        vec![0.0; span.len()]
    } else {
        span.iter().map(value).collect()
    }
}

#[test]
fn rounding_is_the_same_with_all_instructions() {
    let mut values = inputs(5 * 608, 7);
    // Ties, a span that is too small, the smallest one that is not, and one at the end of the range.
    let ties: Vec<f32> = (0..32).map(|idx| idx as f32 + 0.5).collect();
    values[608..640].copy_from_slice(&ties);
    values[608] = 127.0;
    values[640..672].fill(f32::from_bits(((127 - 100) << 23) - 1));
    values[672..704].fill(f32::from_bits((127 - 100) << 23));
    values[704..736].fill(f32::MAX);
    let mut identity = vec![0u8; 608 * 608 / 32 * 34];
    for (row, blocks) in identity.chunks_exact_mut(608 / 32 * 34).enumerate() {
        let block = &mut blocks[row / 32 * 34..][..34];
        block[..2].copy_from_slice(&[0x00, 0x3c]);
        block[2 + row % 32] = 1;
    }
    let identity = std::sync::Arc::new(identity);
    let identity = QuantizedMatrix::new(BlockFormat::Q8_0, [608, 608], identity, 0).unwrap();
    for instructions in Instructions::available() {
        let found = products(instructions, &identity, &values);
        let expected = values.chunks(32).flat_map(rounded);
        for (idx, (found, expected)) in found.into_iter().zip(expected).enumerate() {
            let expected = if (640..672).contains(&idx) {
                0.0
            } else {
                expected as f32
            };
            assert_eq!(found, expected, "{instructions:?}, {idx}");
        }
    }
}

/// Exact products of quantised weights are those of the dequantised weights, whatever the format.
#[test]
fn exact_products_are_those_of_dequantised_weights() {
    for format in BlockFormat::ALL {
        for (n_inputs, n_rows, width) in [(1, 5, 256), (3, 50, 2304), (7, 97, 1280), (40, 25, 768)]
        {
            let matrix = matrix(format, [n_rows, width], 8);
            let input = tensor(&inputs(n_inputs * width, 9), [n_inputs, width], DType::F32);
            let weights = matrix.dequantize_rows(0..n_rows);
            let weights = tensor(&weights, [n_rows, width], DType::F32);
            let bias = tensor(&inputs(n_rows, 10), [n_rows], DType::F32);
            let biases = || [Some(bias.clone()), None];
            let found = linear(input.clone(), [&matrix; 2], biases(), Activations::Exact);
            let expected = crate::linear(input, [weights.clone(), weights], biases());
            for (found, expected) in found.into_iter().zip(expected) {
                assert_eq!(
                    bits(&read(found)),
                    bits(&read(expected)),
                    "{format}, {n_inputs} x {width} x {n_rows}"
                );
            }
        }
    }
}

/// Matrices of plain numbers take activations as they are, also where others round them.
#[test]
fn plain_numbers_are_multiplied_exactly() {
    for format in [BlockFormat::F32, BlockFormat::F16, BlockFormat::BF16] {
        let matrix = matrix(format, [9, 300], 11);
        let input = tensor(&inputs(2 * 300, 12), [2, 300], DType::F32);
        let of = |activations| {
            let [output] = linear(input.clone(), [&matrix], [None], activations);
            bits(&read(output))
        };
        assert_eq!(of(Activations::Int8), of(Activations::Exact), "{format}");
    }
}

#[test]
fn several_weights_of_several_formats_at_once() {
    use BlockFormat::{BF16, Q4_K, Q6_K};
    let matrices = [Q4_K, Q6_K, BF16].map(|format| matrix(format, [70, 512], 13));
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for n_inputs in [1, 40] {
            // Small enough for products of products in f16.
            let values = inputs(n_inputs * 512, 14)
                .into_iter()
                .map(|value| value / 256.0);
            let values: Vec<f32> = values.collect();
            let input = tensor(&values, [n_inputs, 512], dtype);
            let bias = tensor(&inputs(70, 15), [70], dtype);
            for activations in [Activations::Exact, Activations::Int8] {
                let together = linear(
                    input.clone(),
                    matrices.each_ref(),
                    [None, Some(bias.clone()), None],
                    activations,
                );
                let together = together.map(read);
                let one = |idx: usize, bias| {
                    let [output] = linear(input.clone(), [&matrices[idx]], [bias], activations);
                    read(output)
                };
                let biases = [None, Some(bias.clone()), None];
                for (idx, bias) in biases.into_iter().enumerate() {
                    assert_eq!(bits(&together[idx]), bits(&one(idx, bias)));
                }
                // A bias is added to what is rounded to the data type.
                let plain = tensor(&one(1, None), [n_inputs, 70], dtype);
                let added = read(plain + bias.clone().unsqueeze());
                assert_eq!(bits(&together[1]), bits(&added), "{dtype:?}");
                check_gated(&input, [&matrices[0], &matrices[1]], activations);
            }
        }
    }
}

/// A gated map is what its two linear maps give.
fn check_gated(
    input: &burn::tensor::Tensor<2>,
    weights: [&QuantizedMatrix; 2],
    activations: Activations,
) {
    let dtype = input.dtype();
    let unit = match dtype {
        DType::BF16 => 2f32.powi(-7),
        DType::F16 => 2f32.powi(-10),
        _ => 1e-5,
    };
    let [gates, ups] = linear(input.clone(), weights, [None, None], activations).map(read);
    let silu: fn(f32) -> f32 = |gate| gate / (1.0 + (-gate).exp());
    let gelu: fn(f32) -> f32 = |gate| {
        let inner = (2.0 / std::f32::consts::PI).sqrt() * (gate + 0.044_715 * gate.powi(3));
        0.5 * gate * (1.0 + inner.tanh())
    };
    for (activation, function) in [(Activation::Silu, silu), (Activation::GeluTanh, gelu)] {
        let input = input.clone();
        let found = read(gated_linear(
            input,
            weights[0],
            weights[1],
            activation,
            activations,
        ));
        for ((found, &gate), &up) in found.into_iter().zip(&gates).zip(&ups) {
            let expected = function(gate) * up;
            let error = (found - expected).abs();
            assert!(
                error <= unit * (1.0 + expected.abs()),
                "{found}, {expected}"
            );
        }
    }
}

#[test]
fn what_is_not_finite_stays_so() {
    use BlockFormat::{Q4_1, Q4_K, Q6_K, Q8_0};
    for (format, at) in [
        (Q8_0, 0),
        (Q4_1, 0),
        (Q4_1, 2),
        (Q4_K, 0),
        (Q4_K, 2),
        (Q6_K, 208),
    ] {
        for scale in [[0x00, 0x7c], [0x00, 0xfc], [0x01, 0x7e]] {
            let mut bytes = super::samples::bytes(format, [20, 512], 16);
            let second = format.row_bytes(512).unwrap();
            bytes[second + at..second + at + 2].copy_from_slice(&scale);
            let matrix =
                QuantizedMatrix::new(format, [20, 512], std::sync::Arc::new(bytes), 0).unwrap();
            for n_inputs in [1, 7, 17] {
                let values = inputs(n_inputs * 512, 17);
                let exact = tensor(&values, [n_inputs, 512], DType::F32);
                let [exact] = linear(exact, [&matrix], [None], Activations::Exact);
                let mut all = vec![read(exact)];
                for instructions in Instructions::available() {
                    all.push(products(instructions, &matrix, &values));
                }
                for found in all {
                    for (idx, value) in found.into_iter().enumerate() {
                        assert_eq!(
                            value.is_finite(),
                            idx % 20 != 1,
                            "{format}, {scale:?}, {idx}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn an_input_that_is_not_finite_touches_its_own_row_alone() {
    for (format, _) in formats() {
        let matrix = matrix(format, [9, 512], 18);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = inputs(19 * 512, 19);
            let clean = values.clone();
            values[2 * 512 + 300] = value;
            for instructions in Instructions::available() {
                let expected = products(instructions, &matrix, &clean);
                let found = products(instructions, &matrix, &values);
                for (idx, (found, expected)) in found.into_iter().zip(expected).enumerate() {
                    if idx / 9 == 2 {
                        assert!(found.is_nan(), "{format}, {instructions:?}: {found}");
                    } else {
                        assert_eq!(found.to_bits(), expected.to_bits());
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What speculation and batching rest on: a row gives the same bits alone and among others.
    #[test]
    fn a_row_gives_the_same_bits_among_others(
        n_inputs in 2usize..34,
        n_chunks in 1usize..6,
        n_rows in 1usize..100,
        format in prop::sample::select(BlockFormat::ALL.to_vec()),
        dtype in prop::sample::select(vec![DType::F32, DType::BF16, DType::F16]),
        seed in any::<u64>(),
    ) {
        let width = n_chunks * if format.block_len() == 256 { 256 } else { 96 };
        let values = inputs(n_inputs * width, seed);
        let matrix = matrix(format, [n_rows, width], seed);
        for activations in [Activations::Exact, Activations::Int8] {
            let of = |rows: std::ops::Range<usize>| {
                let values = &values[rows.start * width..rows.end * width];
                let input = tensor(values, [rows.len(), width], dtype);
                let [output] = linear(input, [&matrix], [None], activations);
                bits(&read(output))
            };
            let together = of(0..n_inputs);
            for rows in [0..1, n_inputs / 2..n_inputs, n_inputs - 1..n_inputs] {
                let own = &together[rows.start * n_rows..rows.end * n_rows];
                prop_assert_eq!(&of(rows), own);
            }
        }
    }

    /// A row of weights gives the same bits whatever stands beside it.
    #[test]
    fn a_row_of_weights_gives_the_same_bits_among_others(
        n_inputs in 1usize..12,
        n_rows in 2usize..80,
        format in prop::sample::select(formats().map(|(format, _)| format).collect::<Vec<_>>()),
        seed in any::<u64>(),
    ) {
        let values = inputs(n_inputs * 768, seed);
        let matrix = matrix(format, [n_rows, 768], seed);
        let row = seed as usize % n_rows;
        let bytes = std::sync::Arc::new(matrix.row_bytes(row..row + 1).to_vec());
        let alone = QuantizedMatrix::new(format, [1, 768], bytes, 0).unwrap();
        for instructions in Instructions::available() {
            let together = products(instructions, &matrix, &values);
            let alone = products(instructions, &alone, &values);
            for (together, alone) in together.chunks(n_rows).zip(alone) {
                prop_assert_eq!(together[row].to_bits(), alone.to_bits());
            }
        }
    }
}
