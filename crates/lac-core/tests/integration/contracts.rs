//! What a model, a pass and a policy owe each other: a breach is an error, never another number.

use burn::tensor::{Device, Int, Tensor};
use lac_core::{
    Bypass, Decision, Error, GateConfig, Halt, LastActive, LayerPolicy, LayerStack, LayerStep,
    NextState, Off, Pass, PassOutput, Planned, PolicyEffect, SkippedKeys, Trace,
    plan::{PhasePlan, SplitLayers},
    routing::LayerRouting,
    run_layers,
    stack::{Sublayer, Sublayers},
};

/// A model with a cache, whose author has forgotten `skip_layer`. Each layer adds to a token what the cached ones say
/// of it, times a factor.
struct Forgetful;

const FACTORS: [f32; 4] = [1.0, 3.0, 0.01, 1.0];

/// Per layer, the states that it has been given.
type Cache = Vec<Vec<Tensor<3>>>;

impl LayerStack for Forgetful {
    type Context = Cache;

    fn n_layers(&self) -> usize {
        FACTORS.len()
    }

    fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, cache: &mut Cache) -> Tensor<3> {
        cache[layer_idx].push(hidden.clone());
        let sum = cache[layer_idx]
            .iter()
            .cloned()
            .reduce(|sum, state| sum + state);
        sum.map_or(hidden.clone(), |sum| hidden + sum * FACTORS[layer_idx])
    }
}

fn ones(dims: [usize; 3]) -> Tensor<3> {
    Tensor::ones(dims, &Device::flex())
}

fn forgetful(policy: &mut dyn LayerPolicy) -> Result<PassOutput, Error> {
    let mut cache = vec![Vec::new(); FACTORS.len()];
    run_layers(
        &Forgetful,
        ones([1, 1, 2]),
        &mut cache,
        &Pass::states(1, 1),
        policy,
    )
}

#[test]
fn a_cache_without_skip_layer_is_refused_where_a_layer_is_skipped() {
    let plan = PhasePlan::keeping(&[true, false, true, true]);
    let mut planned = Planned::from_phases(plan.clone(), plan, SkippedKeys::Fill);
    let error = forgetful(&mut planned).unwrap_err();
    assert!(
        matches!(error, Error::SkipNotOffered { layer_idx: 1 }),
        "{error}"
    );
    let message = error.to_string();
    assert!(
        message.contains("layer 1") && message.contains("LayerStack::skip_layer"),
        "{message}"
    );

    // Norms go 1 → 2 → 8 → 8.08: the third layer moves them by less than 0.8 × (6 − 1), which halts the row.
    let error = forgetful(&mut Halt::new(GateConfig::new(0.8))).unwrap_err();
    assert!(
        matches!(error, Error::SkipNotOffered { layer_idx: 3 }),
        "{error}"
    );

    // Policies that run every layer do not ask.
    forgetful(&mut Trace::new(GateConfig::new(0.8))).unwrap();
    forgetful(&mut Off).unwrap();
}

/// Layers that return a state of the given shape.
struct Returns([usize; 3]);

impl LayerStack for Returns {
    type Context = ();

    fn n_layers(&self) -> usize {
        2
    }

    fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        if layer_idx == 0 { hidden } else { ones(self.0) }
    }
}

#[test]
fn a_pass_of_other_sizes_than_its_tensor_is_refused() {
    let stack = Returns([2, 3, 4]);
    for (batch, seq) in [(1, 6), (3, 2), (2, 2), (2, 4), (1, 3)] {
        let pass = Pass::states(batch, seq);
        let policy = &mut Trace::new(GateConfig::new(0.8));
        let error = run_layers(&stack, ones([2, 3, 4]), &mut (), &pass, policy).unwrap_err();
        assert!(
            matches!(error, Error::PassShape { expected, found: [2, 3, 4] } if expected == [batch, seq]),
            "{error}"
        );
    }
}

