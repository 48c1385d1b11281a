//! Models against transformers, per layer and token, for every fixture checkpoint and policy.
//!
//! `fixtures/make_fixtures.py` wrote the checkpoints and what transformers 4.50.1 and torch make
//! of them in f32.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use lac_core::{
    Bypass, CausalLm, GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy,
    Off, PerPhase, Trace, Usage, error::StateAt, generate, generation::PromptLogits,
};
use lac_models::{Decoder, ModelFolder, WeightDtype, checkpoint::Checkpoint};
use lac_trace::Recorder;
use lac_trace::recorder::PhaseTrace;

use crate::devices::devices;
use crate::expected::{ExpectedPrompt, expected};

/// Norms agree to this, relative to the norm: a dozen f32 layers sum their products in another
/// order than torch, each with a relative error of some 1e-7 per operation.
pub const NORM_TOLERANCE: f32 = 2e-5;

/// Logits agree to this, absolutely; they are of the order of 1 to 10.
const LOGIT_TOLERANCE: f32 = 3e-4;

/// Flags are compared where |Δ − λ| exceeds this share of the norm: below it the flag is decided
/// by the rounding that [`NORM_TOLERANCE`] allows, twice for a difference of two norms, and again
/// for the range.
const NEAR_TIE: f32 = 4.0 * NORM_TOLERANCE;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/checkpoints")
        .join(name)
}

pub fn load(name: &str, device: &Device) -> Decoder {
    let folder = ModelFolder::open(fixture(name)).unwrap();
    folder.load(WeightDtype::F32, device, &mut |_| {}).unwrap()
}

/// What one greedy generation leaves behind.
struct Run {
    ids: Vec<u32>,
    logits_last: Vec<f32>,
    recorder: Recorder,
    usage: Usage,
    executed: Vec<usize>,
}

struct ExecutedPerPass(Vec<usize>);

impl lac_core::Observer for ExecutedPerPass {
    fn pass(&mut self, record: &lac_core::PassRecord) -> Result<(), lac_core::BoxError> {
        self.0.push(record.n_executed());
        Ok(())
    }
}

fn run(model: &Decoder, prompt: &[u32], n_new: usize, policy: &mut dyn LayerPolicy) -> Run {
    let mut observer = (
        Recorder::new(0),
        (Usage::default(), ExecutedPerPass(Vec::new())),
    );
    let hooks = GenerateArgs::new(policy)
        .observer(&mut observer)
        .prompt_logits(PromptLogits::Return);
    let config = GenerationConfig::greedy(n_new);
    let output = generate(model, &[prompt.to_vec()], &config, hooks).unwrap();
    let (recorder, (usage, executed)) = observer;
    Run {
        ids: output.rows[0].ids.clone(),
        logits_last: output.prompt_logits.unwrap().swap_remove(0),
        recorder,
        usage,
        executed: executed.0,
    }
}

pub fn assert_close(
    actual: &[f32],
    expected: &[f32],
    tolerance: impl Fn(usize) -> f32,
    what: &str,
) {
    assert_eq!(actual.len(), expected.len(), "{what}: length");
    for (idx, (a, e)) in actual.iter().zip(expected).enumerate() {
        let allowed = tolerance(idx);
        assert!(
            (a - e).abs() <= allowed,
            "{what}[{idx}]: {a} against {e}, allowed {allowed}"
        );
    }
}

/// Compares numbers whose size is that of the norms they come from.
fn assert_layers(actual: &[Vec<f32>], expected: &[Vec<f32>], norms: &[Vec<f32>], what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}: layers");
    for (layer_idx, (a, e)) in actual.iter().zip(expected).enumerate() {
        let at = StateAt::Layer(layer_idx);
        let tolerance = |token: usize| 2.0 * NORM_TOLERANCE * norms[layer_idx][token].max(1.0);
        assert_close(a, e, tolerance, &format!("{what} after {at}"));
    }
}

/// Compares flags wherever the verdict is not a near-tie, and insists that hardly any are.
pub fn assert_flags(trace: &PhaseTrace, expected: &[Vec<u8>], what: &str) {
    let (mut compared, mut total) = (0, 0);
    assert_eq!(trace.active.len(), expected.len(), "{what}: layers");
    for (layer_idx, flags) in expected.iter().enumerate() {
        assert_eq!(trace.active[layer_idx].len(), flags.len(), "{what}: tokens");
        for (token, &flag) in flags.iter().enumerate() {
            total += 1;
            let margin =
                (trace.deltas[layer_idx][token] - trace.thresholds[layer_idx][token]).abs();
            if margin <= NEAR_TIE * trace.norms[layer_idx][token] {
                continue;
            }
            compared += 1;
            assert_eq!(
                trace.active[layer_idx][token], flag,
                "{what}: layer {layer_idx}, token {token}, margin {margin}"
            );
        }
    }
    assert!(
        100 * compared >= 98 * total,
        "{what}: only {compared} of {total} flags compared"
    );
}

