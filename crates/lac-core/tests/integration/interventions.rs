//! Interventions: what is ablated, added and replaced, for which tokens, around which policies.

use burn::tensor::{Device, Tensor};
use lac_core::{
    BoxError, Bypass, Decision, Error, GateConfig, LastActive, LayerPolicy, LayerStack, Off, Pass,
    PassRecord, Phase, Planned, PolicyEffect, SkippedKeys, Trace,
    error::StateAt,
    intervention::{Ablated, Captured, Intervened, Intervention, TokenSelection},
    plan::PhasePlan,
    run_layers,
    stack::{Sublayer, Sublayers},
};

use crate::devices::devices;

/// Layers whose attention adds its first number and whose MLP then multiplies by its second one.
struct Layers(Vec<[f32; 2]>);

impl LayerStack for Layers {
    type Context = ();

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        (hidden + self.0[idx][0]) * self.0[idx][1]
    }

    fn skip_layer(&self, _: usize, _: &Tensor<3>, _: &mut ()) -> lac_core::Result<()> {
        Ok(())
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = ()>> {
        Some(self)
    }
}

impl Sublayers for Layers {
    type Context = ();

    fn forward_sublayer(
        &self,
        idx: usize,
        sublayer: Sublayer,
        hidden: Tensor<3>,
        _: &mut (),
    ) -> Tensor<3> {
        match sublayer {
            Sublayer::Attention => hidden + self.0[idx][0],
            Sublayer::Mlp => hidden * self.0[idx][1],
        }
    }

    fn omit_kv(&self, _: usize, _: &mut ()) {}
}

const LAYERS: [[f32; 2]; 3] = [[1.0, 2.0], [4.0, 3.0], [16.0, 0.5]];

/// Runs three tokens of one axis through the layers.
fn outcome(
    device: &Device,
    pass: &Pass,
    policy: &mut dyn LayerPolicy,
) -> Result<(Vec<f32>, PassRecord), Error> {
    let embedding = Tensor::<3>::from_floats([[[1.0], [2.0], [3.0]]], device);
    let out = run_layers(&Layers(LAYERS.to_vec()), embedding, &mut (), pass, policy)?;
    let hidden = out.hidden.try_into_vec_as::<f32>().unwrap();
    Ok((hidden, out.readings.read(pass)?))
}

fn prompt() -> Pass {
    Pass::prompt(&[vec![1, 1, 1]], 0).unwrap()
}

fn ablate(layer_idx: usize, what: Ablated, tokens: TokenSelection) -> Intervention {
    Intervention::Ablate {
        layer_idx,
        what,
        tokens,
    }
}

fn add(device: &Device, at: StateAt, value: f32, tokens: TokenSelection) -> Intervention {
    Intervention::Add {
        at,
        vector: Tensor::from_floats([value], device),
        tokens,
    }
}

/// What the layers make of a number, without what `leaves_out` names.
fn by_hand(start: f32, leaves_out: impl Fn(usize, Sublayer) -> bool) -> f32 {
    let mut state = start;
    for (idx, [added, factor]) in LAYERS.into_iter().enumerate() {
        if !leaves_out(idx, Sublayer::Attention) {
            state += added;
        }
        if !leaves_out(idx, Sublayer::Mlp) {
            state *= factor;
        }
    }
    state
}

#[test]
fn what_is_ablated_adds_nothing_for_the_selected_tokens() {
    let (all, second) = (TokenSelection::all(), TokenSelection::positions(1..2));
    let wholes = [
        Ablated::Layer,
        Ablated::Sublayer(Sublayer::Attention),
        Ablated::Sublayer(Sublayer::Mlp),
    ];
    for (backend, device) in devices() {
        for what in wholes {
            for (tokens, selected) in [(&all, [true; 3]), (&second, [false, true, false])] {
                let interventions = vec![ablate(1, what, tokens.clone())];
                let mut policy = Intervened::new(Off, interventions, 3).unwrap();
                let (hidden, record) = outcome(&device, &prompt(), &mut policy).unwrap();
                for (token, start) in [1.0, 2.0, 3.0].into_iter().enumerate() {
                    let expected = by_hand(start, |idx, sublayer| {
                        let is_it = what == Ablated::Layer || what == Ablated::Sublayer(sublayer);
                        idx == 1 && is_it && selected[token]
                    });
                    assert_eq!(hidden[token], expected, "{backend} {what:?}{tokens}");
                }
                // What is ablated for every token is not run.
                let decision = match (what, tokens == &all) {
                    (_, false) => Decision::Run,
                    (Ablated::Layer, true) => Decision::Skip,
                    (Ablated::Sublayer(Sublayer::Attention), true) => Decision::SkipAttention,
                    (Ablated::Sublayer(Sublayer::Mlp), true) => Decision::SkipMlp,
                };
                assert_eq!(record.decisions[1], decision);
            }
        }
    }
}

