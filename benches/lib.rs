//! Criterion benches of lac's functions; `cargo bench -p lac-benches` runs them all.
//!
//! Here is what they share: the devices, settings from the environment, and timings that other work
//! on the machine does not bias.

#![deny(missing_docs)]

use std::error::Error;
use std::time::{Duration, Instant};

use burn::tensor::Device;
use lac_models::{DecoderConfig, ModelShape, WeightDtype};

/// Every backend compiled in that has a device, by name.
pub fn devices() -> Vec<(&'static str, Device)> {
    [
        #[cfg(feature = "flex")]
        ("flex", Some(Device::flex())),
        #[cfg(feature = "wgpu")]
        ("wgpu", first(burn::tensor::DeviceType::Wgpu)),
        #[cfg(feature = "cuda")]
        ("cuda", first(burn::tensor::DeviceType::Cuda)),
    ]
    .into_iter()
    .filter_map(|(name, device)| Some((name, device?)))
    .collect()
}

#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn first(kind: burn::tensor::DeviceType) -> Option<Device> {
    Device::enumerate(kind).into_vec().into_iter().next()
}

/// The device of a backend by name.
///
/// # Errors
/// When it was not compiled in, or has no device.
pub fn device(wanted: &str) -> Result<Device, String> {
    devices()
        .into_iter()
        .find_map(|(name, device)| (name == wanted).then_some(device))
        .ok_or_else(|| format!("{wanted} was not compiled in, or has no device"))
}

/// Whether `cargo test` runs the bench, which it does to see that it starts.
pub fn is_test() -> bool {
    std::env::args().any(|arg| arg == "--test")
}

/// The value of an environment variable.
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// A number from an environment variable, or what stands in for it.
///
/// # Errors
/// When the variable holds something else.
pub fn env_number(name: &str, default: usize) -> Result<usize, std::num::ParseIntError> {
    env(name).map_or(Ok(default), |number| number.parse())
}

/// The data type that `LAC_BENCH_DTYPE` names; f32 when it is not set.
///
/// # Errors
/// When it names none.
pub fn env_dtype() -> Result<WeightDtype, String> {
    match env("LAC_BENCH_DTYPE").as_deref() {
        None | Some("f32") => Ok(WeightDtype::F32),
        Some("f16") => Ok(WeightDtype::F16),
        Some("bf16") => Ok(WeightDtype::Bf16),
        Some(other) => Err(format!("no data type {other}")),
    }
}

/// The configuration of the shape that `LAC_BENCH_SHAPE` names; Qwen2.5-0.5B's when it is not set.
///
/// # Errors
/// When it names none.
pub fn env_shape() -> Result<DecoderConfig, Box<dyn Error>> {
    let shape = match env("LAC_BENCH_SHAPE") {
        None => ModelShape::Qwen2_5_0_5b,
        Some(name) => name.parse()?,
    };
    Ok(shape.config()?.decoder)
}

/// The device that `LAC_BENCH_DEVICE` names; the CPU when it is not set.
///
/// # Errors
/// As [`device`].
pub fn env_device() -> Result<Device, String> {
    device(env("LAC_BENCH_DEVICE").as_deref().unwrap_or("flex"))
}

/// Waits for everything that was asked of the device.
///
/// # Panics
/// When the device has failed.
pub fn wait(device: &Device) {
    device.sync().expect("the device answers");
}

/// All threads copy the values.
pub fn parallel_copy(from: &[f32], to: &mut [f32]) {
    use rayon::prelude::*;
    let per_task = per_task(from.len());
    from.par_chunks(per_task)
        .zip(to.par_chunks_mut(per_task))
        .for_each(|(from, to)| to.copy_from_slice(from));
}

/// Four tasks for each thread, and none too small to be worth handing out.
fn per_task(n_values: usize) -> usize {
    n_values
        .div_ceil(4 * rayon::current_num_threads())
        .max(1 << 14)
}

/// The median time of a call of each contender, over rounds in which each is called in turn: what
/// else the machine does falls on all of them.
pub fn interleaved(n_rounds: usize, contenders: &mut [&mut dyn FnMut()]) -> Vec<Duration> {
    // Enough calls in a row to be long against the clock's resolution.
    let n_calls: Vec<u32> = contenders
        .iter_mut()
        .map(|contender| {
            contender();
            let start = Instant::now();
            contender();
            let once = start.elapsed().max(Duration::from_nanos(100));
            (SHORTEST_TIMING.as_nanos() / once.as_nanos()).clamp(1, 10_000) as u32
        })
        .collect();
    let mut times = vec![Vec::with_capacity(n_rounds); contenders.len()];
    for _ in 0..n_rounds {
        for ((contender, &n_calls), times) in contenders.iter_mut().zip(&n_calls).zip(&mut times) {
            let start = Instant::now();
            for _ in 0..n_calls {
                contender();
            }
            times.push(start.elapsed() / n_calls);
        }
    }
    times.into_iter().map(median).collect()
}

const SHORTEST_TIMING: Duration = Duration::from_millis(3);

/// The middle one of some times.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
