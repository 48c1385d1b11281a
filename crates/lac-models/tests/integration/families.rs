//! Families of models against transformers 5, per layer and token: norms, masks, logits, greedy text.
//!
//! `fixtures/make_families.py` wrote the checkpoints and what transformers makes of them in f32.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use lac_core::{
    BoxError, Decision, GateConfig, GenerateArgs, GenerationConfig, LastActive, LayerPolicy,
    Observer, PassRecord, PerPhase, Planned, SkippedKeys, Trace, generate,
    generation::PromptLogits,
    plan::PhasePlan,
    speculation::{DraftLength, SpeculationConfig, Speculator, verify_speculation},
};
use lac_models::{Decoder, ModelFolder, WeightDtype, checkpoint::Checkpoint};
use lac_trace::Recorder;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde::Deserialize;
use serde_json::json;
use tempfile::TempDir;

use crate::devices::devices;
use crate::gguf;
use crate::parity::{NORM_TOLERANCE, assert_close, assert_flags};

const LOGIT_TOLERANCE: f32 = 5e-4;

#[derive(Deserialize)]
struct Expected {
    alphas: Vec<f32>,
    prompts: Vec<ExpectedPrompt>,
}

#[derive(Deserialize)]
struct ExpectedPrompt {
    prompt_ids: Vec<u32>,
    embedding_norms: Vec<f32>,
    norms: Vec<Vec<f32>>,
    trace: Vec<ExpectedTrace>,
    logits_last: Vec<f32>,
    ids: Vec<u32>,
    rg_norms: Vec<Vec<f32>>,
    rg_active: Vec<Vec<Vec<u8>>>,
    /// By layer; empty without experts.
    #[serde(default)]
    routing: Vec<Option<ExpectedRouting>>,
    #[serde(default)]
    rg_routing: Vec<Option<ExpectedRouting>>,
    last_active: Vec<ExpectedLastActive>,
}

/// What a layer's router chose, `[tokens][chosen]`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
struct ExpectedRouting {
    experts: Vec<Vec<u32>>,
    weights: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct ExpectedTrace {
    thresholds: Vec<Vec<f32>>,
    active: Vec<Vec<u8>>,
}

#[derive(Deserialize)]
struct ExpectedLastActive {
    logits_last: Vec<f32>,
    ids: Vec<u32>,
}

pub fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/families")
        .join(name)
}

fn load(name: &str, device: &Device) -> Decoder {
    let folder = ModelFolder::open(folder(name)).unwrap();
    folder.load(WeightDtype::F32, device, &mut |_| {}).unwrap()
}

