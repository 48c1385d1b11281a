//! Blocks of every format against the Python package `gguf`, and what a quantised matrix is refused for.

use std::sync::Arc;

use lac_kernels::quantized::{BlockFormat, QuantizedError, QuantizedMatrix, UnknownFormat};
use serde_json::Value;

fn fixture(part: &str) -> Vec<Value> {
    let fixture: Value = serde_json::from_str(include_str!("../fixtures/blocks.json")).unwrap();
    fixture[part].as_array().unwrap().clone()
}

fn bytes(case: &Value, field: &str) -> Vec<u8> {
    let hex = case[field].as_str().unwrap().as_bytes();
    let byte = |pair: &[u8; 2]| {
        let digits = std::str::from_utf8(pair).unwrap();
        u8::from_str_radix(digits, 16).unwrap()
    };
    hex.as_chunks().0.iter().map(byte).collect()
}

fn floats(case: &Value, field: &str) -> Vec<f32> {
    let bytes = bytes(case, field);
    let words = bytes.as_chunks().0;
    words.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

fn format(case: &Value) -> BlockFormat {
    case["format"].as_str().unwrap().parse().unwrap()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn blocks_of_every_format_have_the_values_that_gguf_gives_them() {
    let cases = fixture("dequantised");
    let formats: Vec<BlockFormat> = cases.iter().map(format).collect();
    for expected in BlockFormat::ALL {
        assert!(formats.contains(&expected), "{expected} has a case");
    }
    for case in cases {
        let format = format(&case);
        assert_eq!(
            BlockFormat::from_ggml_type(case["ggml_type"].as_u64().unwrap() as u32),
            Some(format)
        );
        let (blocks, expected) = (bytes(&case, "blocks"), floats(&case, "values"));
        let n_blocks = blocks.len() / format.block_bytes();
        let shape = [n_blocks, format.block_len()];
        let matrix = QuantizedMatrix::new(format, shape, Arc::new(blocks), 0).unwrap();
        let found = matrix.dequantize_rows(0..n_blocks);
        assert_eq!(bits(&found), bits(&expected), "{format}");

        // The same bytes as one row, and behind others.
        let mut shifted = vec![1, 2, 3];
        shifted.extend(matrix.bytes());
        let shape = [1, expected.len()];
        let matrix = QuantizedMatrix::new(format, shape, Arc::new(shifted), 3).unwrap();
        let mut row = vec![0.0; expected.len()];
        matrix.dequantize_row(0, &mut row);
        assert_eq!(bits(&row), bits(&expected), "{format}");
    }
}

#[test]
fn the_quantisers_write_the_blocks_that_ggml_writes() {
    for case in fixture("quantised") {
        let values = floats(&case, "values");
        let shape = [values.len() / 64, 64];
        let matrix = QuantizedMatrix::quantize(format(&case), shape, &values).unwrap();
        assert_eq!(matrix.bytes(), bytes(&case, "blocks"), "{case}");
    }
}

#[test]
fn names_and_numbers_are_read_back() {
    for format in BlockFormat::ALL {
        assert_eq!(format.name().parse(), Ok(format));
        assert_eq!(format.name().to_lowercase().parse(), Ok(format));
        assert_eq!(
            BlockFormat::from_ggml_type(format.ggml_type()),
            Some(format)
        );
    }
    for number in [4, 5, 9, 15, 16, 24, 31, 38, 40, u32::MAX] {
        assert_eq!(BlockFormat::from_ggml_type(number), None);
    }
    let error = "IQ1_S".parse::<BlockFormat>().unwrap_err();
    assert_eq!(
        error,
        UnknownFormat {
            name: "IQ1_S".into()
        }
    );
    assert!(error.to_string().contains("Q4_K, Q5_K"), "{error}");
}

#[test]
fn matrices_that_cannot_be_are_refused() {
    use BlockFormat::{Q4_K, Q8_0};
    let with = |format, shape, n_bytes: usize, offset| {
        let bytes = Arc::new(vec![0u8; n_bytes]);
        QuantizedMatrix::new(format, shape, bytes, offset).map(|matrix| matrix.dims())
    };
    assert_eq!(with(Q8_0, [2, 64], 136, 0), Ok([2, 64]));
    assert_eq!(with(Q8_0, [2, 64], 140, 4), Ok([2, 64]));
    for (found, expected) in [
        (
            with(Q8_0, [2, 33], 136, 0),
            "rows of 33 weights are no whole number of Q8_0 blocks of 32",
        ),
        (
            with(Q4_K, [2, 576], 1000, 0),
            "rows of 576 weights are no whole number of Q4_K blocks of 256",
        ),
        (
            with(Q8_0, [2, 64], 136, 1),
            "2 rows of 64 weights in Q8_0 take 136 bytes from byte 1 on, and 136 bytes are there",
        ),
        (
            with(Q8_0, [2, 64], 136, usize::MAX),
            "take 136 bytes from byte 18446744073709551615 on",
        ),
        (
            with(Q8_0, [usize::MAX, 64], 136, 0),
            "take more bytes than can be counted from byte 0 on",
        ),
        (
            with(Q8_0, [1, usize::MAX - 31], 136, 0),
            "take more bytes than can be counted from byte 0 on",
        ),
        (
            with(Q8_0, [0, 64], 136, 0),
            "a matrix of 0 rows of 64 weights is empty",
        ),
    ] {
        let error = found.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn values_that_cannot_be_quantised_are_refused() {
    use BlockFormat::{Q4_0, Q4_K, Q8_0};
    let of = |format, values: &[f32]| {
        let shape = [values.len() / 32, 32];
        QuantizedMatrix::quantize(format, shape, values).map(|_| ())
    };
    let mut values = vec![0.5; 64];
    assert_eq!(of(Q8_0, &values), Ok(()));
    assert_eq!(
        of(Q4_K, &values),
        Err(QuantizedError::NoQuantizer { format: Q4_K })
    );
    for value in [f32::NAN, f32::INFINITY, -f32::INFINITY, -1e30] {
        for format in [Q8_0, Q4_0] {
            values[40] = value;
            let error = of(format, &values).unwrap_err().to_string();
            let expected = format!("weight 8 of row 1 is {value}, which {format} cannot hold");
            assert_eq!(error, expected);
        }
    }
    assert_eq!(
        QuantizedMatrix::quantize(Q8_0, [2, 32], &[0.0; 32]).map(|_| ()),
        Err(QuantizedError::Values {
            n_rows: 2,
            width: 32,
            n_values: 32
        })
    );
}
