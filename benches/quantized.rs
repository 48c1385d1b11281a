//! Products with quantised weights, `[rows, in]` times `[out, in]`: bytes of weight a second, and operations a second,
//! by format and number of rows, beside the read bandwidth and the products of weights in f32 and bf16.
//!
//! `cargo bench -p lac-benches --bench quantized` prints a table. The weights are rotated, so that they come from memory.
//! `LAC_BENCH_FORMAT=Q4_K` measures one format only (or `F32`, `BF16`: tensors), `LAC_BENCH_SHAPE=576x1536` one shape,
//! `LAC_BENCH_ROWS=1` one number of rows.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_benches::{env, interleaved, is_test};
use lac_kernels::quantized::{Activations, BlockFormat, QuantizedMatrix, linear};
use lac_kernels::{linear as tensor_linear, parallel_read};

/// Bytes of weights that are rotated through: more than a cache holds.
const ROTATED: usize = 256 << 20;

/// Those of SmolLM2-135M's layers, of a 1.5B model's, and of a 7B model's MLP.
const SHAPES: [[usize; 2]; 5] = [
    [576, 576],
    [1536, 576],
    [2048, 2048],
    [8960, 1536],
    [11008, 4096],
];

const ROWS: [usize; 5] = [1, 2, 4, 8, 512];

/// Rounds of a measurement, and those of a long one.
const N_ROUNDS: usize = 41;
const N_LONG_ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    if is_test() {
        return Ok(());
    }
    let shapes = match env("LAC_BENCH_SHAPE") {
        Some(shape) => vec![dims(&shape)?],
        None => SHAPES.to_vec(),
    };
    let rows = match env("LAC_BENCH_ROWS") {
        Some(rows) => vec![rows.parse()?],
        None => ROWS.to_vec(),
    };
    let formats = match env("LAC_BENCH_FORMAT") {
        Some(format) => vec![format.parse()?],
        None => BlockFormat::ALL.to_vec(),
    };
    let values = vec![0.5f32; ROTATED / size_of::<f32>()];
    let read = interleaved(
        9,
        &mut [&mut || {
            black_box(parallel_read(&values));
        }],
    );
    println!("read {:.1} GB/s", gb_s(ROTATED, read[0]));
    println!("format  out x in       rows   int8: µs, GB/s, GMAC/s       exact: µs, GB/s, GMAC/s");
    for &shape in &shapes {
        for &format in &formats {
            let fits = shape[1].is_multiple_of(format.block_len());
            if fits && matches!(format, BlockFormat::F32 | BlockFormat::BF16) {
                tensors(format, shape, &rows);
            } else if fits {
                matrices(format, shape, &rows)?;
            }
        }
    }
    Ok(())
}

fn dims(shape: &str) -> Result<[usize; 2], Box<dyn Error>> {
    let sizes: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
    sizes
        .try_into()
        .map_err(|_| format!("{shape} is not OUTxIN").into())
}

fn matrices(format: BlockFormat, shape: [usize; 2], rows: &[usize]) -> Result<(), Box<dyn Error>> {
    let n_bytes = shape[0]
        * format
            .row_bytes(shape[1])
            .ok_or("a whole number of blocks")?;
    let matrices: Vec<QuantizedMatrix> = (0..ROTATED / n_bytes)
        .map(|_| QuantizedMatrix::new(format, shape, Arc::new(blocks(format, n_bytes)), 0))
        .collect::<Result<_, _>>()?;
    for &rows in rows {
        let input = values([rows, shape[1]], DType::F32);
        let call = |activations| {
            let mut next = 0;
            let (matrices, input) = (&matrices, &input);
            move || {
                next = (next + 1) % matrices.len();
                black_box(linear(
                    input.clone(),
                    [&matrices[next]],
                    [None],
                    activations,
                ));
            }
        };
        let (mut rounded, mut exact) = (call(Activations::Int8), call(Activations::Exact));
        let times = interleaved(n_rounds(rows), &mut [&mut rounded, &mut exact]);
        line(format, shape, rows, n_bytes, &times);
    }
    Ok(())
}

fn tensors(format: BlockFormat, shape: [usize; 2], rows: &[usize]) {
    let dtype = match format {
        BlockFormat::BF16 => DType::BF16,
        _ => DType::F32,
    };
    let n_bytes = shape[0] * shape[1] * dtype.size();
    let weights: Vec<Tensor<2>> = (0..ROTATED / n_bytes)
        .map(|_| values(shape, dtype))
        .collect();
    for &rows in rows {
        let input = values([rows, shape[1]], dtype);
        let mut next = 0;
        let mut call = || {
            next = (next + 1) % weights.len();
            let weight = weights[next].clone();
            black_box(tensor_linear(input.clone(), [weight], [None]));
        };
        let times = interleaved(n_rounds(rows), &mut [&mut call]);
        line(format, shape, rows, n_bytes, &times);
    }
}

fn n_rounds(rows: usize) -> usize {
    if rows > 16 { N_LONG_ROUNDS } else { N_ROUNDS }
}

fn line(
    format: BlockFormat,
    [n_out, n_in]: [usize; 2],
    rows: usize,
    n_bytes: usize,
    times: &[Duration],
) {
    let columns = times.iter().map(|&time| {
        let products = (rows * n_out * n_in) as f64;
        format!(
            "{:10.1} {:6.1} {:7.1}",
            1e6 * time.as_secs_f64(),
            gb_s(n_bytes, time),
            1e-9 * products / time.as_secs_f64()
        )
    });
    let columns: Vec<String> = columns.collect();
    println!(
        "{format:<6} {n_out:>5} x {n_in:<5} {rows:>4}  {}",
        columns.join("     ")
    );
}

fn gb_s(n_bytes: usize, time: Duration) -> f64 {
    1e-9 * n_bytes as f64 / time.as_secs_f64()
}

/// Blocks of any integers and small scales.
fn blocks(format: BlockFormat, n_bytes: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut bytes: Vec<u8> = (0..n_bytes)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The upper byte of an f16 is 0x3f at most wherever it stands: below 2.
            (state >> 24) as u8 & 0x3f
        })
        .collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        if format == BlockFormat::MXFP4 {
            block[0] = 120;
        }
    }
    bytes
}

/// Values between −1 and 1 that look random.
fn values(shape: [usize; 2], dtype: DType) -> Tensor<2> {
    let mut state = 1u32;
    let values: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), (&Device::flex(), dtype))
}
