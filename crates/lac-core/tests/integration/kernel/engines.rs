//! Who does the work: a kernel where there is one, tensor operations everywhere else, and one after
//! the other where states change on the way.

use burn::tensor::{DType, Tensor};
use lac_core::{
    BoxError, Bypass, Decision, Gate, GateConfig, LastActive, LayerPolicy, Trace,
    policy::FusedAction,
};

use super::passes::{Stepwise, run_over};
use super::states::{States, host, supports};
use crate::devices::devices;

/// Norms of one token from the embedding on. On unchanged states the deltas 5, −2, 6 and 0.5 make
/// the layers active, void, active and void. With bypassed voids they are 5, −2, 4 and 4.5, and only
/// the first is active: the later ones are held against 10, and 0.8 × 7 would be needed.
const NORMS: [f32; 5] = [5.0, 10.0, 8.0, 14.0, 14.5];

fn token(norm: f32, like: &Tensor<3>) -> Tensor<3> {
    Tensor::from_floats([[[0.6 * norm, 0.8 * norm]]], &like.device())
}

/// Gradients reach the states that were selected, and only those, and the norms have theirs.
#[test]
fn autodiff_is_followed_through_the_gate() {
    for (name, device) in devices() {
        let like = Tensor::<3>::zeros([1, 1, 1], &device);
        let states: Vec<_> = NORMS
            .iter()
            .map(|&norm| token(norm, &like).autodiff().require_grad())
            .collect();
        let config = GateConfig::new(0.8);
        let sources = |hidden: Tensor<3>| -> Vec<Option<f32>> {
            let gradients = hidden.sum().backward();
            let gradient =
                |state: &Tensor<3>| Some(state.grad(&gradients)?.sum().into_scalar::<f32>());
            states.iter().map(gradient).collect()
        };

        let mut gate = Gate::start(config, &states[0]).unwrap();
        assert!(!gate.is_fused(), "{name}");
        let (mut hidden, mut last_active) = (states[0].clone(), states[0].clone());
        let mut selecting = gate.clone();
        let mut flags = Vec::new();
        for output in &states[1..] {
            let (reading, state) = gate.measure_bypass(output.clone(), hidden);
            hidden = state;
            flags.push(reading.active.into_scalar::<bool>());
            last_active = selecting.measure_last_active(output.clone(), last_active).1;
        }
        assert_eq!(flags, [true, false, false, false], "{name}");
        let reached = |source: usize| -> Vec<f32> {
            (0..states.len())
                .map(|state| if state == source { 2.0 } else { 0.0 })
                .collect()
        };
        let zero_if_absent = |gradients: Vec<Option<f32>>| -> Vec<f32> {
            gradients
                .into_iter()
                .map(Option::unwrap_or_default)
                .collect()
        };
        assert_eq!(zero_if_absent(sources(hidden)), reached(1), "{name}");
        assert_eq!(zero_if_absent(sources(last_active)), reached(3), "{name}");

        // The same through the loop, whose policies are gated inside it.
        let (last_active, _) = run_over(&states, &mut LastActive::new(config));
        assert_eq!(last_active, host(token(14.0, &like).squeeze_dim::<2>(0)));

        // The derivative of a norm is the state's direction.
        let norm = Gate::start(config, &states[2]).unwrap().embedding_norm();
        let gradients = norm.sum().backward();
        let gradient = states[2].grad(&gradients).unwrap().squeeze_dim::<2>(0);
        for (seen, expected) in host(gradient).into_iter().zip([0.6, 0.8]) {
            assert!((seen - expected).abs() < 1e-6, "{seen} on {name}");
        }
    }
}

