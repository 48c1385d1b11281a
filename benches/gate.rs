//! The gate: the kernels against the same in tensor operations, on every backend compiled in.
//!
//! `cargo bench -p lac-benches --bench gate` prints throughput in bytes of the states that have
//! to be read (and, where states are selected, written); `copy` is what the device moves when it
//! only copies, and `read` what the CPU's threads read when they only add. Of `copy`, both the
//! reads and the writes count. The bench `bandwidth` takes turns and prints the shares.
//!
//! `LAC_BENCH_LARGE=1` adds the shapes that take a GPU.

use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{DType, Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lac_benches::{devices, wait};
use lac_core::{Gate, GateConfig};
use lac_kernels::parallel_read;

/// A state's shape and data type.
#[derive(Clone, Copy)]
struct Shape {
    dims: [usize; 3],
    dtype: DType,
}

impl Shape {
    fn bytes(self) -> u64 {
        (self.dims.iter().product::<usize>() * self.dtype.size()) as u64
    }

    fn name(self) -> String {
        let [batch, seq, width] = self.dims;
        format!("{batch}x{seq}x{width}-{}", self.dtype.name())
    }
}

fn shapes(device: &Device) -> Vec<Shape> {
    let mut dims = vec![[1, 1, 896], [1, 512, 4096]];
    if std::env::var_os("LAC_BENCH_LARGE").is_some() {
        dims.push([8, 2048, 4096]);
    }
    let mut shapes = Vec::new();
    for dims in dims {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            if device.supports_dtype(dtype) {
                shapes.push(Shape { dims, dtype });
            }
        }
    }
    shapes
}

fn gate(c: &mut Criterion) {
    for (name, device) in devices() {
        for shape in shapes(&device) {
            bench_shape(c, name, &device, shape);
        }
    }
}

fn bench_shape(c: &mut Criterion, name: &str, device: &Device, shape: Shape) {
    let state = || {
        let values = Tensor::<3>::random(shape.dims, Distribution::Uniform(-1.0, 1.0), device);
        values.cast(shape.dtype)
    };
    let (input, output) = (state(), state());
    let config = GateConfig::new(0.8);
    let fused = Gate::start(config, &input).expect("a sound configuration");
    let portable = Gate::start_portable(config, &input).expect("a sound configuration");
    wait(device);

    let mut group = c.benchmark_group(format!("gate/{name}/{}", shape.name()));
    group
        .measurement_time(Duration::from_secs(2))
        .sample_size(20);
    group.warm_up_time(Duration::from_secs(1));

    group.throughput(Throughput::Bytes(shape.bytes()));
    if name == "flex" && shape.dtype == DType::F32 {
        let data = output.to_data();
        let values = data.as_slice::<f32>().expect("f32");
        group.bench_function("read", |b| b.iter(|| parallel_read(black_box(values))));
    }
    let engines = [("fused", &fused), ("portable", &portable)];
    for (engine, gate) in engines {
        group.bench_function(BenchmarkId::new("measure", engine), |b| {
            b.iter(|| {
                let reading = gate.clone().measure(black_box(&output));
                wait(device);
                reading
            });
        });
    }

    // Both states are read or one is read and the other written to.
    group.throughput(Throughput::Bytes(2 * shape.bytes()));
    group.bench_function("copy", |b| {
        b.iter(|| {
            let copied = black_box(&output).clone() * 1.0;
            wait(device);
            copied
        });
    });
    for (engine, gate) in engines {
        group.bench_function(BenchmarkId::new("bypass", engine), |b| {
            b.iter(|| {
                let (output, input) = black_box((output.clone(), input.clone()));
                let out = gate.clone().measure_bypass(output, input);
                wait(device);
                out
            });
        });
    }
    group.finish();
}

criterion_group!(benches, gate);
criterion_main!(benches);
