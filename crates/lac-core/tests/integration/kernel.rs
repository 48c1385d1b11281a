//! The gate's kernels against the reference on the host, and against the tensor operations.

mod engines;
mod passes;
mod states;

use burn::tensor::{DType, Tensor};
use lac_core::{Error, Gate, GateConfig, released_code::GateRounding};
use proptest::prelude::*;

use crate::devices::devices;
use states::{States, check_gate, check_states, check_tensors, host, supports};

#[test]
fn kernels_agree_with_the_reference() {
    let small = [
        [1, 1, 1],
        [1, 1, 64],
        [2, 3, 96],
        [1, 5, 7],
        [3, 2, 1],
        [2, 1, 1030],
    ];
    let large = [[4, 129, 896], [1, 512, 2048], [2, 65, 4099]];
    for (name, device) in devices() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            if !supports(&device, dtype) {
                continue;
            }
            for dims in small {
                check_gate(&device, dtype, dims, 6, 0.8);
            }
            // The larger ones are a matter of indices, which a GPU has in one data type as in
            // another.
            if name == "flex" || dtype == DType::F32 {
                for dims in large {
                    check_gate(&device, dtype, dims, 3, 0.8);
                }
            }
        }
    }
}

#[test]
fn the_largest_shape_agrees_with_the_reference() {
    for (_, device) in devices() {
        check_gate(&device, DType::F32, [4, 513, 8192], 2, 0.8);
    }
}

#[test]
fn nothing_to_gate_is_gated() {
    for (_, device) in devices() {
        for dims in [[0, 3, 8], [2, 0, 8], [0, 0, 4]] {
            let empty = Tensor::<3>::zeros(dims, &device);
            let mut gate = Gate::start(GateConfig::new(0.8), &empty).unwrap();
            let reading = gate.measure(&empty);
            assert_eq!(reading.norm.dims(), [dims[0], dims[1]]);
            let (_, hidden) = gate.measure_bypass(empty.clone(), empty.clone());
            assert_eq!(hidden.dims(), dims);
        }
    }
}

#[test]
fn strided_states_are_gated_where_they_lie() {
    let dims = [2, 6, 40];
    // A window into longer rows, a transposed sequence, transposed values, a flipped batch.
    let layouts: [fn(Tensor<3>) -> Tensor<3>; 4] = [
        |state| {
            let [batch, seq, width] = state.dims();
            let options = (&state.device(), state.dtype());
            let around = Tensor::zeros([batch, seq + 3, width + 9], options);
            let around = around.slice_assign([0..batch, 2..seq + 2, 5..width + 5], state);
            around.slice([0..batch, 2..seq + 2, 5..width + 5])
        },
        |state| (state.swap_dims(0, 1) * 1.0).swap_dims(0, 1),
        |state| (state.swap_dims(1, 2) * 1.0).swap_dims(1, 2),
        |state| state.flip([0]).flip([0]),
    ];
    for (_, device) in devices() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            if !supports(&device, dtype) {
                continue;
            }
            let mut states = States::random(dims, 3, 2.0, 11);
            let plain = states.put_on(dtype, &device);
            for layout in layouts {
                let strided: Vec<_> = plain.iter().cloned().map(layout).collect();
                check_tensors(&states, &strided, 0.8);
            }
            // A state spread over a batch without being copied.
            let spread: Vec<_> = plain
                .iter()
                .map(|state| state.clone().narrow(0, 0, 1).expand([2, 6, 40]))
                .collect();
            let values = states
                .values
                .iter()
                .map(|state| state[..6 * 40].repeat(2))
                .collect();
            check_tensors(&States { dims, values }, &spread, 0.8);
        }
    }
}

#[test]
fn extreme_values_keep_their_norms() {
    for (name, device) in devices() {
        for scale in [1e4, 1e-3] {
            let states = States::random([1, 3, 515], 4, scale, 5);
            check_states(&device, DType::F32, states, 0.8);
        }
        if !supports(&device, DType::F16) {
            continue;
        }
        // Denormals of f16 are ordinary numbers in f32; a GPU is free to read them as zeros.
        if name == "flex" {
            check_states(
                &device,
                DType::F16,
                States::random([1, 3, 130], 4, 3e-6, 5),
                0.8,
            );
        }
        check_states(
            &device,
            DType::F16,
            States::random([1, 3, 130], 4, 1e4, 5),
            0.8,
        );
        // The squares of f32's denormals are zero in f32.
        let tiny = Tensor::<3>::full([1, 2, 9], 1e-40, &device);
        let mut gate = Gate::start(GateConfig::new(0.8), &tiny).unwrap();
        assert_eq!(host(gate.measure(&tiny).norm), [0.0, 0.0], "{name}");
    }
}

