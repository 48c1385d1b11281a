//! Interventions on real decoders, against models without the layer and against passes written by hand.

use burn::tensor::{Device, Tensor};
use lac_core::{
    CausalLm, GateConfig, GenerateArgs, GenerationConfig, LayerPolicy, LayerStack, Off, Pass,
    Phase, Planned, SkippedKeys, Trace,
    error::StateAt,
    generate,
    generation::{PromptLogits, prompt_pass},
    intervention::{Ablated, Captured, Intervened, Intervention, TokenSelection},
    plan::PhasePlan,
    stack::{Sublayer, Sublayers},
};
use lac_models::{Decoder, decoder::DecoderContext};

use crate::devices::devices;
use crate::expected::expected;
use crate::parity::load;

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as::<f32>().unwrap()
}

/// The longest of a fixture's prompts.
fn prompt_of(name: &str) -> Vec<u32> {
    let prompts = expected(name).prompts.into_iter();
    let longest = prompts.max_by_key(|prompt| prompt.prompt_ids.len());
    longest.unwrap().prompt_ids
}

fn ablate(layer_idx: usize, what: Ablated, tokens: TokenSelection) -> Intervention {
    Intervention::Ablate {
        layer_idx,
        what,
        tokens,
    }
}

/// Starts a pass over a prompt by hand.
fn begin(model: &Decoder, prompt: &[u32]) -> (DecoderContext, Tensor<3>) {
    let pass = Pass::prompt(&[prompt.to_vec()], 0).unwrap();
    let mut context = model.new_context(1, prompt.len());
    model.begin_pass(&pass, &mut context);
    let embedding = model.embed(pass.token_tensor(&model.device()), &context);
    (context, embedding)
}

/// The state for the final norm under a policy.
fn passed(model: &Decoder, prompt: &[u32], policy: &mut dyn LayerPolicy) -> Vec<f32> {
    let prompts = [prompt.to_vec()];
    values(prompt_pass(model, &prompts, 0, policy).unwrap().0)
}

#[test]
fn an_ablated_layer_is_as_good_as_removed() {
    for (backend, device) in devices() {
        for name in ["llama", "mistral-window"] {
            let model = load(name, &device);
            let prompt = prompt_of(name);
            let mut shorter = model.clone();
            shorter.model.layers.remove(1);
            let config = GenerationConfig::greedy(6);
            let generated = |model: &Decoder, policy: &mut dyn LayerPolicy| {
                let args = GenerateArgs::new(policy).prompt_logits(PromptLogits::Return);
                let prompts = std::slice::from_ref(&prompt);
                let output = generate(model, prompts, &config, args).unwrap();
                (output.rows, output.prompt_logits)
            };
            let layer = || ablate(1, Ablated::Layer, TokenSelection::all());
            let n_layers = model.n_layers();
            let mut policy = Intervened::new(Off, vec![layer()], n_layers).unwrap();
            let expected = generated(&shorter, &mut Off);
            assert_eq!(generated(&model, &mut policy), expected, "{backend} {name}");
            // Both sublayers are the layer.
            let sublayers = [Sublayer::Attention, Sublayer::Mlp]
                .map(|sublayer| ablate(1, Ablated::Sublayer(sublayer), TokenSelection::all()));
            let trace = Trace::new(GateConfig::new(0.8));
            let mut policy = Intervened::new(trace, sublayers.to_vec(), n_layers).unwrap();
            assert_eq!(generated(&model, &mut policy), expected, "{backend} {name}");
        }
    }
}

/// For a phase, an ablation is what a plan for that phase is.
#[test]
fn an_ablation_in_one_phase_is_a_plan() {
    let model = load("qwen2", &Device::flex());
    let prompt = prompt_of("qwen2");
    let n_layers = model.n_layers();
    let mut kept = vec![true; n_layers];
    kept[n_layers - 2] = false;
    let (full, without) = (PhasePlan::full(n_layers), PhasePlan::keeping(&kept));
    let config = GenerationConfig::greedy(6);
    let generated = |policy: &mut dyn LayerPolicy| {
        let args = GenerateArgs::new(policy).prompt_logits(PromptLogits::Return);
        let output = generate(&model, std::slice::from_ref(&prompt), &config, args).unwrap();
        (output.rows, output.prompt_logits)
    };
    for (phase, plans) in [
        (Phase::Prompt, (without.clone(), full.clone())),
        (Phase::Response, (full, without)),
    ] {
        let layer = ablate(n_layers - 2, Ablated::Layer, TokenSelection::phase(phase));
        let mut ablated = Intervened::new(Off, vec![layer], n_layers).unwrap();
        let mut planned = Planned::from_phases(plans.0, plans.1, SkippedKeys::Fill);
        assert_eq!(
            generated(&mut ablated),
            generated(&mut planned),
            "{phase:?}"
        );
    }
}