fn expected(name: &str) -> Expected {
    let text = std::fs::read_to_string(folder(name).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What one greedy generation of a batch leaves behind, for its only row or the first.
struct Run {
    ids: Vec<Vec<u32>>,
    logits_last: Vec<Vec<f32>>,
    recorder: Recorder,
    routing: PerPhase<Vec<Option<ExpectedRouting>>>,
}

/// Keeps what routers chose for the first row.
#[derive(Default)]
struct RoutingRecorder(PerPhase<Vec<Option<ExpectedRouting>>>);

impl Observer for RoutingRecorder {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        let layers = self.0.get_mut(record.pass.phase());
        layers.resize(record.routing.len(), None);
        for (kept, routing) in layers.iter_mut().zip(&record.routing) {
            let Some(routing) = routing else { continue };
            let kept = kept.get_or_insert_default();
            for (row, slot) in record.counted().filter(|&(row, _)| row == 0) {
                let (experts, weights) = routing.of_token(row * record.pass.seq() + slot);
                kept.experts.push(experts.to_vec());
                kept.weights.push(weights.to_vec());
            }
        }
        Ok(())
    }
}

fn run(model: &Decoder, prompts: &[Vec<u32>], n_new: usize, policy: &mut dyn LayerPolicy) -> Run {
    let mut recorder = (Recorder::new(0), RoutingRecorder::default());
    let args = GenerateArgs::new(policy)
        .observer(&mut recorder)
        .prompt_logits(PromptLogits::Return);
    let output = generate(model, prompts, &GenerationConfig::greedy(n_new), args).unwrap();
    Run {
        ids: output.rows.iter().map(|row| row.ids.clone()).collect(),
        logits_last: output.prompt_logits.unwrap(),
        recorder: recorder.0,
        routing: recorder.1.0,
    }
}

fn check(name: &str) {
    check_with(name, |device| load(name, device));
    if devices().iter().any(|(backend, _)| *backend == "flex") {
        check_left_out(name);
    }
}

/// A plan that leaves out a layer gives what a checkpoint without that layer gives, to the last bit.
fn check_left_out(name: &str) {
    const LEFT_OUT: usize = 1;
    let device = Device::flex();
    let model = load(name, &device);
    let n_layers = model.config().n_layers;
    let shorter = without_layer(name, LEFT_OUT);
    let shorter = ModelFolder::open(shorter.path()).unwrap();
    let shorter = shorter
        .load(WeightDtype::F32, &device, &mut |_| {})
        .unwrap();
    let mut decisions = vec![Decision::Run; n_layers];
    decisions[LEFT_OUT] = Decision::Skip;
    let plan = PhasePlan::new(decisions);
    for prompt in expected(name).prompts {
        let prompts = [prompt.prompt_ids];
        let mut planned = Planned::from_phases(plan.clone(), plan.clone(), SkippedKeys::Omit);
        let seen = run(&model, &prompts, 6, &mut planned);
        let expected = run(&shorter, &prompts, 6, &mut lac_core::Off);
        assert_eq!(seen.ids, expected.ids, "{name}");
        assert_eq!(seen.logits_last, expected.logits_last, "{name}");
    }
}

/// Writes a checkpoint without one of its layers; the others stay of their kinds.
fn without_layer(name: &str, left_out: usize) -> TempDir {
    let decoder = ModelFolder::open(folder(name)).unwrap();
    let decoder = &decoder.config().decoder;
    let kept = (0..decoder.n_layers).filter(|&layer_idx| layer_idx != left_out);
    let kept: Vec<usize> = kept.collect();
    let mut config = gguf::config(&folder(name));
    config["num_hidden_layers"] = json!(kept.len());
    if decoder.sliding_window.is_some() {
        let kinds = kept
            .iter()
            .map(|&layer_idx| match decoder.window_of(layer_idx) {
                Some(_) => "sliding_attention",
                None => "full_attention",
            });
        config["layer_types"] = kinds.collect();
    }
    if !decoder.unrotated_layers.is_empty() {
        let is_rotated = |layer_idx: &usize| !decoder.unrotated_layers.contains(layer_idx);
        let flags = kept.iter().map(|idx| u8::from(is_rotated(idx)));
        config["no_rope_layers"] = flags.collect();
    }
    if decoder
        .experts
        .as_ref()
        .is_some_and(|experts| !experts.dense_layers.is_empty())
    {
        let is_dense = |(_, idx): &(usize, &usize)| decoder.experts_of(**idx).is_none();
        let dense = kept.iter().enumerate().filter(is_dense);
        config["mlp_only_layers"] = dense.map(|(idx, _)| idx).collect();
        config["decoder_sparse_step"] = json!(1);
    }
    let shorter = TempDir::new().unwrap();
    std::fs::write(shorter.path().join("config.json"), config.to_string()).unwrap();
    let tensors = gguf::tensors(&folder(name));
    let tensors = tensors.iter().filter_map(|(name, stored)| {
        let view = TensorView::new(stored.dtype, stored.shape.clone(), &stored.bytes).unwrap();
        let Some(of_layer) = name.strip_prefix("model.layers.") else {
            return Some((name.clone(), view));
        };
        let (layer_idx, part) = of_layer.split_once('.').unwrap();
        let idx = kept.iter().position(|kept| kept.to_string() == layer_idx)?;
        Some((format!("model.layers.{idx}.{part}"), view))
    });
    serialize_to_file(tensors, None, &shorter.path().join("model.safetensors")).unwrap();
    shorter
}

/// Checks a model against the numbers of a folder, however it is loaded.
pub fn check_with(name: &str, load: impl Fn(&Device) -> Decoder) {
    let expected = expected(name);
    for (backend, device) in devices() {
        let model = load(&device);
        let is_cpu = backend == "flex";
        // A software GPU compiles kernels for every new shape, and a pass costs seconds: it gets the longest prompt alone.
        // The same tensor operations get all of them on the CPU, below.
        let (n_skipped, n_alphas) = if is_cpu {
            (0, expected.alphas.len())
        } else {
            (expected.prompts.len() - 1, 1)
        };
        let prompts = expected.prompts.iter().enumerate();
        for (prompt_idx, prompt) in prompts.skip(n_skipped) {
            let what = format!("{name} on {backend}, prompt {prompt_idx}");
            check_forward(&model, prompt, &what);
            for alpha_idx in 0..n_alphas {
                let gate = GateConfig::new(expected.alphas[alpha_idx]);
                let what = format!("{what}, alpha {}", expected.alphas[alpha_idx]);
                check_trace(&model, prompt, alpha_idx, gate, &what);
                if is_cpu {
                    check_last_active(&model, prompt, alpha_idx, gate, &what);
                }
            }
        }
        if is_cpu {
            check_batch(&model, &expected, &format!("{name} on {backend}"));
            check_speculation(&model, &expected, name);
        }
    }
    if devices().iter().all(|(backend, _)| *backend != "flex") {
        return;
    }
    // Under autodiff no CPU kernel runs: this is the path of every other backend.
    let model = load(&Device::flex().autodiff());
    let with_kernels = load(&Device::flex());
    check_batch(&model, &expected, &format!("{name} in tensor operations"));
    for prompt in &expected.prompts {
        check_forward(&model, prompt, &format!("{name} in tensor operations"));
        for plan in plans(model.config().n_layers) {
            for keys in [SkippedKeys::Fill, SkippedKeys::Omit] {
                let what = format!("{name}, {keys:?}, {plan:?}");
                let [seen, by_kernels] = [&model, &with_kernels].map(|model| {
                    let mut policy = Planned::from_phases(plan.clone(), plan.clone(), keys);
                    run(
                        model,
                        std::slice::from_ref(&prompt.prompt_ids),
                        3,
                        &mut policy,
                    )
                });
                assert_eq!(seen.ids, by_kernels.ids, "{what}");
                let (logits, expected) = (&seen.logits_last[0], &by_kernels.logits_last[0]);
                assert_close(logits, expected, |_| LOGIT_TOLERANCE, &what);
            }
        }
    }
}

/// Plans that skip layers, and attentions and MLPs apart.
fn plans(n_layers: usize) -> [PhasePlan; 2] {
    let mut decisions = vec![Decision::Run; n_layers];
    decisions[1] = Decision::Skip;
    let layers = PhasePlan::new(decisions.clone());
    decisions[2] = Decision::SkipMlp;
    decisions[n_layers - 2] = Decision::SkipAttention;
    [layers, PhasePlan::new(decisions)]
}

/// Drafts by a plan, verified several tokens at a time, give the full model's text.
fn check_speculation(model: &Decoder, expected: &Expected, what: &str) {
    for plan in plans(model.config().n_layers) {
        let config = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(3));
        let mut speculator = Speculator::new(plan, config).unwrap();
        for prompt in &expected.prompts {
            let config = GenerationConfig::greedy(prompt.ids.len());
            let prompts = [prompt.prompt_ids.clone()];
            let seen = verify_speculation(model, &prompts, &config, &mut speculator).unwrap();
            assert_eq!(seen.divergence, None, "{what}");
            assert_eq!(seen.plain.ids, prompt.ids, "{what}");
        }
    }
}

