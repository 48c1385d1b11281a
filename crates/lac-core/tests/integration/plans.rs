//! Plans: learned, kept, checked, followed.

use burn::tensor::{Device, Tensor};
use lac_core::{
    Decision, Error, GateConfig, LayerPolicy, LayerStack, Observer, Pass, PassRecord, Phase,
    Planned, SkippedKeys, Trace, Usage,
    plan::{
        Granularity, Keep, ModelFingerprint, PhasePlan, PlanError, PlanLearner, Provenance,
        Ranking, Selection, SplitLayers, VoidPlan,
    },
    run_layers,
    stack::{Sublayer, Sublayers},
};
use proptest::prelude::*;

/// Layers of two parts, each of which adds a number; notes what was called.
struct Halves(Vec<[f32; 2]>);

/// The same without parts.
struct Whole(Vec<f32>);

impl LayerStack for Halves {
    type Context = Vec<String>;

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, idx: usize, hidden: Tensor<3>, calls: &mut Vec<String>) -> Tensor<3> {
        let hidden = self.forward_sublayer(idx, Sublayer::Attention, hidden, calls);
        self.forward_sublayer(idx, Sublayer::Mlp, hidden, calls)
    }

    fn skip_layer(
        &self,
        idx: usize,
        _hidden: &Tensor<3>,
        calls: &mut Vec<String>,
    ) -> lac_core::Result<()> {
        calls.push(format!("fill {idx}"));
        Ok(())
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = Vec<String>>> {
        Some(self)
    }
}

impl Sublayers for Halves {
    type Context = Vec<String>;

    fn forward_sublayer(
        &self,
        idx: usize,
        part: Sublayer,
        hidden: Tensor<3>,
        calls: &mut Vec<String>,
    ) -> Tensor<3> {
        calls.push(format!("{part:?} {idx}").to_lowercase());
        let added = match part {
            Sublayer::Attention => self.0[idx][0],
            Sublayer::Mlp => self.0[idx][1],
        };
        hidden + added
    }

    fn omit_kv(&self, idx: usize, calls: &mut Vec<String>) {
        calls.push(format!("omit {idx}"));
    }
}

impl LayerStack for Whole {
    type Context = ();

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, idx: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        hidden + self.0[idx]
    }

    fn skip_layer(&self, _: usize, _: &Tensor<3>, _: &mut ()) -> lac_core::Result<()> {
        Ok(())
    }
}

/// Runs a state of one axis, whose norm is its value, through a stack.
fn outcome<S: LayerStack>(
    stack: &S,
    context: &mut S::Context,
    pass: &Pass,
    policy: &mut dyn LayerPolicy,
) -> Result<(f32, PassRecord), Error> {
    let embedding = Tensor::<3>::from_floats([[[1.0]]], &Device::flex());
    let out = run_layers(stack, embedding, context, pass, policy)?;
    let hidden = out.hidden.into_scalar::<f32>();
    Ok((hidden, out.readings.read(pass)?))
}

const HALVES: [[f32; 2]; 3] = [[1.0, 2.0], [0.5, 0.25], [4.0, 8.0]];

fn parts_plan() -> PhasePlan {
    PhasePlan::new(vec![
        Decision::SkipMlp,
        Decision::Skip,
        Decision::SkipAttention,
    ])
}

