//! Whole passes: gated at once, state by state, and asked step by step.

use burn::tensor::{DType, Device, Tensor, TensorData};
use lac_core::{
    BoxError, Bypass, Error, Gate, GateConfig, LastActive, LayerPolicy, LayerStack, LayerStep,
    NextState, Pass, PassRecord, Trace, error::StateAt, policy::FusedAction, run_layers,
};

use super::states::{States, host, supports};
use crate::devices::devices;

/// Layers whose outputs were fixed beforehand.
struct Outputs(Vec<Tensor<3>>);

impl LayerStack for Outputs {
    type Context = ();

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, layer_idx: usize, _: Tensor<3>, _: &mut ()) -> Tensor<3> {
        self.0[layer_idx].clone()
    }

    fn skip_layer(&self, _: usize, _: &Tensor<3>, _: &mut ()) -> lac_core::Result<()> {
        Ok(())
    }
}

/// Runs a policy over states; the first is the embedding.
pub fn run_over(tensors: &[Tensor<3>], policy: &mut dyn LayerPolicy) -> (Vec<f32>, PassRecord) {
    try_run_over(tensors, policy).unwrap()
}

fn try_run_over(
    tensors: &[Tensor<3>],
    policy: &mut dyn LayerPolicy,
) -> Result<(Vec<f32>, PassRecord), Error> {
    let [batch, seq, _] = tensors[0].dims();
    let pass = Pass::states(batch, seq);
    let stack = Outputs(tensors[1..].to_vec());
    let out = run_layers(&stack, tensors[0].clone(), &mut (), &pass, policy)?;
    let record = out.readings.read(&pass)?;
    Ok((
        out.hidden
            .into_data()
            .convert::<f32>()
            .try_into_vec()
            .unwrap(),
        record,
    ))
}

/// Asked after every layer, as a policy that knows nothing of the loop's shortcuts is.
pub struct Stepwise<P>(pub P);

impl<P: LayerPolicy> LayerPolicy for Stepwise<P> {
    fn name(&self) -> &str {
        self.0.name()
    }
    fn gate_config(&self) -> Option<GateConfig> {
        self.0.gate_config()
    }
    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.0.begin(pass, embedding)
    }
    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        self.0.after(step)
    }
    fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
        self.0.finish(hidden)
    }
}

#[test]
fn a_pass_gated_at_once_reads_as_one_gated_step_by_step() {
    let config = GateConfig::new(0.8);
    for (name, device) in devices() {
        for seq in [1, 4] {
            let mut states = States::random([2, seq, 48], 7, 3.0, 3);
            let tensors = states.put_on(DType::F32, &device);
            type Boxed = Box<dyn LayerPolicy>;
            let policies: [(Boxed, Boxed, FusedAction); 3] = [
                (
                    Box::new(Trace::new(config)),
                    Box::new(Stepwise(Trace::new(config))),
                    FusedAction::Observe,
                ),
                (
                    Box::new(LastActive::new(config)),
                    Box::new(Stepwise(LastActive::new(config))),
                    FusedAction::LastActive,
                ),
                (
                    Box::new(Bypass::new(config)),
                    Box::new(Stepwise(Bypass::new(config))),
                    FusedAction::Bypass,
                ),
            ];
            for (mut fused, mut stepwise, gating) in policies {
                assert_eq!(
                    (fused.fused_action(), stepwise.fused_action()),
                    (gating, FusedAction::Stepwise)
                );
                let at = format!("{} over {seq} tokens on {name}", fused.name());
                // Twice, because a policy serves many passes.
                for _ in 0..2 {
                    let (hidden, record) = run_over(&tensors, &mut *fused);
                    let (expected_hidden, expected) = run_over(&tensors, &mut *stepwise);
                    assert_eq!(record, expected, "{at}");
                    assert_eq!(hidden, expected_hidden, "{at}");
                }
            }
        }
    }
}

#[test]
fn non_finite_states_are_reported_with_their_place() {
    for (name, device) in devices() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for (batch, seq) in [(2, 1), (2, 3)] {
                let mut states = States::random([batch, seq, 33], 4, 1.0, 3);
                states.values[2][(batch * seq - 1) * 33 + 17] = value;
                let tensors = states.put_on(DType::F32, &device);
                let config = GateConfig::new(0.8);
                for policy in [
                    &mut Trace::new(config) as &mut dyn LayerPolicy,
                    &mut LastActive::new(config),
                ] {
                    let error = try_run_over(&tensors, policy).unwrap_err();
                    let Error::NonFiniteNorm {
                        state,
                        row,
                        position,
                        ..
                    } = error
                    else {
                        panic!("{error} for {value} on {name}");
                    };
                    assert_eq!(
                        (state, row, position),
                        (StateAt::Layer(1), 1, seq - 1),
                        "{name}"
                    );
                }
            }
        }
        if supports(&device, DType::F16) {
            for value in [half_bits(0x7c00, &device), half_bits(0x7e00, &device)] {
                let gate = Gate::start(GateConfig::new(0.8), &value).unwrap();
                assert!(!host(gate.embedding_norm())[0].is_finite(), "{name}");
            }
        }
    }
}

/// One value of f16 from its bits.
fn half_bits(bits: u16, device: &Device) -> Tensor<3> {
    let value = burn::tensor::f16::from_bits(bits);
    Tensor::from_data(
        TensorData::new(vec![value], [1, 1, 1]),
        (device, DType::F16),
    )
}
