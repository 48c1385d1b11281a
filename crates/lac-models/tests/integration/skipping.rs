//! Layers that are not run: plans on real decoders, keys and values left out, speculation.

use burn::tensor::{Device, Tensor};
use lac_core::{
    CausalLm, Decision, Error, GateConfig, GenerateArgs, GenerationConfig, LayerPolicy, Off, Pass,
    Planned, SkippedKeys, Trace, generate,
    generation::{PromptLogits, forward_hidden, prompt_pass},
    plan::{PhasePlan, PlanLearner, Provenance, SplitLayers, VoidPlan},
    speculation::{
        DraftLength, PlanUpdates, SpeculateArgs, SpeculationConfig, SpeculationStats, Speculator,
        Ties, generate_speculative, verify_speculation,
    },
};
use lac_models::{Decoder, decoder::DecoderContext};

use crate::demo::Demo;
use crate::devices::devices;
use crate::expected::expected;
use crate::parity::load;

fn keeping(kept: &[u8]) -> PhasePlan {
    PhasePlan::keeping(&kept.iter().map(|&kept| kept == 1).collect::<Vec<_>>())
}

/// One pass: the state for the final norm, `[1, seq, hidden]`.
fn step(
    model: &Decoder,
    context: &mut DecoderContext,
    pass: &Pass,
    policy: &mut dyn LayerPolicy,
) -> Tensor<3> {
    forward_hidden(model, pass, context, policy).unwrap().hidden
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

#[test]
fn a_plan_that_keeps_every_layer_gives_the_same_bits() {
    for (backend, device) in devices() {
        let model = load("qwen2", &device);
        let prompt = expected("qwen2").prompts.remove(0).prompt_ids;
        let full = PhasePlan::full(model.config().n_layers);
        let mut plans: Vec<Box<dyn LayerPolicy>> = vec![Box::new(Off)];
        for keys in [SkippedKeys::Fill, SkippedKeys::Omit] {
            plans.push(Box::new(Planned::from_phases(
                full.clone(),
                full.clone(),
                keys,
            )));
        }
        let config = GenerationConfig::greedy(5);
        let mut outputs = plans.iter_mut().map(|policy| {
            let hooks = GenerateArgs::new(policy.as_mut()).prompt_logits(PromptLogits::Return);
            let output = generate(&model, std::slice::from_ref(&prompt), &config, hooks).unwrap();
            (output.prompt_logits.unwrap(), output.rows)
        });
        let off = outputs.next().unwrap();
        assert!(outputs.all(|planned| planned == off), "{backend}");
    }
}

/// Attention and MLP in turn are the layer.
#[test]
fn two_parts_make_a_layer() {
    let model = load("mistral-window", &Device::flex());
    let prompts: Vec<Vec<u32>> = expected("mistral-window")
        .prompts
        .into_iter()
        .map(|prompt| prompt.prompt_ids)
        .collect();
    let (whole, _) = prompt_pass(&model, &prompts, 0, &mut Off).unwrap();
    let split = SplitLayers::new(&model).unwrap();
    let mut policy = Trace::new(GateConfig::new(0.8));
    let (parts, record) = prompt_pass(&split, &prompts, 0, &mut policy).unwrap();
    assert_eq!(values(whole), values(parts));
    assert_eq!(record.n_layers(), 2 * model.config().n_layers);
}

/// A layer that is skipped from the first token on may as well not be there, whatever becomes of
/// its keys and values.
#[test]
fn a_layer_that_never_runs_leaves_no_trace() {
    let model = load("llama", &Device::flex());
    let n_layers = model.config().n_layers;
    let mut kept = vec![1u8; n_layers];
    kept[1] = 0;
    let mut shorter = model.clone();
    shorter.model.layers.remove(1);
    let prompt = expected("llama").prompts.remove(0).prompt_ids;
    let config = GenerationConfig::greedy(8);
    let generated = |model: &Decoder, policy: &mut dyn LayerPolicy| {
        let prompts = std::slice::from_ref(&prompt);
        let hooks = GenerateArgs::new(policy).prompt_logits(PromptLogits::Return);
        let output = generate(model, prompts, &config, hooks).unwrap();
        (output.rows, output.prompt_logits)
    };
    let expected = generated(&shorter, &mut Off);
    for keys in [SkippedKeys::Fill, SkippedKeys::Omit] {
        let mut policy = Planned::from_phases(keeping(&kept), keeping(&kept), keys);
        assert_eq!(generated(&model, &mut policy), expected, "{keys:?}");
    }
}

/// Keys and values that were left out are not attended to: what a later token sees does not
/// depend on what stands in their place.
#[test]
fn left_out_keys_are_masked() {
    for name in ["llama", "mistral-window"] {
        let model = load(name, &Device::flex());
        let n_layers = model.config().n_layers;
        let prompt = expected(name).prompts.remove(0).prompt_ids;
        let mut kept = vec![1u8; n_layers];
        kept[0] = 0;
        let mut states = Vec::new();
        // The slots of another text, or none at all, stand in the cache where keys are left out.
        for first_text in [None, Some([9, 8, 7, 6, 5, 4, 3, 2])] {
            let mut context = model.new_context(1, 32);
            if let Some(ids) = first_text {
                step(
                    &model,
                    &mut context,
                    &Pass::prompt(&[ids], 0).unwrap(),
                    &mut Off,
                );
            }
            let full = PhasePlan::full(n_layers);
            let mut policy = Planned::from_phases(keeping(&kept), full, SkippedKeys::Omit);
            let pass = Pass::prompt(&[&prompt], 0).unwrap();
            step(&model, &mut context, &pass, &mut policy);
            // Two passes that run every layer: over one token, and over three.
            let one = Pass::response(prompt.len(), vec![11]);
            states.push(values(step(&model, &mut context, &one, &mut policy)));
            let three = Pass::response(prompt.len() + 1, vec![12, 13, 14]);
            states.push(values(step(&model, &mut context, &three, &mut policy)));
        }
        let (without, with) = states.split_at(2);
        assert_eq!(without, with, "{name}");

        // Filled in, they are attended to.
        let mut context = model.new_context(1, 32);
        let full = PhasePlan::full(n_layers);
        let mut policy = Planned::from_phases(keeping(&kept), full, SkippedKeys::Fill);
        let pass = Pass::prompt(&[&prompt], 0).unwrap();
        step(&model, &mut context, &pass, &mut policy);
        let one = Pass::response(prompt.len(), vec![11]);
        let filled = values(step(&model, &mut context, &one, &mut policy));
        assert!(largest_difference(&filled, &without[0]) > 1e-4, "{name}");
    }
}

/// Drafts and rejected tokens leave nothing behind: after a rollback, keys and values are those
/// of a run that never drafted.
#[test]
fn a_rollback_restores_keys_and_values() {
    for (backend, device) in devices() {
        let model = load("qwen2", &device);
        let n_layers = model.config().n_layers;
        let prompt = expected("qwen2").prompts.remove(0).prompt_ids;
        let past = prompt.len();
        let mut kept = vec![1u8; n_layers];
        kept[1] = 0;
        let plan = keeping(&kept);
        let mut drafter = Planned::from_phases(plan.clone(), plan, SkippedKeys::Omit);
        let prompt_pass = Pass::prompt(&[&prompt], 0).unwrap();
        let verifying = Pass::response(past, vec![5, 6, 7]);

        let mut drafted = model.new_context(1, 32);
        step(&model, &mut drafted, &prompt_pass, &mut Off);
        for (idx, id) in [5, 6].into_iter().enumerate() {
            let pass = Pass::response(past + idx, vec![id]);
            step(&model, &mut drafted, &pass, &mut drafter);
        }
        step(&model, &mut drafted, &verifying, &mut Off);
        let mut plain = model.new_context(1, 32);
        step(&model, &mut plain, &prompt_pass, &mut Off);
        step(&model, &mut plain, &verifying, &mut Off);
        // The first token stands, the others were rejected.
        let next = Pass::response(past + 1, vec![9]);
        let states = [&mut drafted, &mut plain]
            .map(|context| values(step(&model, context, &next, &mut Off)));
        assert_eq!(states[0], states[1], "{backend}");
        let same = |a: &DecoderContext, b: &DecoderContext, n_slots| {
            for layer_idx in 0..n_layers {
                let (keys, values_) = a.keys_and_values(layer_idx, n_slots).unwrap();
                let (other_keys, other_values) = b.keys_and_values(layer_idx, n_slots).unwrap();
                let difference = largest_difference(&values(keys), &values(other_keys));
                let difference =
                    difference.max(largest_difference(&values(values_), &values(other_values)));
                // Of the order of 1; products of several rows are summed in another order.
                assert!(
                    difference < 2e-6,
                    "{backend}, layer {layer_idx}: {difference}"
                );
            }
        };
        same(&drafted, &plain, past + 2);

        // One token at a time, as plain generation does, the very bits come back.
        let mut single = model.new_context(1, 32);
        step(&model, &mut single, &prompt_pass, &mut Off);
        for context in [&mut drafted, &mut single] {
            for (idx, id) in [5, 9].into_iter().enumerate() {
                step(
                    &model,
                    context,
                    &Pass::response(past + idx, vec![id]),
                    &mut Off,
                );
            }
        }
        for layer_idx in 0..n_layers {
            let slots = |context: &DecoderContext| {
                let (keys, values_) = context.keys_and_values(layer_idx, past + 2).unwrap();
                (values(keys), values(values_))
            };
            assert_eq!(
                slots(&drafted),
                slots(&single),
                "{backend}, layer {layer_idx}"
            );
        }
    }
}

/// Plans to draft with: few layers and many, parts, none at all.
fn plans(n_layers: usize) -> Vec<PhasePlan> {
    let mut without_two = vec![Decision::Run; n_layers];
    without_two[n_layers / 2] = Decision::Skip;
    without_two[n_layers / 3] = Decision::SkipMlp;
    without_two[n_layers - 2] = Decision::SkipAttention;
    let every_second = (0..n_layers).map(|idx| idx % 2 == 0).collect::<Vec<_>>();
    vec![
        PhasePlan::new(without_two),
        PhasePlan::keeping(&every_second),
        PhasePlan::keeping(&vec![false; n_layers]),
    ]
}

/// Greedy text with speculation is the full model's, on prompts of every kind.
#[test]
fn speculation_changes_no_token_of_the_trained_model() {
    for (backend, device) in devices() {
        let demo = Demo::load(&device);
        // A software GPU takes long for each new shape.
        let (n_prompts, n_plans, new_tokens) = match backend {
            "flex" => (12, 3, 24),
            _ => (2, 2, 8),
        };
        let prompts = demo.prompts(n_prompts);
        let config = GenerationConfig::greedy(new_tokens)
            .with_stop_tokens(demo.tokenizer.stop_ids().to_vec());
        let mut stats = SpeculationStats::default();
        for plan in plans(12).into_iter().take(n_plans) {
            let config_of = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(3));
            let mut speculator = Speculator::new(plan, config_of).unwrap();
            for (idx, prompt) in prompts.iter().enumerate() {
                let prompt = std::slice::from_ref(prompt);
                let seen = verify_speculation(&demo.model, prompt, &config, &mut speculator);
                let seen = seen.unwrap();
                assert_eq!(seen.divergence, None, "{backend}, prompt {idx}");
                assert_eq!(
                    seen.n_equal,
                    seen.plain.ids.len(),
                    "{backend}, prompt {idx}"
                );
                // What the default allows is far above what there is.
                let bound = if backend == "flex" { 0.0 } else { 128.0 };
                assert!(seen.largest_noise <= bound, "{}", seen.largest_noise);
                stats.merge(&seen.stats);
            }
        }
        assert!(stats.n_accepted > 0 && stats.n_rejections > 0, "{stats:?}");
    }
}