#[test]
fn planned_runs_what_the_plan_of_the_phase_keeps() {
    let stack = Halves(HALVES.to_vec());
    for (keys, called) in [(SkippedKeys::Fill, "fill"), (SkippedKeys::Omit, "omit")] {
        let mut policy = Planned::from_phases(PhasePlan::full(3), parts_plan(), keys);
        let mut calls = Vec::new();
        let prompt = Pass::prompt(&[[7]], 0).unwrap();
        let (hidden, record) = outcome(&stack, &mut calls, &prompt, &mut policy).unwrap();
        assert_eq!(hidden, 16.75);
        assert_eq!(record.n_executed(), 3);
        assert_eq!(record.gate, None);

        calls.clear();
        let response = Pass::response(1, vec![7]);
        let (hidden, record) = outcome(&stack, &mut calls, &response, &mut policy).unwrap();
        assert_eq!(hidden, 1.0 + 1.0 + 8.0);
        let expected = [
            "attention 0",
            &format!("{called} 1"),
            &format!("{called} 2"),
            "mlp 2",
        ];
        assert_eq!(calls, expected);
        assert_eq!(record.executed(), [true, false, true]);
        assert_eq!(record.decisions, parts_plan().decisions());
        // Halves count as such.
        let mut usage = Usage::default();
        usage.pass(&record).unwrap();
        assert_eq!(usage.response.executed_per_pass(), Some(1.0));
    }
}

/// The gate judges what was run of a layer, and reports a skipped one as passed by.
#[test]
fn a_planned_pass_can_be_gated() {
    let stack = Halves(HALVES.to_vec());
    let gate = GateConfig::new(0.8);
    let plan = parts_plan();
    let mut policy = Planned::from_phases(plan.clone(), plan, SkippedKeys::Fill).with_gate(gate);
    let pass = Pass::prompt(&[[7]], 0).unwrap();
    let (_, record) = outcome(&stack, &mut Vec::new(), &pass, &mut policy).unwrap();
    let gate = record.gate.unwrap();
    assert_eq!(gate.norms, [2.0, 2.0, 10.0]);
    assert_eq!(gate.deltas, [1.0, 0.0, 8.0]);
    assert_eq!(gate.active, [true, false, true]);
}