/// How much of a fixture is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// Every prompt, α and policy.
    Full,
    /// One model of each family, one prompt and α, two policies, a few tokens: a software GPU
    /// compiles kernels for every new shape, and a pass costs seconds.
    Brief,
}

const ONE_OF_EACH_FAMILY: [&str; 3] = ["llama3-scaled", "mistral-window", "qwen2"];

impl Depth {
    fn on(backend: &str) -> Self {
        match backend {
            "flex" => Depth::Full,
            _ => Depth::Brief,
        }
    }

    /// How many of `n_tokens` new tokens to generate.
    fn n_new(self, n_tokens: usize) -> usize {
        match self {
            Depth::Full => n_tokens,
            Depth::Brief => n_tokens.min(3),
        }
    }
}

fn check(name: &str) {
    for (backend, device) in devices() {
        let depth = Depth::on(backend);
        if depth == Depth::Brief && !ONE_OF_EACH_FAMILY.contains(&name) {
            continue;
        }
        let model = load(name, &device);
        let expected = expected(name);
        let n_prompts = expected.prompts.len();
        let prompts = match depth {
            Depth::Full => 0..n_prompts,
            Depth::Brief => n_prompts - 1..n_prompts,
        };
        for prompt_idx in prompts {
            let prompt = &expected.prompts[prompt_idx];
            let what = format!("{name} on {backend}, prompt {prompt_idx}");
            if depth == Depth::Full {
                check_off(&model, prompt, &what);
            }
            for (alpha_idx, &alpha) in expected.alphas.iter().enumerate() {
                if depth == Depth::Brief && alpha != 0.8 {
                    continue;
                }
                let what = format!("{what}, alpha {alpha}");
                let case = Case {
                    model: &model,
                    prompt,
                    alpha_idx,
                    gate: GateConfig::new(alpha),
                    depth,
                };
                case.check_trace(&what);
                case.check_last_active(&what);
                if depth == Depth::Full {
                    case.check_bypass(&what);
                    case.check_halt(&what);
                }
            }
        }
    }
}

fn check_off(model: &Decoder, prompt: &ExpectedPrompt, what: &str) {
    let ids = &prompt.full_greedy.ids;
    let off = run(model, &prompt.prompt_ids, ids.len(), &mut Off);
    assert_eq!(off.ids, *ids, "{what}: greedy ids");
    assert_close(
        &off.logits_last,
        &prompt.logits_last,
        |_| LOGIT_TOLERANCE,
        what,
    );
}

/// One prompt at one α.
struct Case<'a> {
    model: &'a Decoder,
    prompt: &'a ExpectedPrompt,
    alpha_idx: usize,
    gate: GateConfig,
    depth: Depth,
}

