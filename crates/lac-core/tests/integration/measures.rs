//! Measures beside the norm, against their definitions in f64.

use burn::tensor::{Device, Tensor};
use lac_core::{
    Bypass, Decision, GateConfig, LayerPolicy, LayerStack, Observed, Off, Pass, PassRecord,
    Planned, SkippedKeys, Trace,
    measures::{Measure, Measures, angular_distance, block_influence},
    plan::PhasePlan,
    run_layers,
    stack::{Sublayer, Sublayers},
};

use crate::devices::devices;

/// Layers of two axes: the attention adds a vector, the MLP another one.
struct Steps(Vec<[[f32; 2]; 2]>);

impl Steps {
    fn add(&self, idx: usize, sublayer: usize, hidden: Tensor<3>) -> Tensor<3> {
        let step = Tensor::<1>::from_floats(self.0[idx][sublayer], &hidden.device());
        hidden + step.unsqueeze_dims::<3>(&[0, 1])
    }
}

impl LayerStack for Steps {
    type Context = ();

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        let between = self.add(idx, 0, hidden);
        self.add(idx, 1, between)
    }

    fn skip_layer(&self, _: usize, _: &Tensor<3>, _: &mut ()) -> lac_core::Result<()> {
        Ok(())
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = ()>> {
        Some(self)
    }
}

impl Sublayers for Steps {
    type Context = ();

    fn forward_sublayer(
        &self,
        idx: usize,
        sublayer: Sublayer,
        hidden: Tensor<3>,
        _: &mut (),
    ) -> Tensor<3> {
        self.add(idx, usize::from(sublayer == Sublayer::Mlp), hidden)
    }

    fn omit_kv(&self, _: usize, _: &mut ()) {}
}

const STEPS: [[[f32; 2]; 2]; 3] = [
    [[1.0, 2.0], [-0.5, 0.25]],
    [[0.001, -0.002], [0.0, 0.001]],
    [[-3.0, 0.0], [0.0, -7.0]],
];

const TOKENS: [[f32; 2]; 2] = [[3.0, 4.0], [-1.0, 2.5]];

fn run(device: &Device, policy: &mut dyn LayerPolicy) -> PassRecord {
    let pass = Pass::states(1, 2);
    let embedding = Tensor::<3>::from_floats([TOKENS], device);
    let stack = Steps(STEPS.to_vec());
    let out = run_layers(&stack, embedding, &mut (), &pass, policy).unwrap();
    out.readings.read(&pass).unwrap()
}

/// All measures of a step from `input` over `between` to `output`, by their definitions.
fn defined(input: [f64; 2], between: [f64; 2], output: [f64; 2]) -> [f64; 7] {
    let dot = |a: [f64; 2], b: [f64; 2]| a[0] * b[0] + a[1] * b[1];
    let minus = |a: [f64; 2], b: [f64; 2]| [a[0] - b[0], a[1] - b[1]];
    let norm = |a| dot(a, a).sqrt();
    let cosine = |a, b| dot(a, b) / norm(a) / norm(b);
    let contribution = |a, b| norm(minus(b, a)) / norm(a);
    let step = minus(output, input);
    let share = match norm(step) {
        0.0 => 0.0,
        _ => dot(minus(between, input), step) / dot(step, step),
    };
    [
        cosine(input, output),
        contribution(input, output),
        cosine(input, between),
        contribution(input, between),
        cosine(between, output),
        contribution(between, output),
        share,
    ]
}

/// What each layer of each token should have under a plan, `[layer][token]`.
fn expected(decisions: &[Decision]) -> Vec<Vec<[f64; 7]>> {
    let mut states = TOKENS.map(|token| token.map(f64::from));
    let plus = |state: [f64; 2], step: [f32; 2]| {
        [state[0] + f64::from(step[0]), state[1] + f64::from(step[1])]
    };
    let mut layers = Vec::new();
    for (steps, decision) in STEPS.iter().zip(decisions) {
        let has_attention = matches!(decision, Decision::Run | Decision::SkipMlp);
        let has_mlp = matches!(decision, Decision::Run | Decision::SkipAttention);
        layers.push(
            states
                .iter_mut()
                .map(|state| {
                    let input = *state;
                    let between = if has_attention {
                        plus(input, steps[0])
                    } else {
                        input
                    };
                    *state = if has_mlp {
                        plus(between, steps[1])
                    } else {
                        between
                    };
                    defined(input, between, *state)
                })
                .collect(),
        );
    }
    layers
}