/// The first weight that autodiff follows may be that of any layer.
#[test]
fn a_pass_may_come_to_be_followed_by_autodiff() {
    let config = GateConfig::new(0.8);
    for (name, device) in devices() {
        for seq in [1, 3] {
            let plain = States::random([2, seq, 24], 6, 3.0, 21).put_on(DType::F32, &device);
            let mut followed = plain.clone();
            for state in &mut followed[3..] {
                *state = state.clone().autodiff();
            }
            let mut gate = Gate::start(config, &followed[0]).unwrap();
            let mut expected = Gate::start_portable(config, &plain[0]).unwrap();
            for (layer_idx, (output, plain)) in followed.iter().zip(&plain).enumerate().skip(1) {
                let at = format!("state {layer_idx} of {seq} tokens on {name}");
                let (seen, expected) = (gate.measure(output), expected.measure(plain));
                assert_eq!(gate.is_fused(), layer_idx < 3, "{at}");
                assert_close(&seen.threshold, &expected.threshold, &at);
                assert_close(&seen.delta, &expected.delta, &at);
            }
            for policy in policies(config) {
                let [mut of_plain, mut of_followed] = [policy(), policy()];
                let (expected, expected_record) = run_over(&plain, &mut *of_plain);
                let (hidden, record) = run_over(&followed, &mut *of_followed);
                let (seen, expected_gate) = (record.gate.unwrap(), expected_record.gate.unwrap());
                assert_eq!(
                    seen.active,
                    expected_gate.active,
                    "{} on {name}",
                    of_plain.name()
                );
                assert_eq!(hidden, expected, "{} on {name}", of_plain.name());
            }
        }
    }
}

/// A model may leave its embedding's data type after the first layer.
#[test]
fn a_pass_may_change_its_data_type() {
    let config = GateConfig::new(0.8);
    for (name, device) in devices() {
        if !supports(&device, DType::F16) {
            continue;
        }
        for seq in [1, 3] {
            // What f16 holds exactly, so that the data type changes no norm.
            let narrow = States::random([2, seq, 24], 6, 3.0, 22).put_on(DType::F16, &device);
            let wide: Vec<_> = narrow
                .iter()
                .map(|state| state.clone().cast(DType::F32))
                .collect();
            let mixed: Vec<_> = [&wide[..2], &narrow[2..]].concat();
            let (_, record) = run_over(&mixed, &mut Trace::new(config));
            let (_, expected) = run_over(&wide, &mut Trace::new(config));
            assert_eq!(record, expected, "{seq} tokens on {name}");
        }
    }
}

type Boxed = Box<dyn LayerPolicy>;

fn policies(config: GateConfig) -> [Box<dyn Fn() -> Boxed>; 3] {
    [
        Box::new(move || Box::new(Trace::new(config))),
        Box::new(move || Box::new(LastActive::new(config))),
        Box::new(move || Box::new(Bypass::new(config))),
    ]
}

/// A policy that does not run some of its layers.
struct Skips<P> {
    policy: P,
    layers: &'static [usize],
}

impl<P: LayerPolicy> LayerPolicy for Skips<P> {
    fn name(&self) -> &str {
        self.policy.name()
    }
    fn gate_config(&self) -> Option<GateConfig> {
        self.policy.gate_config()
    }
    fn fused_action(&self) -> FusedAction {
        self.policy.fused_action()
    }
    fn before(&mut self, layer_idx: usize, _: &Tensor<3>) -> Result<Decision, BoxError> {
        Ok(if self.layers.contains(&layer_idx) {
            Decision::Skip
        } else {
            Decision::Run
        })
    }
}

/// What waits for the pass's end cannot wait beyond a layer that is not run.
#[test]
fn layers_that_are_not_run_are_gated_in_their_place() {
    let config = GateConfig::new(0.8);
    for (name, device) in devices() {
        for layers in [&[0][..], &[3], &[1, 2, 5]] {
            let tensors = States::random([2, 1, 32], 6, 3.0, 23).put_on(DType::F32, &device);
            let policy = || Trace::new(config);
            let mut at_once = Skips {
                policy: policy(),
                layers,
            };
            let mut stepwise = Skips {
                policy: Stepwise(policy()),
                layers,
            };
            let (hidden, record) = run_over(&tensors, &mut at_once);
            let (expected_hidden, expected) = run_over(&tensors, &mut stepwise);
            assert_eq!(record, expected, "without {layers:?} on {name}");
            assert_eq!(hidden, expected_hidden);
            for &layer_idx in layers {
                assert!(!record.executed()[layer_idx]);
            }
        }
    }
}

fn assert_close(seen: &Tensor<2>, expected: &Tensor<2>, at: &str) {
    let inner = |tensor: &Tensor<2>| {
        let tensor = tensor.clone();
        host(if tensor.is_autodiff() {
            tensor.inner()
        } else {
            tensor
        })
    };
    for (seen, expected) in inner(seen).into_iter().zip(inner(expected)) {
        assert!(
            (seen - expected).abs() < 1e-4,
            "{seen} for {expected} at {at}"
        );
    }
}