/// The logits of a whole text without a cache.
fn check_forward(model: &Decoder, prompt: &ExpectedPrompt, what: &str) {
    let ids: Vec<i32> = prompt.prompt_ids.iter().map(|&id| id as i32).collect();
    let n_ids = ids.len();
    let ids = Tensor::<1, Int>::from_data(&*ids, &lac_core::CausalLm::device(model));
    let logits = model
        .forward(ids.reshape([1, n_ids]))
        .narrow(1, n_ids - 1, 1);
    let logits: Vec<f32> = logits.into_data().iter::<f32>().collect();
    let tolerance = |_| LOGIT_TOLERANCE;
    assert_close(&logits, &prompt.logits_last, tolerance, what);
}

fn check_trace(
    model: &Decoder,
    prompt: &ExpectedPrompt,
    alpha_idx: usize,
    gate: GateConfig,
    what: &str,
) {
    let prompts = [prompt.prompt_ids.clone()];
    let seen = run(model, &prompts, prompt.ids.len(), &mut Trace::new(gate));
    assert_eq!(seen.ids[0], prompt.ids, "{what}: greedy ids");
    let tolerance = |_| LOGIT_TOLERANCE;
    assert_close(&seen.logits_last[0], &prompt.logits_last, tolerance, what);
    let PerPhase {
        prompt: trace,
        response,
    } = &seen.recorder.phases;
    let assert_norms =
        |found: &[Vec<f32>], expected: &[Vec<f32>], sizes: &[Vec<f32>], part: &str| {
            assert_eq!(found.len(), expected.len(), "{what}: {part}: layers");
            for (layer_idx, (found, expected)) in found.iter().zip(expected).enumerate() {
                let tolerance =
                    |token: usize| 2.0 * NORM_TOLERANCE * sizes[layer_idx][token].max(1.0);
                let what = format!("{what}: {part} of layer {layer_idx}");
                assert_close(found, expected, tolerance, &what);
            }
        };
    assert_close(
        &trace.embedding_norms,
        &prompt.embedding_norms,
        |token| NORM_TOLERANCE * prompt.embedding_norms[token],
        &format!("{what}: embedding norms"),
    );
    assert_norms(&trace.norms, &prompt.norms, &prompt.norms, "norms");
    let expected = &prompt.trace[alpha_idx];
    assert_norms(
        &trace.thresholds,
        &expected.thresholds,
        &prompt.norms,
        "thresholds",
    );
    assert_flags(trace, &expected.active, what);
    assert_norms(
        &response.norms,
        &prompt.rg_norms,
        &prompt.rg_norms,
        "response norms",
    );
    assert_flags(
        response,
        &prompt.rg_active[alpha_idx],
        &format!("{what}: response"),
    );
    assert_routing(&seen.routing.prompt, &prompt.routing, what);
    assert_routing(&seen.routing.response, &prompt.rg_routing, what);
}