fn check(record: &PassRecord, measures: Measures, decisions: &[Decision]) {
    let seen = record.measures.as_ref().unwrap();
    assert_eq!(seen.measures(), measures);
    for (layer_idx, tokens) in expected(decisions).iter().enumerate() {
        for (token, all) in tokens.iter().enumerate() {
            for (measure, values) in seen.iter() {
                let value = f64::from(values[record.at(layer_idx, 0, token)]);
                let expected = all[measure as usize];
                // The middle layer's steps are a thousandth of a state with some 2⁻²³ of rounding.
                let tolerance = 2e-4 * expected.abs().max(1e-3);
                assert!(
                    (value - expected).abs() <= tolerance,
                    "{measure:?} of layer {layer_idx}, token {token}: {value}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn measures_are_what_they_are_defined_as() {
    let plans = [
        [Decision::Run; 3],
        [Decision::SkipMlp, Decision::SkipAttention, Decision::Skip],
    ];
    for (backend, device) in devices() {
        for decisions in plans {
            for measures in [Measures::Layers, Measures::Sublayers] {
                let plan = PhasePlan::new(decisions.to_vec());
                let planned = Planned::from_phases(plan.clone(), plan, SkippedKeys::Fill);
                let mut policy = Observed::new(planned).with_measures(measures);
                let record = run(&device, &mut policy);
                check(&record, measures, &decisions);
                assert_eq!(record.gate, None, "{backend}");
            }
        }
    }
}

#[test]
fn influence_and_angle_follow_from_a_cosine() {
    for (cosine, influence, angle) in [
        (1.0, 0.0, 0.0),
        (0.5, 0.5, 1.0 / 3.0),
        (0.0, 1.0, 0.5),
        (-1.0, 2.0, 1.0),
        // Rounding may leave a cosine outside of its range.
        (1.0 + f32::EPSILON, -f32::EPSILON, 0.0),
    ] {
        assert_eq!(block_influence(cosine), influence);
        assert!((angular_distance(cosine) - angle).abs() < 1e-6);
    }
    let record = run(
        &Device::flex(),
        &mut Observed::new(Off).with_measures(Measures::Layers),
    );
    assert_eq!(record.measures.unwrap().get(Measure::MlpCosine), None);
}

#[test]
fn a_state_of_zeros_has_no_direction() {
    let pass = Pass::states(1, 1);
    for (start, step) in [([0.0, 0.0], [1.0, 1.0]), ([1.0, 2.0], [-1.0, -2.0])] {
        let stack = Steps(vec![[step, [0.0, 0.0]]]);
        let embedding = Tensor::<3>::from_floats([[start]], &Device::flex());
        let mut policy = Observed::new(Off).with_measures(Measures::Sublayers);
        let out = run_layers(&stack, embedding, &mut (), &pass, &mut policy).unwrap();
        let seen = out.readings.read(&pass).unwrap().measures.unwrap();
        assert_eq!(seen.get(Measure::Cosine).unwrap(), [0.0]);
        assert!(seen.iter().all(|(_, values)| values[0].is_finite()));
    }
}

/// Measuring changes no flag and no state, in whichever way the gate decides.
#[test]
fn measuring_changes_nothing() {
    let gate = GateConfig::new(0.8);
    for (backend, device) in devices() {
        for measures in [Measures::Layers, Measures::Sublayers] {
            let policies: [Box<dyn LayerPolicy>; 2] =
                [Box::new(Trace::new(gate)), Box::new(Bypass::new(gate))];
            for mut policy in policies {
                let plain = run(&device, policy.as_mut());
                let mut observed = Observed::new(policy).with_measures(measures);
                let mut record = run(&device, &mut observed);
                assert!(record.measures.take().is_some());
                assert_eq!(record, plain, "{backend}");
            }
        }
    }
}
