//! How much of the memory's bandwidth the gate's kernels reach, and how much faster they are than
//! the same in tensor operations.
//!
//! `cargo bench -p lac-benches --bench bandwidth` takes turns between all contenders and prints
//! medians. `read` and `copy` are what the threads of a CPU do when they only add and when they only
//! copy; on a GPU, `copy` is a tensor operation of one input and one output. *Cached* states are the
//! same one again and again; *rotated* ones come from memory, a different one each time.
//!
//! `LAC_BENCH_DEVICE=wgpu|cuda` takes one of the devices compiled in, `LAC_BENCH_SHAPE=8x2048x4096`
//! another shape, `LAC_BENCH_DTYPE=f16|bf16` one data type, `LAC_BENCH_ROUNDS` more rounds.

use std::error::Error;
use std::hint::black_box;
use std::time::Duration;

use burn::tensor::{DType, Device, Distribution, Tensor};
use lac_benches::{devices, env, env_number, interleaved, is_test, parallel_copy, wait};
use lac_core::{Gate, GateConfig};
use lac_kernels::parallel_read;

/// States that are rotated take at least this much memory together, well above any cache.
const ROTATED_BYTES: usize = 512 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    if is_test() {
        return Ok(());
    }
    let n_rounds = env_number("LAC_BENCH_ROUNDS", 41)?;
    let shapes = match env("LAC_BENCH_SHAPE") {
        Some(shape) => vec![dims(&shape)?],
        None => vec![[1, 1, 896], [1, 512, 896], [1, 512, 4096]],
    };
    let dtypes = match env("LAC_BENCH_DTYPE").as_deref() {
        None => vec![DType::F32, DType::F16, DType::BF16],
        Some("f32") => vec![DType::F32],
        Some("f16") => vec![DType::F16],
        Some("bf16") => vec![DType::BF16],
        Some(other) => return Err(format!("no data type {other}").into()),
    };
    let wanted = env("LAC_BENCH_DEVICE");
    let is_wanted = |name: &str| wanted.as_deref().is_none_or(|wanted| wanted == name);
    let devices: Vec<_> = devices()
        .into_iter()
        .filter(|(name, _)| is_wanted(name))
        .collect();
    if devices.is_empty() {
        return Err(format!("no device for {wanted:?} among the backends compiled in").into());
    }
    for (name, device) in &devices {
        for &dims in &shapes {
            for &dtype in dtypes.iter().filter(|dtype| device.supports_dtype(**dtype)) {
                let bytes = dims.iter().product::<usize>() * dtype.size();
                for n_states in [1, (ROTATED_BYTES / bytes).clamp(2, 4096)] {
                    Case {
                        name,
                        device,
                        dims,
                        dtype,
                        n_states,
                    }
                    .run(n_rounds)?;
                }
            }
        }
    }
    Ok(())
}

fn dims(shape: &str) -> Result<[usize; 3], Box<dyn Error>> {
    let sizes: Vec<usize> = shape.split('x').map(str::parse).collect::<Result<_, _>>()?;
    sizes
        .try_into()
        .map_err(|_| format!("{shape} is not BATCHxSEQxHIDDEN").into())
}

struct Case<'a> {
    name: &'a str,
    device: &'a Device,
    dims: [usize; 3],
    dtype: DType,
    n_states: usize,
}

