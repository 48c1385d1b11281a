//! The layer loop: what policies can do, what observers see, what is an error.

use burn::tensor::{Device, Tensor};
use lac_core::{
    BoxError, Bypass, Decision, Error, GateConfig, Halt, LayerPolicy, LayerStack, LayerStep,
    NextState, Observer, Off, Pass, PassRecord, Trace, Usage, error::StateAt, run_layers,
};

use crate::devices::devices;

/// Layers that add a number to the first axis of the hidden state, and note what was called.
struct Adds(Vec<f32>);

#[derive(Default)]
struct Calls {
    forward: Vec<usize>,
    skipped: Vec<usize>,
}

impl LayerStack for Adds {
    type Context = Calls;

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, calls: &mut Calls) -> Tensor<3> {
        calls.forward.push(layer_idx);
        hidden + self.0[layer_idx]
    }

    fn skip_layer(
        &self,
        layer_idx: usize,
        _hidden: &Tensor<3>,
        calls: &mut Calls,
    ) -> lac_core::Result<()> {
        calls.skipped.push(layer_idx);
        Ok(())
    }
}

struct Outcome {
    hidden: Vec<f32>,
    record: PassRecord,
    calls: Calls,
}

/// Runs positive states of one axis, whose norm is their value, through layers.
fn outcome(
    adds: &[f32],
    tokens: &[f32],
    pass: &Pass,
    device: &Device,
    policy: &mut dyn LayerPolicy,
) -> Result<Outcome, Error> {
    let embedding = Tensor::<1>::from_floats(tokens, device).reshape([pass.batch(), pass.seq(), 1]);
    let mut calls = Calls::default();
    let out = run_layers(&Adds(adds.to_vec()), embedding, &mut calls, pass, policy)?;
    Ok(Outcome {
        hidden: out.hidden.try_into_vec_as::<f32>().unwrap(),
        record: out.readings.read(pass)?,
        calls,
    })
}

#[test]
fn off_measures_nothing_and_changes_nothing() {
    for (backend, device) in devices() {
        let pass = Pass::states(1, 2);
        let seen = outcome(&[1.0, 2.0], &[1.0, 2.0], &pass, &device, &mut Off).unwrap();
        assert_eq!(seen.hidden, [4.0, 5.0], "{backend}");
        assert_eq!(seen.record.gate, None);
        assert_eq!(seen.record.executed(), [true, true]);
        let mut usage = Usage::default();
        usage.pass(&seen.record).unwrap();
        assert_eq!(usage.prompt.mean(), None);
        assert_eq!(usage.prompt.executed_per_pass(), Some(2.0));
    }
}

#[test]
fn bypass_measures_on_the_changed_states() {
    for (backend, device) in devices() {
        let pass = Pass::states(1, 1);
        let mut policy = Bypass::new(GateConfig::new(0.8));
        // Deltas 1 and 3, then 1 < 0.8 × (3 − 1): a void. The next layer starts from 14 again.
        let seen = outcome(&[1.0, 3.0, 1.0, 2.0], &[10.0], &pass, &device, &mut policy).unwrap();
        let gate = seen.record.gate.unwrap();
        assert_eq!(gate.norms, [11.0, 14.0, 15.0, 16.0], "{backend}");
        assert_eq!(gate.deltas, [1.0, 3.0, 1.0, 2.0]);
        assert_eq!(gate.active, [true, true, false, true]);
        assert_eq!(seen.hidden, [16.0]);
    }
}

#[test]
fn halt_runs_no_layer_after_the_one_that_moved_nobody() {
    for (backend, device) in devices() {
        let pass = Pass::states(1, 2);
        let adds = [1.0, 4.0, 0.5, 9.0, 9.0];
        let mut policy = Halt::new(GateConfig::new(0.8));
        let seen = outcome(&adds, &[1.0, 2.0], &pass, &device, &mut policy).unwrap();
        assert_eq!(seen.calls.forward, [0, 1, 2], "{backend}");
        assert_eq!(seen.calls.skipped, [3, 4]);
        assert_eq!(seen.record.executed(), [true, true, true, false, false]);
        assert_eq!(seen.hidden, [6.5, 7.5]);
        let gate = seen.record.gate.unwrap();
        assert_eq!(gate.norms[6..], [6.5, 7.5, 6.5, 7.5]);
        assert_eq!(gate.deltas[6..], [0.0; 4]);
        assert!(gate.active[4..].iter().all(|active| !active));
    }
}

/// Padding neither keeps a row running nor halts it.
#[test]
fn halt_does_not_look_at_padding() {
    let pass = Pass::prompt(&[vec![1], vec![1, 1]], 0).unwrap();
    let mut policy = Halt::new(GateConfig::new(0.8));
    // The padding slot holds a state so negative that its norm falls where the others' rise.
    let tokens = [-100.0, 2.0, 3.0, 4.0];
    let device = Device::flex();
    let seen = outcome(&[1.0, 4.0, 0.5, 9.0], &tokens, &pass, &device, &mut policy).unwrap();
    assert_eq!(seen.calls.forward, [0, 1, 2]);
}

/// Runs every second layer and replaces the last state.
struct Custom;

impl LayerPolicy for Custom {
    fn name(&self) -> &str {
        "custom"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(GateConfig::new(0.0))
    }