#[test]
fn tokens_are_selected_by_phase_and_position() {
    let device = Device::flex();
    let pass = prompt();
    let next = pass.next(vec![1], vec![false]);
    for (tokens, in_prompt, in_response, name) in [
        (TokenSelection::all(), [true; 3], true, ""),
        (
            TokenSelection::phase(Phase::Prompt),
            [true; 3],
            false,
            "@prompt",
        ),
        (
            TokenSelection::phase(Phase::Response),
            [false; 3],
            true,
            "@response",
        ),
        (
            TokenSelection::positions(2..4),
            [false, false, true],
            true,
            "@2-3",
        ),
        (
            TokenSelection::positions(0..9).in_phase(Phase::Response),
            [false; 3],
            true,
            "@response@0-8",
        ),
        (TokenSelection::positions(3..3), [false; 3], false, "@3-2"),
    ] {
        assert_eq!(tokens.to_string(), name);
        let interventions = vec![add(&device, StateAt::Layer(2), 100.0, tokens)];
        let mut policy = Intervened::new(Off, interventions, 3).unwrap();
        let (hidden, _) = outcome(&device, &pass, &mut policy).unwrap();
        let (plain, _) = outcome(&device, &pass, &mut Off).unwrap();
        let changed: Vec<bool> = hidden
            .iter()
            .zip(&plain)
            .map(|(a, b)| a - b == 100.0)
            .collect();
        assert_eq!(changed, in_prompt, "{name}");

        let embedding = Tensor::<3>::from_floats([[[1.0]]], &device);
        let stack = Layers(LAYERS.to_vec());
        let out = run_layers(&stack, embedding, &mut (), &next, &mut policy).unwrap();
        let difference = out.hidden.into_scalar::<f32>() - plain[0];
        assert_eq!(difference == 100.0, in_response, "{name}");
    }
}

/// Rows of a batch have positions of their own, and padding has none.
#[test]
fn positions_are_counted_without_padding() {
    let device = Device::flex();
    let pass = Pass::prompt(&[vec![1], vec![1, 1]], 0).unwrap();
    let embedding = Tensor::<3>::from_floats([[[1.0], [1.0]], [[1.0], [1.0]]], &device);
    let first = add(
        &device,
        StateAt::Embedding,
        7.0,
        TokenSelection::positions(0..1),
    );
    let mut policy = Intervened::new(Off, vec![first], 1).unwrap();
    let stack = Layers(vec![[0.0, 1.0]]);
    let out = run_layers(&stack, embedding, &mut (), &pass, &mut policy).unwrap();
    let hidden = out.hidden.try_into_vec_as::<f32>().unwrap();
    assert_eq!(hidden, [1.0, 8.0, 8.0, 1.0]);
}

#[test]
fn the_gate_measures_what_is_passed_on() {
    for (backend, device) in devices() {
        let interventions = vec![
            add(&device, StateAt::Embedding, 9.0, TokenSelection::all()),
            ablate(1, Ablated::Layer, TokenSelection::all()),
            // Something is put where no layer is run.
            add(
                &device,
                StateAt::Layer(1),
                5.0,
                TokenSelection::positions(0..2),
            ),
        ];
        let inner = Trace::new(GateConfig::new(0.8));
        let mut policy = Intervened::new(inner, interventions, 3).unwrap();
        let (hidden, record) = outcome(&device, &prompt(), &mut policy).unwrap();
        let gate = record.gate.unwrap();
        assert_eq!(gate.embedding_norms, [10.0, 11.0, 12.0], "{backend}");
        assert_eq!(gate.norms[..3], [22.0, 24.0, 26.0]);
        assert_eq!(gate.norms[3..6], [27.0, 29.0, 26.0]);
        assert_eq!(gate.deltas[3..6], [5.0, 5.0, 0.0]);
        assert_eq!(gate.norms[6..], hidden[..]);
        assert_eq!(
            record.decisions,
            [Decision::Run, Decision::Skip, Decision::Run]
        );
    }
}

#[test]
fn policies_decide_about_changed_states() {
    let device = Device::flex();
    let gate = GateConfig::new(0.8);
    // The second layer would add 5. With the vector it shrinks the norm and is a void: `Bypass` passes its input on, and
    // `LastActive` takes the first layer's output.
    let shrinks = || {
        vec![add(
            &device,
            StateAt::Layer(1),
            -20.0,
            TokenSelection::all(),
        )]
    };
    let layers = Layers(vec![[10.0, 1.0], [5.0, 1.0]]);
    let run = |policy: &mut dyn LayerPolicy| {
        let embedding = Tensor::<3>::from_floats([[[1.0]]], &device);
        let pass = Pass::states(1, 1);
        let out = run_layers(&layers, embedding, &mut (), &pass, policy).unwrap();
        out.hidden.into_scalar::<f32>()
    };
    let mut bypass = Intervened::new(Bypass::new(gate), shrinks(), 2).unwrap();
    assert_eq!(run(&mut bypass), 11.0);
    let mut last_active = Intervened::new(LastActive::new(gate), shrinks(), 2).unwrap();
    assert_eq!(run(&mut last_active), 11.0);
    let boxed: Box<dyn LayerPolicy> = Box::new(LastActive::new(gate));
    assert_eq!(
        run(&mut Intervened::new(boxed, Vec::new(), 2).unwrap()),
        16.0
    );
    let mut traced = Intervened::new(Trace::new(gate), shrinks(), 2).unwrap();
    assert_eq!(run(&mut traced), -4.0);
}

