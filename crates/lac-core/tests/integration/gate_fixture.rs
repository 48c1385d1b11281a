//! The gate against torch, computed as the paper's released code does.
//!
//! `crates/lac-models/tests/fixtures/make_fixtures.py` wrote `gate.json`; the README beside it
//! describes the fields.

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_core::{
    Error, Gate, GateConfig, reference,
    released_code::{FirstThreshold, GateRounding},
};
use serde::Deserialize;

use crate::devices::devices;

#[derive(Deserialize)]
struct Fixture {
    worked_example: Norms,
    edge_cases: Vec<Norms>,
    states_f32: States,
    states_bf16: States,
}

#[derive(Deserialize)]
struct Norms {
    #[serde(default)]
    name: String,
    norms: Vec<Vec<f32>>,
    deltas: Vec<Vec<f32>>,
    gates: Vec<Verdicts>,
}

#[derive(Deserialize)]
struct States {
    states: Vec<Vec<Vec<f32>>>,
    norms: Vec<Vec<f32>>,
    deltas: Vec<Vec<f32>>,
    gates: Vec<Verdicts>,
}

#[derive(Deserialize)]
struct Verdicts {
    alpha: f32,
    thresholds: Vec<Vec<f32>>,
    active: Vec<Vec<u8>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("../fixtures/gate.json")).unwrap()
}

/// States `[1, tokens, hidden]`.
fn state(tokens: &[Vec<f32>], dtype: DType, device: &Device) -> Tensor<3> {
    let shape = [1, tokens.len(), tokens[0].len()];
    Tensor::from_data(TensorData::new(tokens.concat(), shape), (device, dtype))
}

/// States of the given norms: one axis carries the norm, the other nothing.
fn states_of(norms: &[Vec<f32>]) -> Vec<Vec<Vec<f32>>> {
    let token = |&norm: &f32| vec![norm, 0.0];
    norms
        .iter()
        .map(|layer| layer.iter().map(token).collect())
        .collect()
}

/// What is to be compared, and how closely.
struct Case<'a> {
    states: &'a [Vec<Vec<f32>>],
    norms: &'a [Vec<f32>],
    deltas: &'a [Vec<f32>],
    dtype: DType,
    rounding: GateRounding,
    /// Relative to the norm. Flags of verdicts closer than that are not compared.
    tolerance: f32,
}

fn check(case: &Case<'_>, verdicts: &Verdicts, device: &Device, what: &str) {
    let config = GateConfig::new(verdicts.alpha).with_rounding(case.rounding);
    let mut gate = Gate::start(config, &state(&case.states[0], case.dtype, device)).unwrap();
    for (layer_idx, layer) in case.states[1..].iter().enumerate() {
        let reading = gate.measure(&state(layer, case.dtype, device));
        let read = |tensor: Tensor<2>| tensor.try_into_vec_as::<f32>().unwrap();
        let (norm, delta) = (read(reading.norm), read(reading.delta));
        let threshold = read(reading.threshold);
        let active = reading.active.int().try_into_vec_as::<u8>().unwrap();
        for token in 0..norm.len() {
            let at = format!(
                "{what}, alpha {}, layer {layer_idx}, token {token}",
                verdicts.alpha
            );
            let expected_norm = case.norms[layer_idx + 1][token];
            let allowed = case.tolerance * expected_norm.abs();
            let close = |value: f32, expected: f32, name: &str| {
                assert!(
                    (value - expected).abs() <= allowed,
                    "{at}: {name} {value} against {expected}"
                );
            };
            close(norm[token], expected_norm, "norm");
            close(delta[token], case.deltas[layer_idx][token], "delta");
            close(
                threshold[token],
                verdicts.thresholds[layer_idx][token],
                "threshold",
            );
            let margin = (delta[token] - threshold[token]).abs();
            if allowed == 0.0 || margin > 2.0 * allowed {
                assert_eq!(active[token], verdicts.active[layer_idx][token], "{at}");
            }
        }
    }
}

/// The CPU's square root is correctly rounded, and the edge cases are small binary fractions: ties
/// are exact there. A GPU may be off by some units in the last place.
fn exact_on_the_cpu(backend: &str) -> f32 {
    if backend == "flex" { 0.0 } else { 1e-6 }
}

#[test]
fn worked_example_and_edge_cases() {
    let fixture = fixture();
    for (backend, device) in devices() {
        for norms in &fixture.edge_cases {
            let case = Case {
                states: &states_of(&norms.norms),
                norms: &norms.norms,
                deltas: &norms.deltas,
                dtype: DType::F32,
                rounding: GateRounding::F32,
                tolerance: exact_on_the_cpu(backend),
            };
            for verdicts in &norms.gates {
                check(
                    &case,
                    verdicts,
                    &device,
                    &format!("{} on {backend}", norms.name),
                );
            }
        }
        let norms = &fixture.worked_example;
        let case = Case {
            states: &states_of(&norms.norms),
            norms: &norms.norms,
            deltas: &norms.deltas,
            dtype: DType::F32,
            rounding: GateRounding::F32,
            tolerance: 1e-6,
        };
        check(
            &case,
            &norms.gates[0],
            &device,
            &format!("the worked example on {backend}"),
        );
    }
}