impl Case<'_> {
    fn run(&self, expected_ids: &[u32], policy: &mut dyn LayerPolicy, what: &str) -> Run {
        let ids = &expected_ids[..self.depth.n_new(expected_ids.len())];
        let seen = run(self.model, &self.prompt.prompt_ids, ids.len(), policy);
        assert_eq!(seen.ids, ids, "{what}: greedy ids");
        seen
    }

    fn check_trace(&self, what: &str) {
        let what = format!("{what}, trace");
        let (prompt, greedy) = (self.prompt, &self.prompt.full_greedy);
        let traced = self.run(&greedy.ids, &mut Trace::new(self.gate), &what);
        let PerPhase {
            prompt: seen,
            response,
        } = &traced.recorder.phases;
        assert_close(
            &seen.embedding_norms,
            &prompt.embedding_norms,
            |token| NORM_TOLERANCE * prompt.embedding_norms[token],
            &format!("{what}: embedding norms"),
        );
        assert_layers(
            &seen.norms,
            &prompt.norms,
            &prompt.norms,
            &format!("{what}: norms"),
        );
        assert_layers(
            &seen.deltas,
            &prompt.deltas,
            &prompt.norms,
            &format!("{what}: deltas"),
        );
        let expected = &prompt.trace[self.alpha_idx];
        let thresholds = format!("{what}: thresholds");
        assert_layers(
            &seen.thresholds,
            &expected.thresholds,
            &prompt.norms,
            &thresholds,
        );
        assert_flags(seen, &expected.active, &what);

        let fed = response.n_tokens();
        assert_eq!(response.token_ids, traced.ids[..fed], "{what}: fed tokens");
        let norms = first_tokens(&greedy.rg_norms, fed);
        assert_layers(&response.norms, &norms, &norms, &what);
        assert_layers(
            &response.deltas,
            &first_tokens(&greedy.rg_deltas, fed),
            &norms,
            &what,
        );
        let flags = first_tokens(&greedy.rg_active[self.alpha_idx], fed);
        assert_flags(response, &flags, &format!("{what}: response"));

        let mean = |layer: &Vec<u8>| {
            layer.iter().map(|&flag| f64::from(flag)).sum::<f64>() / layer.len() as f64
        };
        let shares: Vec<f64> = seen.active.iter().map(mean).collect();
        let usage = traced.usage.prompt.per_layer().unwrap();
        for (a, b) in usage.iter().zip(&shares) {
            assert!(
                (a - b).abs() < 1e-12,
                "{what}: usage {usage:?} against {shares:?}"
            );
        }
    }

    fn check_last_active(&self, what: &str) {
        let what = format!("{what}, last-active");
        let expected = &self.prompt.last_active[self.alpha_idx];
        let seen = self.run(&expected.greedy_ids, &mut LastActive::new(self.gate), &what);
        assert_close(
            &seen.logits_last,
            &expected.logits_last,
            |_| LOGIT_TOLERANCE,
            &what,
        );
        assert_flags(
            &seen.recorder.phases.prompt,
            &self.prompt.trace[self.alpha_idx].active,
            &what,
        );
    }

    fn check_bypass(&self, what: &str) {
        let what = format!("{what}, bypass");
        let expected = &self.prompt.bypass[self.alpha_idx];
        let seen = self.run(&expected.greedy_ids, &mut Bypass::new(self.gate), &what);
        let PerPhase {
            prompt: trace,
            response,
        } = &seen.recorder.phases;
        assert_close(
            &trace.embedding_norms,
            &expected.embedding_norms,
            |token| NORM_TOLERANCE * expected.embedding_norms[token],
            &what,
        );
        assert_layers(
            &trace.norms,
            &expected.norms,
            &expected.norms,
            &format!("{what}: norms"),
        );
        assert_layers(
            &trace.deltas,
            &expected.deltas,
            &expected.norms,
            &format!("{what}: deltas"),
        );
        assert_layers(
            &trace.thresholds,
            &expected.thresholds,
            &expected.norms,
            &what,
        );
        assert_flags(trace, &expected.active, &what);
        assert_flags(
            response,
            &first_tokens(&expected.rg_active, response.n_tokens()),
            &what,
        );
        assert_close(
            &seen.logits_last,
            &expected.logits_last,
            |_| LOGIT_TOLERANCE,
            &what,
        );
    }

    fn check_halt(&self, what: &str) {
        let what = format!("{what}, halt");
        let expected = &self.prompt.halt[self.alpha_idx];
        let seen = self.run(&expected.greedy_ids, &mut Halt::new(self.gate), &what);
        assert_close(
            &seen.logits_last,
            &expected.logits_last,
            |_| LOGIT_TOLERANCE,
            &what,
        );
        let (prompt, response) = seen.executed.split_first().unwrap();
        assert_eq!(
            *prompt, expected.executed,
            "{what}: executed for the prompt"
        );
        assert_eq!(
            response,
            &expected.rg_executed[..response.len()],
            "{what}: response"
        );
    }
}

/// The first columns of a `[layers][tokens]` matrix.
fn first_tokens<T: Clone>(matrix: &[Vec<T>], n_tokens: usize) -> Vec<Vec<T>> {
    matrix
        .iter()
        .map(|layer| layer[..n_tokens].to_vec())
        .collect()
}

#[test]
fn llama() {
    check("llama");
}

#[test]
fn llama_with_llama3_scaling_and_biases() {
    check("llama3-scaled");
}

#[test]
fn llama_with_linear_scaling() {
    check("llama-linear");
}

#[test]
fn llama_stored_as_f16() {
    check("llama-f16");
}

#[test]
fn mistral_with_a_window_that_prompts_cross() {
    check("mistral-window");
}

#[test]
fn mistral_without_a_window() {
    check("mistral-full");
}

#[test]
fn qwen2_with_biases_in_bf16_shards() {
    check("qwen2");
}

/// The parameters counted from the configuration are those of the files.
#[test]
fn parameters_are_counted() {
    for name in ["llama", "llama3-scaled", "mistral-window", "qwen2"] {
        let folder = ModelFolder::open(fixture(name)).unwrap();
        let shapes = Checkpoint::open(folder.path()).unwrap().shapes();
        let stored: usize = shapes
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        assert_eq!(
            folder.config().decoder.n_parameters(),
            stored as u64,
            "{name}"
        );
    }
}

/// 16-bit weights stay 16-bit and give nearly the same logits.
#[test]
fn half_precision_computes_in_half_precision() {
    let device = Device::flex();
    let prompt = &expected("qwen2").prompts[1];
    let folder = ModelFolder::open(fixture("qwen2")).unwrap();
    for (dtype, tolerance) in [(WeightDtype::Bf16, 0.5), (WeightDtype::F16, 0.1)] {
        let model = folder.load(dtype, &device, &mut |_| {}).unwrap();
        assert_eq!(model.dtype(), dtype.to_burn());
        assert_eq!(model.device(), device);
        let mut policy = Trace::new(GateConfig::default());
        let seen = run(&model, &prompt.prompt_ids, 1, &mut policy);
        assert_close(
            &seen.logits_last,
            &prompt.logits_last,
            |_| tolerance,
            dtype.name(),
        );
        assert_eq!(seen.recorder.phases.prompt.norms.len(), prompt.norms.len());
    }
}
