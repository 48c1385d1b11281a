//! One linear map of a decoder, `[rows, in]` times `[out, in]`: bytes of weight a second, and operations a
//! second, by data type and number of rows.
//!
//! `cargo bench -p lac-benches --bench linear` prints a table for each backend compiled in, with the tensor
//! operation that a map is without a kernel of its own beside it. The weights are rotated, so that they come
//! from memory. `LAC_BENCH_DTYPE=bf16` measures one data type only.

use std::error::Error;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_benches::{devices, env, interleaved, is_test, wait};
use lac_models::decoder::DecoderLinear;

/// Bytes of weights that are rotated through: more than a cache holds.
const ROTATED: usize = 512 << 20;

const SHAPES: [[usize; 2]; 2] = [[4864, 896], [896, 4864]];

const ROWS: [usize; 7] = [1, 2, 4, 8, 16, 64, 256];

fn main() -> Result<(), Box<dyn Error>> {
    if is_test() {
        return Ok(());
    }
    let only = env("LAC_BENCH_DTYPE");
    println!(
        "device dtype  out x in     rows      linear: µs, GB/s, GFLOP/s     matmul: µs, GB/s, GFLOP/s"
    );
    for (name, device) in devices() {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let is_wanted = only.as_ref().is_none_or(|only| *only == dtype_name(dtype));
            if !is_wanted || !device.supports_dtype(dtype) {
                continue;
            }
            for shape in SHAPES {
                for rows in ROWS {
                    line(name, &device, dtype, shape, rows);
                }
            }
        }
    }
    Ok(())
}

fn line(name: &str, device: &Device, dtype: DType, [n_out, n_in]: [usize; 2], rows: usize) {
    let bytes = n_out * n_in * dtype.size();
    let weights: Vec<Tensor<2>> = (0..ROTATED / bytes)
        .map(|seed| matrix([n_out, n_in], seed, dtype, device))
        .collect();
    // They share the weights' memory.
    let linears: Vec<DecoderLinear> = weights
        .iter()
        .map(|weight| DecoderLinear {
            weight: weight.clone().into(),
            bias: None,
        })
        .collect();
    let input = matrix([rows, n_in], 1, dtype, device);
    let (mut next_linear, mut next_weight) = (0, 0);
    let mut linear = || {
        next_linear = (next_linear + 1) % linears.len();
        let input = input.clone().unsqueeze();
        let _output = linears[next_linear].forward(input);
        wait(device);
    };
    let mut matmul = || {
        next_weight = (next_weight + 1) % weights.len();
        let weight = weights[next_weight].clone();
        let _output = input.clone().matmul(weight.transpose());
        wait(device);
    };
    let times = interleaved(9, &mut [&mut linear, &mut matmul]);
    let columns = times.iter().map(|time| {
        let seconds = time.as_secs_f64();
        let operations = 2.0 * (rows * n_out * n_in) as f64;
        format!(
            "{:10.1} {:6.1} {:7.1}",
            1e6 * seconds,
            1e-9 * bytes as f64 / seconds,
            1e-9 * operations / seconds
        )
    });
    let columns: Vec<String> = columns.collect();
    let dtype = dtype_name(dtype);
    println!(
        "{name:<6} {dtype:<5} {n_out:>5} x {n_in:<5} {rows:>4}  {}",
        columns.join("     ")
    );
}

fn dtype_name(dtype: DType) -> String {
    format!("{dtype:?}").to_lowercase()
}

/// Values between −1 and 1 that look random.
fn matrix(shape: [usize; 2], seed: usize, dtype: DType, device: &Device) -> Tensor<2> {
    let mut state = seed as u32 + 1;
    let values: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), (device, dtype))
}