impl Case<'_> {
    fn run(&self, n_rounds: usize) -> Result<(), Box<dyn Error>> {
        let device = self.device;
        let states: Vec<Tensor<3>> = (0..self.n_states).map(|_| self.state()).collect();
        let next = || {
            let mut state_idx = 0;
            let states = &states;
            move || {
                state_idx = (state_idx + 1) % states.len();
                &states[state_idx]
            }
        };
        let config = GateConfig::default();
        let measure = |gate: Gate| {
            let (mut gate, mut next) = (gate, next());
            move || {
                // Held until it is there: what nobody holds need not be computed.
                let reading = gate.measure(next());
                wait(device);
                black_box(reading);
            }
        };
        let bypass = |gate: Gate| {
            let (mut gate, mut next) = (gate, next());
            // Held by nobody else, as in the loop over layers.
            let mut hidden = Some(self.state());
            move || {
                let input = hidden.take().unwrap_or_else(|| self.state());
                let (reading, state) = gate.measure_bypass(next().clone(), input);
                hidden = Some(state);
                wait(device);
                black_box(reading);
            }
        };
        let start = || Gate::start(config, &states[0]);
        let start_portable = || Gate::start_portable(config, &states[0]);

        let mut contenders: Vec<Contender<'_>> = Vec::new();
        let mut add = |name, n_passes, call| {
            contenders.push(Contender {
                name,
                n_passes,
                call,
            });
        };
        if self.name == "flex" {
            // Bytes are bytes: the threads read them as f32, whatever they are.
            let n_floats = self.bytes() / size_of::<f32>();
            let buffers: Vec<Vec<f32>> = vec![vec![0.5; n_floats]; self.n_states];
            let (mut idx, to_read) = (0, buffers.clone());
            let read = move || {
                idx = (idx + 1) % to_read.len();
                black_box(parallel_read(&to_read[idx]));
            };
            add("read", 1, Box::new(read));
            let (mut idx, mut copied) = (0, vec![0.0; n_floats]);
            let copy = move || {
                idx = (idx + 1) % buffers.len();
                parallel_copy(&buffers[idx], black_box(&mut copied));
            };
            add("copy", 2, Box::new(copy));
        } else {
            let mut next = next();
            let copy = move || {
                let copied = next().clone() * 1.0;
                wait(device);
                black_box(copied);
            };
            add("copy", 2, Box::new(copy));
        }
        add("measure, fused", 1, Box::new(measure(start()?)));
        add("measure, portable", 1, Box::new(measure(start_portable()?)));
        add("bypass, fused", 1, Box::new(bypass(start()?)));
        add("bypass, portable", 1, Box::new(bypass(start_portable()?)));

        let mut calls: Vec<&mut dyn FnMut()> = contenders
            .iter_mut()
            .map(|contender| &mut *contender.call as &mut dyn FnMut())
            .collect();
        let times = interleaved(n_rounds, &mut calls);
        let rows: Vec<Row> = contenders
            .iter()
            .zip(times)
            .map(|(contender, time)| Row {
                name: contender.name,
                bytes: contender.n_passes * self.bytes(),
                time,
            })
            .collect();
        self.print(&rows);
        Ok(())
    }

    fn state(&self) -> Tensor<3> {
        let values = Distribution::Uniform(-1.0, 1.0);
        Tensor::<3>::random(self.dims, values, self.device).cast(self.dtype)
    }

    /// Bytes of one state.
    fn bytes(&self) -> usize {
        self.dims.iter().product::<usize>() * self.dtype.size()
    }

    fn print(&self, rows: &[Row]) {
        println!(
            "\n{} {:?} {}, {:.2} MiB a state, {}",
            self.name,
            self.dims,
            self.dtype.name(),
            self.bytes() as f64 / f64::from(1 << 20),
            match self.n_states {
                1 => "cached".to_owned(),
                n_states => format!("rotated through {n_states}"),
            }
        );
        let of = |name: &str| rows.iter().find(|row| row.name == name);
        let time_of = |name: &str| of(name).map_or(0.0, |row| row.time.as_secs_f64());
        for row in rows {
            let gb_s = row.gb_s();
            print!(
                "  {:<18} {:>10.2} µs {gb_s:>8.1} GB/s",
                row.name,
                1e6 * row.time.as_secs_f64()
            );
            if row.name.starts_with("measure") {
                for baseline in ["read", "copy"].into_iter().filter_map(of) {
                    print!(
                        "  {:>4.0} % of {}",
                        100.0 * gb_s / baseline.gb_s(),
                        baseline.name
                    );
                }
            }
            println!();
        }
        for what in ["measure", "bypass"] {
            let portable = time_of(&format!("{what}, portable"));
            println!(
                "  {what}: {:.1} × the portable body",
                portable / time_of(&format!("{what}, fused"))
            );
        }
    }
}

struct Contender<'a> {
    name: &'static str,
    /// How often a call goes through a state, reading or writing.
    n_passes: usize,
    call: Box<dyn FnMut() + 'a>,
}

struct Row {
    name: &'static str,
    /// Bytes read and written by a call; of a selection, those read to judge.
    bytes: usize,
    time: Duration,
}

impl Row {
    fn gb_s(&self) -> f64 {
        self.bytes as f64 / self.time.as_secs_f64() / 1e9
    }
}