#[test]
fn kernels_agree_with_tensor_operations() {
    for (name, device) in devices() {
        let mut states = States::random([2, 3, 200], 6, 3.0, 9);
        let tensors = states.put_on(DType::F32, &device);
        let config = GateConfig::new(0.8);
        let mut fused = Gate::start(config, &tensors[0]).unwrap();
        let mut portable = Gate::start_portable(config, &tensors[0]).unwrap();
        assert!(fused.is_fused() && !portable.is_fused());
        for output in &tensors[1..] {
            let close = |a: Tensor<2>, b: Tensor<2>| {
                for (a, b) in host(a).into_iter().zip(host(b)) {
                    assert!((a - b).abs() < 2e-4, "{a} for {b} on {name}");
                }
            };
            close(fused.next_threshold(), portable.next_threshold());
            let (a, b) = (fused.measure(output), portable.measure(output));
            close(a.norm, b.norm);
            close(a.delta, b.delta);
            close(a.threshold, b.threshold);
            assert_eq!(host(a.active.float()), host(b.active.float()), "{name}");
            close(fused.previous_norm(), portable.previous_norm());
        }
        close_all(
            &host(fused.embedding_norm()),
            &host(portable.embedding_norm()),
        );
    }
}

fn close_all(seen: &[f32], expected: &[f32]) {
    for (seen, expected) in seen.iter().zip(expected) {
        assert!((seen - expected).abs() < 1e-4, "{seen} for {expected}");
    }
}

#[test]
fn the_rounding_of_the_released_code_stays_in_tensor_operations() {
    for (_, device) in devices() {
        let config = GateConfig::new(0.8).with_rounding(GateRounding::Bf16);
        let embedding = Tensor::<3>::from_floats([[[1000.0, 3.0]]], &device);
        match Gate::start(config, &embedding) {
            Ok(gate) => {
                assert!(!gate.is_fused());
                // bf16 has steps of 4 between 512 and 1024.
                assert_eq!(host(gate.embedding_norm()), [1000.0]);
            }
            Err(error) => assert!(matches!(error, Error::UnsupportedDtype { .. }), "{error}"),
        }
    }
}

#[test]
fn data_types_without_a_kernel_are_gated_all_the_same() {
    for (_, device) in devices() {
        if supports(&device, DType::F64) {
            let state = Tensor::<3>::full([1, 1, 4], 2.0, (&device, DType::F64));
            let mut gate = Gate::start(GateConfig::new(0.8), &state).unwrap();
            assert!(!gate.is_fused());
            assert_eq!(host(gate.measure(&state).norm), [4.0]);
        }
    }
}

#[test]
fn many_launches_leave_nothing_behind() {
    for (name, device) in devices() {
        // The other tests of this process come and go with some hundred MiB.
        let n_launches = 8000;
        let mut states = States::random([1, 16, 4096], 2, 1.0, 3);
        let tensors = states.put_on(DType::F32, &device);
        let mut gate = Gate::start(GateConfig::new(0.8), &tensors[0]).unwrap();
        let mut hidden = tensors[0].clone();
        let mut launch = |n_launches: usize| {
            for idx in 0..n_launches {
                let output = tensors[1 + idx % 2].clone();
                hidden = gate.measure_bypass(output, hidden.clone()).1;
            }
            let _ = host(gate.previous_norm());
        };
        launch(n_launches / 10);
        let before = resident_bytes();
        launch(n_launches);
        let grown = resident_bytes().saturating_sub(before);
        // A launch that kept its output would have kept 256 KiB each time.
        let leaked = n_launches as u64 * 16 * 4096 * 4;
        assert!(
            grown < leaked / 2,
            "{name}: {grown} bytes after {n_launches} launches"
        );
    }
}

/// What the process holds in memory; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm")
        .ok()
        .and_then(|statm| statm.split_whitespace().nth(1)?.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

/// Shapes, a number of layers, α and a seed.
fn any_pass() -> impl Strategy<Value = ([usize; 3], usize, f32, u64)> {
    let dims =
        (1usize..4, 1usize..9, 1usize..300).prop_map(|(batch, seq, width)| [batch, seq, width]);
    (dims, 1usize..9, 0.0f32..2.0, any::<u64>())
}

fn check_pass(name: &str, (dims, n_layers, alpha, seed): ([usize; 3], usize, f32, u64)) {
    for (_, device) in devices()
        .into_iter()
        .filter(|(backend, _)| *backend == name)
    {
        let states = States::random(dims, n_layers, 3.0, seed);
        check_states(&device, DType::F32, states, alpha);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_shape_and_alpha_agree_on_the_cpu(pass in any_pass()) {
        check_pass("flex", pass);
    }
}

proptest! {
    // A software renderer is slow.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_shape_and_alpha_agree_on_a_gpu(pass in any_pass()) {
        check_pass("wgpu", pass);
        check_pass("cuda", pass);
    }
}