#[test]
fn parts_that_a_model_does_not_offer_are_an_error() {
    let stack = Whole(vec![1.0; 3]);
    let pass = Pass::prompt(&[[7]], 0).unwrap();
    let plans = [
        (parts_plan(), SkippedKeys::Fill, 0),
        (
            PhasePlan::keeping(&[true, true, false]),
            SkippedKeys::Omit,
            2,
        ),
    ];
    for (plan, keys, expected) in plans {
        let mut policy = Planned::from_phases(plan.clone(), plan, keys);
        let error = outcome(&stack, &mut (), &pass, &mut policy).unwrap_err();
        assert!(
            matches!(error, Error::SublayersNotOffered { layer_idx } if layer_idx == expected),
            "{error}"
        );
    }
    assert!(SplitLayers::new(&stack).is_err());
    // A plan for fewer layers than there are.
    let short = PhasePlan::full(2);
    let mut policy = Planned::from_phases(short.clone(), short, SkippedKeys::Fill);
    let error = outcome(&stack, &mut (), &pass, &mut policy).unwrap_err();
    assert!(
        matches!(error, Error::Policy { layer_idx: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_learner_sees_usage_and_deltas_per_phase_and_part() {
    let stack = Halves(HALVES.to_vec());
    let mut learner = PlanLearner::default();
    let mut policy = Trace::new(GateConfig::new(0.8));
    let pass = Pass::prompt(&[[7]], 0).unwrap();
    let split = SplitLayers::new(&stack).unwrap();
    assert_eq!(split.n_layers(), 6);
    let (_, record) = outcome(&split, &mut Vec::new(), &pass, &mut policy).unwrap();
    learner.pass(&record).unwrap();

    let evidence = learner.evidence(Phase::Prompt);
    assert_eq!(evidence.n_tokens, 1);
    assert_eq!(evidence.mean_delta, [1.0, 2.0, 0.5, 0.25, 4.0, 8.0]);
    // Thresholds 0, 0, 0.8 × 1, 0.8 × 1.5, 0.8 × 1.75, 0.8 × 3.75.
    assert_eq!(evidence.usage, [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]);
    let choose =
        |phase, by, keep| learner.choose(phase, Selection { by, keep }, Granularity::Sublayers);
    assert_eq!(
        choose(Phase::Prompt, Ranking::Usage, Keep::AtLeast(0.5)).unwrap(),
        PhasePlan::keeping(&[true, false, true])
    );
    // A budget counts layers: one of them is two parts.
    assert_eq!(
        choose(Phase::Prompt, Ranking::MeanDelta, Keep::Layers(1)).unwrap(),
        PhasePlan::keeping_sublayers(&[false, false, false, false, true, true])
    );
    let error = choose(Phase::Response, Ranking::Usage, Keep::Layers(1)).unwrap_err();
    assert_eq!(error, PlanError::NoEvidence { phase: "response" });
}

fn fingerprint() -> ModelFingerprint {
    ModelFingerprint {
        architecture: "llama".to_owned(),
        n_layers: 3,
        hidden_size: 8,
        vocab_size: 16,
        weights: "sha256:ab".to_owned(),
        ..ModelFingerprint::default()
    }
}

fn plan(prompt: PhasePlan, response: PhasePlan) -> Result<VoidPlan, PlanError> {
    let provenance = Provenance {
        made_by: "a test".to_owned(),
        chosen_by: "chance".to_owned(),
        traced_under: "trace".to_owned(),
        alpha: 0.8,
        n_prompts: 2,
        prompt: PlanLearner::default().evidence(Phase::Prompt),
        response: PlanLearner::default().evidence(Phase::Response),
    };
    VoidPlan::new(
        fingerprint(),
        prompt,
        response,
        SkippedKeys::Omit,
        provenance,
    )
}

#[test]
fn a_plan_is_refused_on_another_model_with_the_difference_named() {
    let plan = plan(PhasePlan::full(3), parts_plan()).unwrap();
    assert!(Planned::new(&plan, &fingerprint()).is_ok());
    type Change = fn(&mut ModelFingerprint);
    let changes: [(&str, Change); 5] = [
        ("architecture", |model| {
            model.architecture = "qwen2".to_owned()
        }),
        ("number of layers", |model| model.n_layers = 4),
        ("hidden size", |model| model.hidden_size = 9),
        ("vocabulary size", |model| model.vocab_size = 17),
        ("weights", |model| model.weights = "sha256:cd".to_owned()),
    ];
    for (field, change) in changes {
        let mut other = fingerprint();
        change(&mut other);
        let error = Planned::new(&plan, &other).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn a_plan_is_refused_where_texts_would_have_another_form() {
    let whole = ModelFingerprint {
        config: Some("blake3:1".to_owned()),
        tokenizer: Some("blake3:2".to_owned()),
        chat_template: Some("blake3:3".to_owned()),
        stop_tokens: vec![4, 5],
        ..fingerprint()
    };
    let mut plan = plan(PhasePlan::full(3), parts_plan()).unwrap();
    plan.model = whole.clone();
    type Change = fn(&mut ModelFingerprint);
    let changes: [(&str, Change); 3] = [
        ("configuration", |model| model.config = None),
        ("tokenizer", |model| model.tokenizer = None),
        ("chat template", |model| {
            model.chat_template = Some("blake3:4".to_owned())
        }),
    ];
    for (field, change) in changes {
        let mut other = whole.clone();
        change(&mut other);
        let error = plan.check(&other).unwrap_err();
        assert!(matches!(&error, PlanError::OtherModel { field: found, .. } if *found == field));
    }
    // Where a text ends decides no layer.
    let other = ModelFingerprint {
        stop_tokens: vec![4],
        ..whole.clone()
    };
    assert_eq!(plan.check(&other), Ok(()));
    assert_eq!(
        whole.differences(&other)[0].to_string(),
        "its stop tokens are 4, 5, this model's are 4"
    );
    // A plan of an earlier version says how to go on.
    plan.model.weights = "sha256-sample:ab".to_owned();
    assert_eq!(plan.check(&whole), Err(PlanError::SampledWeights));
}

#[test]
fn files_that_make_no_sense_are_refused() {
    let good = serde_json::to_value(plan(PhasePlan::full(3), parts_plan()).unwrap()).unwrap();
    let skip_twice = serde_json::json!({"n_layers": 3, "skip": [1], "skip_mlp": [1]});
    for (field, value, message) in [
        ("format", serde_json::json!(2), "format 2"),
        (
            "prompt",
            serde_json::json!({"n_layers": 4}),
            "4 layers, the model has 3",
        ),
        (
            "prompt",
            serde_json::json!({"n_layers": 3, "skip": [3]}),
            "expected one of 0 to 2",
        ),
        ("response", skip_twice, "layer 1 is named twice"),
        (
            "response",
            serde_json::json!({"n_layers": 3, "skp": []}),
            "unknown field `skp`",
        ),
        (
            "response",
            serde_json::json!({"n_layers": 1u64 << 40}),
            "at most 65536",
        ),
        (
            "skipped_keys",
            serde_json::json!("forget"),
            "unknown variant",
        ),
        ("surplus", serde_json::json!(1), "unknown field `surplus`"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let error = serde_json::from_value::<VoidPlan>(bad).unwrap_err();
        assert!(error.to_string().contains(message), "{field}: {error}");
    }
}

fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        Just(Decision::Run),
        Just(Decision::Skip),
        Just(Decision::SkipAttention),
        Just(Decision::SkipMlp),
    ]
}

proptest! {
    #[test]
    fn plans_come_back_from_json_as_they_were(
        prompt in prop::collection::vec(decision(), 3),
        response in prop::collection::vec(decision(), 3),
    ) {
        let plan = plan(PhasePlan::new(prompt), PhasePlan::new(response)).unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<VoidPlan>(&text).unwrap(), plan);
    }

    /// A plan's file says of every layer what is run: nothing is lost, nothing is counted twice.
    #[test]
    fn executed_layers_are_those_that_no_list_names(
        decisions in prop::collection::vec(decision(), 0..40),
    ) {
        let plan = PhasePlan::new(decisions);
        let json = serde_json::to_value(&plan).unwrap();
        let n_named = |list: &str| json[list].as_array().map_or(0, Vec::len) as f64;
        let skipped = n_named("skip") + 0.5 * (n_named("skip_attention") + n_named("skip_mlp"));
        prop_assert_eq!(plan.executed_layers(), plan.n_layers() as f64 - skipped);
    }

    /// More of the budget never loses a layer, and a budget is kept to.
    #[test]
    fn budgets_nest(usage in prop::collection::vec(0.0f64..1.0, 1..20)) {
        let n_layers = usage.len();
        let mut kept_before: Vec<bool> = vec![false; n_layers];
        let mut learner = PlanLearner::default();
        for threshold in [0.25, 0.5, 0.75] {
            let record = record_of(&usage, threshold);
            learner.pass(&record).unwrap();
        }
        for n_kept in 0..=n_layers {
            let selection = Selection { by: Ranking::Usage, keep: Keep::Layers(n_kept) };
            let plan = learner.choose(Phase::Response, selection, Granularity::Layers).unwrap();
            let kept: Vec<bool> =
                plan.decisions().iter().map(|&layer| layer == Decision::Run).collect();
            prop_assert_eq!(kept.iter().filter(|&&kept| kept).count(), n_kept);
            prop_assert!(kept_before.iter().zip(&kept).all(|(before, now)| !before || *now));
            kept_before = kept;
        }
    }
}

/// A token for which the layers above a threshold were active.
fn record_of(usage: &[f64], threshold: f64) -> PassRecord {
    let n_layers = usage.len();
    PassRecord {
        pass: Pass::response(1, vec![1]),
        decisions: vec![Decision::Run; n_layers],
        gate: Some(lac_core::GateRecord {
            embedding_norms: vec![1.0],
            norms: vec![1.0; n_layers],
            deltas: usage.iter().map(|&usage| usage as f32).collect(),
            thresholds: vec![0.0; n_layers],
            active: usage.iter().map(|&usage| usage > threshold).collect(),
        }),
        routing: Vec::new(),
        measures: None,
        lens: None,
    }
}
