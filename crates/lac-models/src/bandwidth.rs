//! How fast a device's memory can be read. Decoding reads every weight for every token, so this bounds its speed.

use std::time::{Duration, Instant};

use burn::tensor::{DType, Device, ExecutionError, Tensor};

/// Bytes read per round: far more than any cache holds.
const BYTES: usize = 1 << 30;

/// Rounds that are measured. The fastest counts, since other work of the machine only slows a round down.
const ROUNDS: usize = 7;

/// Measures how many bytes a second the device can read from its memory.
///
/// On the CPU all threads of rayon's pool read a gigabyte and do little with it. On another device a tensor operation
/// reads half a gigabyte and writes as much, and both count.
///
/// # Errors
/// The device's own.
pub fn read_bandwidth(device: &Device) -> Result<f64, ExecutionError> {
    #[cfg(feature = "flex")]
    if lac_kernels::has_cpu_kernel(&Tensor::<1>::ones([1], (device, DType::F32))) {
        let values = vec![1.0f32; BYTES / size_of::<f32>()];
        let fastest = fastest(|| {
            std::hint::black_box(lac_kernels::parallel_read(&values));
            Ok(())
        })?;
        return Ok(BYTES as f64 / fastest.as_secs_f64());
    }
    let tensor = Tensor::<1>::ones([BYTES / 8], (device, DType::F32));
    device.sync()?;
    let fastest = fastest(|| {
        let _copy = tensor.clone() * 2.0;
        device.sync()
    })?;
    Ok(BYTES as f64 / fastest.as_secs_f64())
}

fn fastest(
    mut round: impl FnMut() -> Result<(), ExecutionError>,
) -> Result<Duration, ExecutionError> {
    let mut fastest = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        round()?;
        fastest = fastest.min(start.elapsed());
    }
    Ok(fastest)
}