    fn before(&mut self, layer_idx: usize, _: &Tensor<3>) -> Result<Decision, BoxError> {
        Ok(if layer_idx.is_multiple_of(2) {
            Decision::Run
        } else {
            Decision::Skip
        })
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        Ok(match step.layer_idx {
            0 => NextState::State(step.output.clone() * 2.0),
            _ => NextState::Output,
        })
    }
}

#[test]
fn a_policy_of_ones_own_decides_and_replaces() {
    for (backend, device) in devices() {
        let pass = Pass::states(1, 1);
        let seen = outcome(&[1.0, 50.0, 4.0], &[2.0], &pass, &device, &mut Custom).unwrap();
        assert_eq!(seen.calls.forward, [0, 2], "{backend}");
        assert_eq!(seen.calls.skipped, [1]);
        assert_eq!(seen.hidden, [10.0]);
        let gate = seen.record.gate.unwrap();
        // The replaced state's norm is what the skipped layer passes on and the last one adds to.
        assert_eq!(gate.norms, [3.0, 6.0, 10.0]);
        assert_eq!(gate.deltas, [1.0, 0.0, 4.0]);
        assert_eq!(gate.active, [true, false, true]);
    }
}

struct Fails;

impl LayerPolicy for Fails {
    fn name(&self) -> &str {
        "fails"
    }

    fn before(&mut self, layer_idx: usize, _: &Tensor<3>) -> Result<Decision, BoxError> {
        if layer_idx == 1 {
            Err("no more".into())
        } else {
            Ok(Decision::Run)
        }
    }
}

#[test]
fn a_failing_policy_is_named_with_its_layer() {
    let pass = Pass::states(1, 1);
    let error = outcome(&[1.0, 1.0], &[2.0], &pass, &Device::flex(), &mut Fails)
        .err()
        .unwrap();
    assert!(
        matches!(error, Error::Policy { layer_idx: 1, .. }),
        "{error}"
    );
}

#[test]
fn a_norm_that_is_not_finite_is_named_with_layer_and_position() {
    for (backend, device) in devices() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let pass = Pass::prompt(&[vec![1, 1], vec![1, 1, 1]], 0).unwrap();
            let mut policy = Trace::new(GateConfig::default());
            // The bad value stands in the second row at its last position.
            let tokens = [1.0, 1.0, 1.0, 1.0, 1.0, bad];
            let error = outcome(&[1.0], &tokens, &pass, &device, &mut policy)
                .err()
                .unwrap();
            let Error::NonFiniteNorm {
                state,
                row,
                position,
                norm,
            } = error
            else {
                panic!("{backend}: {error}");
            };
            assert_eq!(
                (state, row, position),
                (StateAt::Embedding, 1, 2),
                "{backend}"
            );
            assert!(!norm.is_finite());

            let error = outcome(&[1.0, bad], &[1.0; 6], &pass, &device, &mut policy)
                .err()
                .unwrap();
            let message = error.to_string();
            assert!(
                message.contains("after layer 1") && message.contains("position 0 of row 0"),
                "{message}"
            );

            // In a padding slot nobody looks at it.
            let padded = [bad, 1.0, 1.0, 1.0, 1.0, 1.0];
            outcome(&[1.0], &padded, &pass, &device, &mut policy).unwrap();
        }
    }
}

#[test]
fn impossible_alphas_and_empty_prompts_are_refused() {
    let pass = Pass::states(1, 1);
    for alpha in [-0.1, f32::NAN, f32::INFINITY] {
        let mut policy = Trace::new(GateConfig::new(alpha));
        let error = outcome(&[1.0], &[1.0], &pass, &Device::flex(), &mut policy)
            .err()
            .unwrap();
        assert!(error.to_string().starts_with("alpha is"), "{error}");
    }
    let empty: Vec<Vec<u32>> = vec![vec![1], vec![]];
    assert!(matches!(
        Pass::prompt(&empty, 0),
        Err(Error::EmptyPrompt { row: 1 })
    ));
    assert!(matches!(
        Pass::prompt::<Vec<u32>>(&[], 0),
        Err(Error::EmptyPrompt { row: 0 })
    ));
}

/// What a model's author builds positions and masks from.
#[test]
fn a_pass_knows_positions_and_hidden_keys() {
    for (backend, device) in devices() {
        let prompt = Pass::prompt(&[vec![7], vec![8, 9]], 0).unwrap();
        let integers =
            |tensor: Tensor<2, burn::tensor::Int>| tensor.try_into_vec_as::<i32>().unwrap();
        let flags = |pass: &Pass| {
            let hidden = pass.key_mask(&device).int();
            (hidden.dims(), hidden.try_into_vec_as::<i32>().unwrap())
        };
        assert_eq!(
            integers(prompt.token_tensor(&device)),
            [0, 7, 8, 9],
            "{backend}"
        );
        assert_eq!(integers(prompt.position_tensor(&device)), [0, 0, 0, 1]);
        assert_eq!(flags(&prompt), ([2, 2, 2], vec![1, 1, 1, 0, 0, 1, 0, 0]));
        let next = prompt.next(vec![3, 4], vec![false, true]);
        assert_eq!(integers(next.position_tensor(&device)), [1, 2]);
        assert_eq!(flags(&next), ([2, 1, 3], vec![1, 0, 0, 0, 0, 0]));
        assert!(next.counts(0, 0) && !next.counts(1, 0));
    }
}