/// With an allowance so wide that every token is a near tie, every token is decided by passes of
/// one token: the machinery of ties gives the full model's text too.
#[test]
fn a_text_of_near_ties_is_the_full_models() {
    let demo = Demo::load(&Device::flex());
    let config = GenerationConfig::greedy(12);
    let config_of = SpeculationConfig::default()
        .with_draft_length(DraftLength::Fixed(3))
        .with_ties(Ties::Replay { factor: 1e9 })
        .with_gate(GateConfig::new(0.4))
        .with_plan_updates(PlanUpdates::Follow(
            lac_core::speculation::FollowConfig::default(),
        ));
    for prompt in demo.prompts(3) {
        // Attentions and MLPs as layers: such a model does not say that it computes tokens alone.
        let model = SplitLayers::new(&demo.model).unwrap();
        let plan = PhasePlan::full(24);
        let mut speculator = Speculator::new(plan, config_of.clone()).unwrap();
        let prompt = [prompt];
        let seen = verify_speculation(&model, &prompt, &config, &mut speculator).unwrap();
        assert_eq!(seen.divergence, None);
        assert_eq!(seen.stats.n_replay_passes + seen.stats.n_plain_passes, 11);
    }
}

#[test]
fn plans_belong_to_their_checkpoint() {
    let demo = Demo::load(&Device::flex());
    let fingerprint = demo.folder.fingerprint().unwrap();
    assert!(fingerprint.weights.starts_with("blake3:"));
    let mut learner = PlanLearner::default();
    let mut policy = Trace::new(GateConfig::new(0.4));
    let hooks = GenerateArgs::new(&mut policy).observer(&mut learner);
    let prompt = &demo.prompts(2)[1..];
    generate(&demo.model, prompt, &GenerationConfig::greedy(10), hooks).unwrap();
    let choose = |phase| {
        let selection = lac_core::plan::Selection {
            by: lac_core::plan::Ranking::Usage,
            keep: lac_core::plan::Keep::Layers(8),
        };
        learner
            .choose(phase, selection, lac_core::plan::Granularity::Layers)
            .unwrap()
    };
    let plan = VoidPlan::new(
        fingerprint.clone(),
        PhasePlan::full(12),
        choose(lac_core::Phase::Response),
        SkippedKeys::Fill,
        Provenance {
            made_by: "a test".to_owned(),
            chosen_by: "usage".to_owned(),
            traced_under: "trace".to_owned(),
            alpha: 0.4,
            n_prompts: learner.n_prompts(),
            prompt: learner.evidence(lac_core::Phase::Prompt),
            response: learner.evidence(lac_core::Phase::Response),
        },
    )
    .unwrap();
    assert!(Planned::new(&plan, &fingerprint).is_ok());
    let config = SpeculationConfig::default();
    let mut speculator = Speculator::from_plan(&plan, &fingerprint, config.clone()).unwrap();
    let greedy = GenerationConfig::greedy(3);
    let out = generate_speculative(
        &demo.model,
        prompt,
        &greedy,
        SpeculateArgs::new(&mut speculator),
    );
    assert_eq!(out.unwrap().generation.rows[0].ids.len(), 3);
    // The same shape with other weights.
    let other = demo.folder.dummy_fingerprint(1).unwrap();
    assert!(
        Planned::new(&plan, &other)
            .unwrap_err()
            .to_string()
            .contains("weights")
    );
    let error = Speculator::from_plan(&plan, &other, config).err().unwrap();
    assert!(matches!(error, Error::Plan(_)));
}