#[test]
fn states_in_f32() {
    let States {
        states,
        norms,
        deltas,
        gates,
    } = fixture().states_f32;
    for (backend, device) in devices() {
        let case = Case {
            states: &states,
            norms: &norms,
            deltas: &deltas,
            dtype: DType::F32,
            rounding: GateRounding::F32,
            // The hidden axis is summed in another order than torch's.
            tolerance: 1e-6,
        };
        for verdicts in &gates {
            check(&case, verdicts, &device, backend);
        }
    }
}

/// The released code's rounding, reproduced bit by bit wherever the device has bf16.
#[test]
fn states_in_bf16_with_the_released_codes_rounding() {
    let States {
        states,
        norms,
        deltas,
        gates,
    } = fixture().states_bf16;
    for (backend, device) in devices() {
        if !device.supports_dtype(DType::BF16) {
            let embedding = state(&states[0], DType::F32, &device);
            let config = GateConfig::default().with_rounding(GateRounding::Bf16);
            let refused = Gate::start(config, &embedding);
            assert!(
                matches!(refused, Err(Error::UnsupportedDtype { .. })),
                "{backend}"
            );
            continue;
        }
        let case = Case {
            states: &states,
            norms: &norms,
            deltas: &deltas,
            dtype: DType::BF16,
            rounding: GateRounding::Bf16,
            // bf16 leaves no room for another order of summation to show.
            tolerance: 0.0,
        };
        for verdicts in &gates {
            check(&case, verdicts, &device, backend);
        }
    }
}

/// The released code's first threshold: a range over the rows, per position, and none in a batch of one. What comes
/// after the first layer is per token again.
#[test]
fn the_first_threshold_can_be_a_range_over_the_batch() {
    for (backend, device) in devices() {
        let state = |norms: [[f32; 2]; 2], rows: usize| {
            let values: Vec<f32> = norms[..rows]
                .concat()
                .iter()
                .flat_map(|&n| [n, 0.0])
                .collect();
            Tensor::<3>::from_data(TensorData::new(values, [rows, 2, 2]), &device)
        };
        let embedding = [[1.0, 1.0], [1.0, 1.0]];
        // Deltas 1 and 3 at the first position, 2 and 1 at the second.
        let first = [[2.0, 3.0], [4.0, 2.0]];
        let second = [[1.5, 4.0], [4.0, 3.0]];
        let config = GateConfig::new(0.75).with_first_threshold(FirstThreshold::BatchRange);
        for (rows, thresholds, active) in [
            (
                2,
                &[1.5, 0.75, 1.5, 0.75][..],
                &[false, true, true, true][..],
            ),
            (1, &[0.0, 0.0], &[true, true]),
        ] {
            let mut gate = Gate::start(config, &state(embedding, rows)).unwrap();
            assert!(!gate.is_fused(), "{backend}: no kernel knows of batches");
            let reading = gate.measure(&state(first, rows));
            let found = reading.threshold.into_data().try_to_vec::<f32>().unwrap();
            assert_eq!(found, thresholds, "{backend}, {rows} rows");
            let found: Vec<bool> = reading.active.into_data().iter::<bool>().collect();
            assert_eq!(found, active, "{backend}, {rows} rows");
            let reading = gate.measure(&state(second, rows));
            let found = reading.threshold.into_data().try_to_vec::<f32>().unwrap();
            assert_eq!(found, vec![0.0; 2 * rows], "{backend}, {rows} rows");
        }
    }
}

/// The host's gate, which the kernels are held against, against torch itself.
#[test]
fn the_reference_agrees_with_torch() {
    let fixture = fixture();
    for case in fixture.edge_cases.iter().chain([&fixture.worked_example]) {
        for verdicts in &case.gates {
            for token in 0..case.norms[0].len() {
                let norm = |state: &Vec<f32>| f64::from(state[token]);
                let alpha = f64::from(verdicts.alpha);
                let mut gate = reference::TokenGate::new(alpha, norm(&case.norms[0]));
                for (layer_idx, state) in case.norms[1..].iter().enumerate() {
                    let seen = gate.step(norm(state));
                    let at = format!("{}, alpha {alpha}, layer {layer_idx}", case.name);
                    let threshold = f64::from(verdicts.thresholds[layer_idx][token]);
                    let delta = f64::from(case.deltas[layer_idx][token]);
                    // torch computed in f32.
                    assert!((seen.delta - delta).abs() <= 1e-5, "{at}: {seen:?}");
                    assert!((seen.threshold - threshold).abs() <= 1e-5, "{at}: {seen:?}");
                    // A tie in f32 is seldom one in f64.
                    if (seen.delta - seen.threshold).abs() > 2e-5 {
                        let active = u8::from(seen.active);
                        assert_eq!(active, verdicts.active[layer_idx][token], "{at}");
                    }
                }
            }
        }
    }
}