#[test]
fn readings_are_refused_by_another_pass_than_their_own() {
    let policy = &mut Trace::new(GateConfig::new(0.8));
    let out = run_layers(
        &Returns([2, 3, 4]),
        ones([2, 3, 4]),
        &mut (),
        &Pass::states(2, 3),
        policy,
    );
    let error = out.unwrap().readings.read(&Pass::states(3, 2)).unwrap_err();
    assert!(
        matches!(
            error,
            Error::PassShape {
                expected: [3, 2],
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_layer_that_returns_another_shape_is_named() {
    for returned in [[1, 3, 4], [2, 2, 4], [2, 3, 5]] {
        let policy = &mut Off;
        let pass = Pass::states(2, 3);
        let error =
            run_layers(&Returns(returned), ones([2, 3, 4]), &mut (), &pass, policy).unwrap_err();
        assert!(
            matches!(error, Error::LayerShape { layer_idx: 1, received: [2, 3, 4], returned: found } if found == returned),
            "{error}"
        );
    }
}

/// Replaces the first layer's output by a state of another shape.
struct Replaces;

impl LayerPolicy for Replaces {
    fn name(&self) -> &str {
        "trace"
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, lac_core::BoxError> {
        Ok(NextState::State(step.output.clone().narrow(1, 0, 1)))
    }
}

#[test]
fn a_policy_that_carries_another_shape_is_named_with_its_layer() {
    let pass = Pass::states(2, 3);
    let error = run_layers(
        &Returns([2, 3, 4]),
        ones([2, 3, 4]),
        &mut (),
        &pass,
        &mut Replaces,
    )
    .unwrap_err();
    assert!(
        matches!(error, Error::Policy { layer_idx: 0, .. }),
        "{error}"
    );
}

#[test]
fn a_policy_promises_nothing_that_it_does_not_say() {
    // A name is only a name.
    assert_eq!(Replaces.effect(), PolicyEffect::ChangedStates);
    assert!(!Replaces.is_per_token());

    let gate = GateConfig::new(0.8);
    assert_eq!(Off.effect(), PolicyEffect::FullModel);
    assert_eq!(Trace::new(gate).effect(), PolicyEffect::FullModel);
    assert_eq!(LastActive::new(gate).effect(), PolicyEffect::FullStates);
    assert_eq!(Bypass::new(gate).effect(), PolicyEffect::ChangedStates);
    assert_eq!(Halt::new(gate).effect(), PolicyEffect::ChangedStates);
    let plan = PhasePlan::new(vec![Decision::Skip]);
    let planned = Planned::from_phases(plan.clone(), plan, SkippedKeys::Fill);
    assert_eq!(planned.effect(), PolicyEffect::ChangedStates);

    // A row halts as a whole, and a range over the batch is not a token's own.
    assert!(!Halt::new(gate).is_per_token());
    let over_batch = gate.with_first_threshold(lac_core::released_code::FirstThreshold::BatchRange);
    for (gate, expected) in [(gate, true), (over_batch, false)] {
        assert_eq!(Trace::new(gate).is_per_token(), expected);
        assert_eq!(LastActive::new(gate).is_per_token(), expected);
        assert_eq!(Bypass::new(gate).is_per_token(), expected);
        assert_eq!(planned.clone().with_gate(gate).is_per_token(), expected);
    }
    assert!(Off.is_per_token() && planned.is_per_token());
}

/// Layers with routers, which choose an expert by the layer's number; `width` is the sequence length that their choices are
/// for.
struct Routed {
    n_layers: usize,
    width: usize,
}

impl LayerStack for Routed {
    type Context = Vec<LayerRouting>;

    fn n_layers(&self) -> usize {
        self.n_layers
    }

    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        routing: &mut Vec<LayerRouting>,
    ) -> Tensor<3> {
        self.forward_sublayer(layer_idx, Sublayer::Mlp, hidden, routing)
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = Vec<LayerRouting>>> {
        Some(self)
    }

    fn take_routing(&self, routing: &mut Vec<LayerRouting>) -> Vec<LayerRouting> {
        std::mem::take(routing)
    }
}

impl Sublayers for Routed {
    type Context = Vec<LayerRouting>;

    fn forward_sublayer(
        &self,
        layer_idx: usize,
        sublayer: Sublayer,
        hidden: Tensor<3>,
        routing: &mut Vec<LayerRouting>,
    ) -> Tensor<3> {
        // Every second layer is dense.
        if sublayer == Sublayer::Mlp && layer_idx.is_multiple_of(2) {
            let shape = [hidden.dims()[0], self.width, 2];
            let first = layer_idx as i32;
            let numbers = (0..2 * shape[0] * shape[1]).map(|idx| first + idx as i32);
            let numbers: Vec<i32> = numbers.collect();
            let numbers = Tensor::<1, Int>::from_data(&*numbers, &hidden.device());
            routing.push(LayerRouting {
                layer_idx,
                n_experts: 64,
                weights: numbers.clone().float().reshape(shape) / 64.0,
                experts: numbers.reshape(shape),
            });
        }
        hidden
    }

    fn omit_kv(&self, _layer_idx: usize, _routing: &mut Vec<LayerRouting>) {}
}

#[test]
fn what_routers_chose_is_read_with_the_pass() {
    let model = Routed {
        n_layers: 3,
        width: 2,
    };
    let pass = Pass::states(2, 2);
    let mut context = Vec::new();
    for policy in [
        &mut Off as &mut dyn LayerPolicy,
        &mut Trace::new(GateConfig::new(0.8)),
    ] {
        let out = run_layers(&model, ones([2, 2, 4]), &mut context, &pass, policy).unwrap();
        let record = out.readings.read(&pass).unwrap();
        let [first, None, last] = &record.routing[..] else {
            panic!("{:?}", record.routing);
        };
        assert_eq!(first.as_ref().unwrap().experts, [0, 1, 2, 3, 4, 5, 6, 7]);
        let last = last.as_ref().unwrap();
        assert_eq!(last.of_token(3), (&[8, 9][..], &[0.125, 0.140625][..]));
        assert_eq!((last.n_experts, last.n_chosen), (64, 2));
    }
    // A layer whose MLP is skipped has chosen nothing.
    let plan = PhasePlan::new(vec![Decision::SkipMlp, Decision::Run, Decision::Run]);
    let mut planned = Planned::from_phases(plan.clone(), plan, SkippedKeys::Fill);
    let out = run_layers(&model, ones([2, 2, 4]), &mut context, &pass, &mut planned).unwrap();
    let record = out.readings.read(&pass).unwrap();
    assert!(record.routing[0].is_none() && record.routing[2].is_some());
    // Sublayers that count as layers: experts are those of the MLPs.
    let split = SplitLayers::new(&model).unwrap();
    let out = run_layers(&split, ones([2, 2, 4]), &mut context, &pass, &mut Off).unwrap();
    let record = out.readings.read(&pass).unwrap();
    let is_sparse: Vec<bool> = record.routing.iter().map(Option::is_some).collect();
    assert_eq!(is_sparse, [false, true, false, false, false, true]);
}

#[test]
fn a_routing_of_another_pass_is_refused() {
    let model = Routed {
        n_layers: 1,
        width: 3,
    };
    let pass = Pass::states(1, 2);
    let out = run_layers(&model, ones([1, 2, 4]), &mut Vec::new(), &pass, &mut Off).unwrap();
    let error = out.readings.read(&pass).unwrap_err();
    assert!(
        matches!(
            error,
            Error::RoutingShape {
                layer_idx: 0,
                found: [1, 3, 2],
                ..
            }
        ),
        "{error}"
    );
}