fn assert_routing(
    found: &[Option<ExpectedRouting>],
    expected: &[Option<ExpectedRouting>],
    what: &str,
) {
    assert_eq!(found.len(), expected.len(), "{what}: layers with routers");
    for (layer_idx, layers) in found.iter().zip(expected).enumerate() {
        let what = format!("{what}: layer {layer_idx}");
        match layers {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                assert_eq!(found.experts, expected.experts, "{what}: experts");
                let (found, expected) = (found.weights.concat(), expected.weights.concat());
                assert_close(&found, &expected, |_| 1e-4, &format!("{what}: weights"));
            }
            (found, expected) => panic!("{what}: {found:?} instead of {expected:?}"),
        }
    }
}

fn check_last_active(
    model: &Decoder,
    prompt: &ExpectedPrompt,
    alpha_idx: usize,
    gate: GateConfig,
    what: &str,
) {
    let expected = &prompt.last_active[alpha_idx];
    let prompts = [prompt.prompt_ids.clone()];
    let seen = run(
        model,
        &prompts,
        expected.ids.len(),
        &mut LastActive::new(gate),
    );
    let what = format!("{what}, last-active");
    assert_eq!(seen.ids[0], expected.ids, "{what}: greedy ids");
    let tolerance = |_| LOGIT_TOLERANCE;
    assert_close(
        &seen.logits_last[0],
        &expected.logits_last,
        tolerance,
        &what,
    );
}

/// All prompts together, padded on the left, give what each gives alone.
fn check_batch(model: &Decoder, expected: &Expected, what: &str) {
    let prompts: Vec<Vec<u32>> = expected
        .prompts
        .iter()
        .map(|prompt| prompt.prompt_ids.clone())
        .collect();
    let n_new = expected.prompts[0].ids.len();
    let seen = run(model, &prompts, n_new, &mut lac_core::Off);
    for (row, prompt) in expected.prompts.iter().enumerate() {
        assert_eq!(seen.ids[row], prompt.ids, "{what}, row {row} of a batch");
    }
}

macro_rules! families {
    ($($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                check($name);
            }
        )*

        /// The parameters counted from the configuration are those of the files.
        #[test]
        fn parameters_of_families_are_counted() {
            for name in [$($name),*] {
                let folder = ModelFolder::open(folder(name)).unwrap();
                let shapes = Checkpoint::open(folder.path()).unwrap().shapes();
                let n_stored: usize = shapes.values().map(|shape| shape.iter().product::<usize>()).sum();
                assert_eq!(folder.config().decoder.n_parameters(), n_stored as u64, "{name}");
                assert_eq!(folder.config().unknown_fields, [""; 0], "{name}");
            }
        }
    };
}

families! {
    qwen3: "qwen3",
    qwen3_with_a_window_in_some_layers: "qwen3-window",
    gemma2: "gemma2",
    gemma3_as_published: "gemma3",
    gemma3_as_transformers_5_saves_it: "gemma3-saved",
    smollm3: "smollm3",
    smollm3_with_a_window: "smollm3-window",
    granite: "granite",
    olmo2: "olmo2",
    olmo3_with_yarn_in_full_layers: "olmo3",
    phi3_with_partial_rotation: "phi3",
    phi3_with_longrope: "phi3-longrope",
    ministral: "ministral",
    mixtral_as_published: "mixtral",
    qwen3_moe_as_published: "qwen3-moe",
    qwen3_moe_as_transformers_5_holds_it: "qwen3-moe-stacked",
    qwen2_moe_with_a_shared_expert: "qwen2-moe",
    qwen2_moe_with_experts_in_every_layer: "qwen2-moe-gguf",
    llama_with_yarn: "llama-yarn",
    llama_with_dynamic_scaling: "llama-dynamic",
    llama_3_1_as_published: "llama-3.1",
    llama_3_2_as_published: "llama-3.2",
    llama_3_3_as_published: "llama-3.3",
    deepseek_llama_as_published: "deepseek-llama",
    deepseek_qwen2_as_published: "deepseek-qwen2",
    deepseek_qwen3_as_published: "deepseek-qwen3",
    mistral_nemo_as_published: "mistral-nemo",
    mistral_small_as_published: "mistral-small",
    ministral3_as_published: "ministral3",
}