#[test]
fn what_a_plan_skips_stays_skipped() {
    let device = Device::flex();
    let plan = PhasePlan::new(vec![
        Decision::SkipAttention,
        Decision::SkipMlp,
        Decision::Run,
    ]);
    let attention = Ablated::Sublayer(Sublayer::Attention);
    let all = TokenSelection::all;
    let interventions = vec![
        ablate(0, attention, all()),
        ablate(1, attention, all()),
        ablate(2, attention, all()),
    ];
    let planned = Planned::from_phases(plan.clone(), plan, SkippedKeys::Fill);
    let mut policy = Intervened::new(planned, interventions, 3).unwrap();
    let (hidden, record) = outcome(&device, &prompt(), &mut policy).unwrap();
    let expected = [
        Decision::SkipAttention,
        Decision::Skip,
        Decision::SkipAttention,
    ];
    assert_eq!(record.decisions, expected);
    assert_eq!(hidden, [1.0, 2.0, 3.0]);
}

/// A state that is taken from one run and put into another makes the rest of that run the first one's.
#[test]
fn a_captured_state_takes_anothers_place() {
    for (backend, device) in devices() {
        let at = StateAt::Layer(0);
        let mut captured = Captured::new(Off, vec![at, StateAt::Embedding]);
        outcome(&device, &prompt(), &mut captured).unwrap();
        let states = captured.take();
        let places: Vec<StateAt> = states.iter().map(|(at, _)| *at).collect();
        assert_eq!(places, [StateAt::Embedding, at]);
        // Tokens 0 and 1 of that run stand for tokens 1 and 2 of this one.
        let replace = Intervention::Replace {
            at,
            states: states[1].1.clone().squeeze_dim::<2>(0).narrow(0, 0, 2),
            first_position: 1,
        };
        assert_eq!(replace.to_string(), "replace after layer 0 at 1-2");
        let mut policy = Intervened::new(Off, vec![replace], 3).unwrap();
        let (patched, _) = outcome(&device, &prompt(), &mut policy).unwrap();
        let (plain, _) = outcome(&device, &prompt(), &mut Off).unwrap();
        assert_eq!(patched, [plain[0], plain[0], plain[1]], "{backend}");
    }
}

#[test]
fn mistakes_are_named() {
    let device = Device::flex();
    let all = TokenSelection::all;
    let too_high = vec![ablate(3, Ablated::Sublayer(Sublayer::Mlp), all())];
    let error = Intervened::new(Off, too_high, 3).err().unwrap().to_string();
    assert_eq!(error, "ablate 3m: the model's layers count from 0 to 2");

    let wide = Intervention::Add {
        at: StateAt::Layer(1),
        vector: Tensor::from_floats([1.0, 2.0], &device),
        tokens: all(),
    };
    let mut policy = Intervened::new(Off, vec![wide], 3).unwrap();
    let error = outcome(&device, &prompt(), &mut policy).err().unwrap();
    let source = std::error::Error::source(&error).unwrap().to_string();
    let expected = "add after layer 1: what is put in has 2 values a token, the states have 1";
    assert_eq!(source, expected);
}

#[test]
fn an_intervention_promises_nothing() {
    let gate = GateConfig::new(0.8);
    let policy = |interventions| Intervened::new(Trace::new(gate), interventions, 3).unwrap();
    assert_eq!(policy(Vec::new()).effect(), PolicyEffect::FullModel);
    let ablated = policy(vec![ablate(0, Ablated::Layer, TokenSelection::all())]);
    assert_eq!(ablated.effect(), PolicyEffect::ChangedStates);
    assert!(ablated.is_per_token());
    assert_eq!(ablated.name(), "trace");
}

/// Replaces a state by one of another shape.
struct OtherShape(StateAt);

impl LayerPolicy for OtherShape {
    fn name(&self) -> &str {
        "other-shape"
    }

    fn change_state(
        &mut self,
        at: StateAt,
        state: &Tensor<3>,
    ) -> Result<Option<Tensor<3>>, BoxError> {
        Ok((at == self.0).then(|| state.clone().narrow(1, 0, 1)))
    }
}

#[test]
fn a_changed_state_of_another_shape_is_an_error_at_its_layer() {
    let device = Device::flex();
    for (at, expected) in [(StateAt::Embedding, 0), (StateAt::Layer(2), 2)] {
        let error = outcome(&device, &prompt(), &mut OtherShape(at))
            .err()
            .unwrap();
        assert!(
            matches!(error, Error::Policy { layer_idx, .. } if layer_idx == expected),
            "{error}"
        );
    }
}