/// For some tokens, an ablated sublayer or layer is a pass whose states are put together by hand.
#[test]
fn an_ablation_at_positions_is_a_pass_by_hand() {
    let model = load("llama", &Device::flex());
    let prompt = prompt_of("llama");
    let (n_layers, n_tokens) = (model.n_layers(), prompt.len());
    // Tokens from 1 to 2 keep the state that they bring.
    let keep = |before: Tensor<3>, after: Tensor<3>| {
        let part = |state: &Tensor<3>, start, len| state.clone().narrow(1, start, len);
        let (first, last) = (part(&after, 0, 1), part(&after, 3, n_tokens - 3));
        Tensor::cat(vec![first, part(&before, 1, 2), last], 1)
    };
    for what in [
        Ablated::Layer,
        Ablated::Sublayer(Sublayer::Attention),
        Ablated::Sublayer(Sublayer::Mlp),
    ] {
        let (mut context, mut state) = begin(&model, &prompt);
        for layer_idx in 0..n_layers {
            let input = state.clone();
            let attention = Sublayer::Attention;
            let mut between = model.forward_sublayer(layer_idx, attention, state, &mut context);
            if layer_idx == 1 && what == Ablated::Sublayer(attention) {
                between = keep(input.clone(), between);
            }
            let mut output =
                model.forward_sublayer(layer_idx, Sublayer::Mlp, between.clone(), &mut context);
            if layer_idx == 1 && what == Ablated::Sublayer(Sublayer::Mlp) {
                output = keep(between, output);
            }
            if layer_idx == 1 && what == Ablated::Layer {
                output = keep(input, output);
            }
            state = output;
        }
        let tokens = TokenSelection::positions(1..3);
        let mut policy = Intervened::new(Off, vec![ablate(1, what, tokens)], n_layers).unwrap();
        let found = passed(&model, &prompt, &mut policy);
        assert_eq!(found, values(state), "{what:?}");
        assert_ne!(found, passed(&model, &prompt, &mut Off));
    }
}

/// A state of another run, and a vector, put in by hand.
#[test]
fn a_patched_state_is_a_pass_by_hand() {
    for (backend, device) in devices() {
        let model = load("llama", &device);
        let prompt = prompt_of("llama");
        let other: Vec<u32> = prompt.iter().map(|id| (id + 3) % 50).collect();
        let (n_layers, n_tokens) = (model.n_layers(), prompt.len());
        let at = StateAt::Layer(1);
        let mut captured = Captured::new(Off, vec![at]);
        passed(&model, &other, &mut captured);
        let (_, states) = captured.take().remove(0);
        let hidden = states.dims()[2];
        let vector = Tensor::<1>::ones([hidden], &device) * 0.25;
        let interventions = vec![
            Intervention::Replace {
                at,
                states: states.clone().squeeze_dim::<2>(0).narrow(0, 2, 1),
                first_position: 2,
            },
            Intervention::Add {
                at: StateAt::Embedding,
                vector: vector.clone(),
                tokens: TokenSelection::all(),
            },
        ];
        let mut policy = Intervened::new(Off, interventions, n_layers).unwrap();
        let found = passed(&model, &prompt, &mut policy);

        let (mut context, embedding) = begin(&model, &prompt);
        let mut state = embedding + vector.unsqueeze_dims::<3>(&[0, 1]);
        for layer_idx in 0..n_layers {
            state = model.forward_layer(layer_idx, state, &mut context);
            if layer_idx == 1 {
                let before = state.clone().narrow(1, 0, 2);
                let after = state.narrow(1, 3, n_tokens - 3);
                state = Tensor::cat(vec![before, states.clone().narrow(1, 2, 1), after], 1);
            }
        }
        assert_eq!(found, values(state), "{backend}");
    }
}
