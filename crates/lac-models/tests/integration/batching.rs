//! A row of a batch gives what it gives alone, padding or not; a long prompt gives what it gives
//! in one block.

use burn::tensor::Device;
use lac_core::{
    Bypass, CausalLm, GateConfig, GenerateArgs, GenerationConfig, Halt, LastActive, LayerPolicy,
    Off, Pass, PassRecord, Trace, Usage, generate,
    generation::{PromptLogits, Sampling, SamplingConfig, prompt_pass},
    released_code::{FirstThreshold, PromptPadding},
    run_layers,
};
use lac_models::{Decoder, ModelConfig, ModelFolder, WeightDtype, decoder::DummyWeights};
use lac_trace::Recorder;
use serde::Deserialize;

use crate::devices::devices;
use crate::expected::expected;
use crate::parity::{NORM_TOLERANCE, fixture, load};

/// Row observers for a whole batch.
struct Rows(Vec<Recorder>);

impl lac_core::Observer for Rows {
    fn pass(&mut self, record: &lac_core::PassRecord) -> Result<(), lac_core::BoxError> {
        self.0.iter_mut().try_for_each(|row| row.pass(record))
    }
}

type NewPolicy = fn(GateConfig) -> Box<dyn LayerPolicy>;

const POLICIES: [(&str, NewPolicy); 5] = [
    ("off", |_| Box::new(Off)),
    ("trace", |gate| Box::new(Trace::new(gate))),
    ("last-active", |gate| Box::new(LastActive::new(gate))),
    ("bypass", |gate| Box::new(Bypass::new(gate))),
    ("halt", |gate| Box::new(Halt::new(gate))),
];

fn generate_rows(
    model: &Decoder,
    prompts: &[Vec<u32>],
    sampling: &Sampling,
    policy: &mut dyn LayerPolicy,
) -> (Vec<Vec<u32>>, Vec<Recorder>, Usage) {
    let rows = (0..prompts.len()).map(Recorder::new).collect();
    let mut observer = (Rows(rows), Usage::default());
    let config = GenerationConfig::greedy(6).with_sampling(sampling.clone());
    let hooks = GenerateArgs::new(policy).observer(&mut observer);
    let output = generate(model, prompts, &config, hooks).unwrap();
    let ids = output.rows.into_iter().map(|row| row.ids).collect();
    (ids, observer.0.0, observer.1)
}

/// The fixtures' greedy margins and gate gaps are far above the rounding of a batched product, so
/// tokens and flags are compared exactly.
fn check(name: &str, backend: &str, model: &Decoder, policies: &[(&str, NewPolicy)]) {
    let prompts: Vec<Vec<u32>> = expected(name)
        .prompts
        .into_iter()
        .map(|prompt| prompt.prompt_ids)
        .collect();
    assert!(prompts.iter().any(|ids| ids.len() != prompts[0].len()));
    for (policy_name, new_policy) in policies {
        let what = format!("{name} on {backend}, {policy_name}");
        let gate = GateConfig::new(0.8);
        let (ids, rows, usage) = generate_rows(
            model,
            &prompts,
            &Sampling::Greedy,
            new_policy(gate).as_mut(),
        );
        let mut merged = Usage::default();
        for (row, prompt) in prompts.iter().enumerate() {
            let alone = std::slice::from_ref(prompt);
            let (alone_ids, alone_rows, alone_usage) =
                generate_rows(model, alone, &Sampling::Greedy, new_policy(gate).as_mut());
            assert_eq!(ids[row], alone_ids[0], "{what}, row {row}: tokens");
            let (batched, single) = (&rows[row], &alone_rows[0]);
            assert_eq!(
                batched.phases.prompt.token_ids, *prompt,
                "{what}, row {row}: padding counted"
            );
            assert_eq!(
                batched.phases.prompt.active, single.phases.prompt.active,
                "{what}, row {row}"
            );
            assert_eq!(
                batched.phases.response.active, single.phases.response.active,
                "{what}, row {row}"
            );
            merged.merge(&alone_usage);
        }
        assert_eq!(
            usage.prompt.per_layer(),
            merged.prompt.per_layer(),
            "{what}"
        );
        assert_eq!(
            usage.response.per_layer(),
            merged.response.per_layer(),
            "{what}"
        );
    }
}

#[test]
fn a_padded_row_equals_the_row_alone() {
    for (backend, device) in devices() {
        // A software GPU compiles kernels for every new shape; one model and policy show that its
        // masks and positions are right.
        let (names, policies) = match backend {
            "flex" => (&["llama", "mistral-window", "qwen2"][..], &POLICIES[..]),
            _ => (&["mistral-window"][..], &POLICIES[2..3]),
        };
        for name in names {
            check(name, backend, &load(name, &device), policies);
        }
    }
}

/// On the CPU not only the tokens but every bit of norms, deltas and logits is that of the row alone.
#[test]
fn neighbours_change_no_bit_on_the_cpu() {
    let device = Device::flex();
    for name in ["llama", "mistral-window", "qwen2"] {
        let folder = ModelFolder::open(fixture(name)).unwrap();
        let prompts: Vec<Vec<u32>> = expected(name)
            .prompts
            .into_iter()
            .map(|prompt| prompt.prompt_ids)
            .collect();
        for dtype in [WeightDtype::F32, WeightDtype::Bf16, WeightDtype::F16] {
            let model = folder.load(dtype, &device, &mut |_| {}).unwrap();
            let run = |prompts: &[Vec<u32>], seed| {
                let rows = (0..prompts.len()).map(Recorder::new).collect();
                let mut observer = Rows(rows);
                let sampling = Sampling::Random(SamplingConfig::new(1.0, seed));
                let config = GenerationConfig::greedy(6).with_sampling(sampling);
                let mut policy = Trace::new(GateConfig::new(0.8));
                let hooks = GenerateArgs::new(&mut policy)
                    .observer(&mut observer)
                    .prompt_logits(PromptLogits::Return);
                let output = generate(&model, prompts, &config, hooks).unwrap();
                let logits = output.prompt_logits.unwrap();
                let ids: Vec<Vec<u32>> = output.rows.into_iter().map(|row| row.ids).collect();
                (ids, logits, observer.0)
            };
            let (ids, logits, rows) = run(&prompts, 5);
            for (row, prompt) in prompts.iter().enumerate() {
                let what = format!("{name} in {}, row {row}", dtype.name());
                let (alone_ids, alone_logits, alone) =
                    run(std::slice::from_ref(prompt), 5 + row as u64);
                assert_eq!(ids[row], alone_ids[0], "{what}: tokens");
                // Equal numbers: no logit is a zero of another sign, and none is NaN.
                assert_eq!(logits[row], alone_logits[0], "{what}: logits");
                for (batched, single) in [
                    (&rows[row].phases.prompt, &alone[0].phases.prompt),
                    (&rows[row].phases.response, &alone[0].phases.response),
                ] {
                    assert_eq!(batched.norms, single.norms, "{what}: norms");
                    assert_eq!(batched.deltas, single.deltas, "{what}: deltas");
                }
            }
        }
    }
}

#[test]
fn sampling_is_seeded_per_row() {
    let model = load("llama", &Device::flex());
    let prompts = vec![vec![5, 6, 7], vec![5, 6, 7], vec![9, 8]];
    let sampling = |seed| {
        Sampling::Random(
            SamplingConfig::new(2.0, seed)
                .with_top_k(40)
                .with_top_p(0.95),
        )
    };
    let rows =
        |prompts: &[Vec<u32>], seed| generate_rows(&model, prompts, &sampling(seed), &mut Off).0;
    let first = rows(&prompts, 3);
    assert_eq!(first, rows(&prompts, 3), "the same seed, the same tokens");
    assert_ne!(first[0], first[1], "rows draw from streams of their own");
    // Row i of a batch is row 0 of a batch seeded i higher.
    assert_eq!(rows(&prompts[1..2], 4)[0], first[1]);
    assert_eq!(rows(&prompts[2..3], 5)[0], first[2]);
}

/// A small model with a long context, of random weights.
fn long_context_model(window: &str) -> Decoder {
    let json = format!(
        r#"{{"model_type": "mistral", "vocab_size": 50, "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "max_position_embeddings": 2048, "sliding_window": {window}}}"#
    );
    let config = ModelConfig::from_json(&json, "config.json".as_ref()).unwrap();
    let device = Device::flex();
    let mut weights = DummyWeights::new(1, burn::tensor::DType::F32, &device);
    Decoder::load(&config.decoder, &mut weights).unwrap()
}

/// Prompts beyond 512 tokens are attended to block by block; the result is that of feeding the
/// tokens one after the other.
#[test]
fn a_long_prompt_equals_its_tokens_one_by_one() {
    for window in ["null", "100", "700"] {
        let model = long_context_model(window);
        let ids: Vec<u32> = (0..1100u32).map(|idx| (idx * 7 + idx / 13) % 50).collect();
        let (whole, _) = prompt_pass(&model, std::slice::from_ref(&ids), 0, &mut Off).unwrap();
        let whole = whole.narrow(1, ids.len() - 1, 1);

        let mut context = model.new_context(1, ids.len());
        let mut pass = Pass::prompt(&[&ids[..1]], 0).unwrap();
        let mut step = |pass: &Pass| {
            model.begin_pass(pass, &mut context);
            let embedding = model.embed(pass.token_tensor(&model.device()), &context);
            run_layers(&model, embedding, &mut context, pass, &mut Off)
                .unwrap()
                .hidden
        };
        let mut last = step(&pass);
        for &id in &ids[1..] {
            pass = pass.next(vec![id], vec![false]);
            last = step(&pass);
        }
        let difference = (whole - last).abs().max().into_scalar::<f32>();
        // States are of the order of 0.1; both ways differ in the order of their sums only.
        assert!(difference < 1e-6, "window {window}: {difference}");
    }
}

#[test]
fn a_full_context_ends_the_row() {
    let model = load("llama", &Device::flex());
    let max_context = model.max_context().unwrap();
    let prompt = vec![vec![5; max_context - 2]];
    let config = GenerationConfig::greedy(50);
    let output = generate(&model, &prompt, &config, GenerateArgs::new(&mut Off)).unwrap();
    // Two tokens fill the last two positions; the logits of the last one give a third.
    assert_eq!(output.rows[0].ids.len(), 3);
    assert_eq!(
        output.rows[0].stop_reason,
        lac_core::generation::StopReason::ContextFull
    );

    let too_long = vec![vec![5; max_context + 1]];
    let error = generate(&model, &too_long, &config, GenerateArgs::new(&mut Off));
    assert!(error.unwrap_err().to_string().contains("129 tokens"));
}

/// What the paper's released code makes of batches, by transformers: `fixtures/make/released_batch.py`.
#[derive(Deserialize)]
struct Released {
    alpha: f32,
    pad: u32,
    checkpoints: std::collections::BTreeMap<String, ReleasedBatch>,
}

#[derive(Deserialize)]
struct ReleasedBatch {
    prompts: Vec<Vec<u32>>,
    ids: Vec<Vec<u32>>,
    passes: Vec<ReleasedPass>,
}

/// `[layer][row][slot]`, and of the first layer `[row][slot]`.
#[derive(Deserialize)]
struct ReleasedPass {
    norms: Vec<Vec<Vec<f32>>>,
    first_thresholds: Vec<Vec<f32>>,
    active: Vec<Vec<Vec<u8>>>,
}

struct AllPasses(Vec<PassRecord>);

impl lac_core::Observer for AllPasses {
    fn pass(&mut self, record: &PassRecord) -> Result<(), lac_core::BoxError> {
        self.0.push(record.clone());
        Ok(())
    }
}

/// Padding that is attended to, counted and drawn from, and a first threshold over the batch: with both the batch is
/// the released code's, slot by slot. The fixture's margins are far above rounding, so tokens and flags are compared
/// exactly.
#[test]
fn batches_of_the_released_code_are_reproduced() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/released_batch.json"
    );
    let text = std::fs::read_to_string(path);
    let released: Released = serde_json::from_str(&text.unwrap()).unwrap();
    for (backend, device) in devices() {
        for (name, batch) in &released.checkpoints {
            let model = load(name, &device);
            let gate =
                GateConfig::new(released.alpha).with_first_threshold(FirstThreshold::BatchRange);
            let run = |gate, config: GenerationConfig| {
                let mut passes = AllPasses(Vec::new());
                let mut policy = LastActive::new(gate);
                let hooks = GenerateArgs::new(&mut policy).observer(&mut passes);
                let output = generate(&model, &batch.prompts, &config, hooks).unwrap();
                let ids: Vec<Vec<u32>> = output.rows.into_iter().map(|row| row.ids).collect();
                (ids, passes.0)
            };
            let plain = GenerationConfig::greedy(batch.ids[0].len());
            let as_released = plain
                .clone()
                .with_padding(PromptPadding::AsTokens, released.pad);
            let (ids, passes) = run(gate, as_released.clone());
            let what = format!("{name} on {backend}");
            assert_eq!(ids, batch.ids, "{what}");
            assert_eq!(passes.len(), batch.passes.len(), "{what}");
            for (idx, (found, expected)) in passes.iter().zip(&batch.passes).enumerate() {
                let gate = found.gate.as_ref().unwrap();
                let slots = found.pass.batch() * found.pass.seq();
                assert_eq!(found.counted().count(), slots, "{what}: padding counts");
                let flags = expected.active.iter().flatten().flatten();
                let flags: Vec<bool> = flags.map(|&flag| flag == 1).collect();
                assert_eq!(gate.active, flags, "{what}, pass {idx}");
                let norms = expected.norms.iter().flatten().flatten();
                for (found, &norm) in gate.norms.iter().zip(norms) {
                    let difference = (found - norm).abs();
                    assert!(difference <= NORM_TOLERANCE * norm, "{what}, pass {idx}");
                }
                // Differences of norms, so that the norms' rounding is what they differ by.
                let thresholds = expected.first_thresholds.iter().flatten();
                for ((found, &threshold), &norm) in
                    gate.thresholds.iter().zip(thresholds).zip(&gate.norms)
                {
                    let difference = (found - threshold).abs();
                    assert!(
                        difference <= 4.0 * NORM_TOLERANCE * norm,
                        "{what}, pass {idx}"
                    );
                }
            }
            // Each of the two ways shows by itself.
            let (_, per_token) = run(GateConfig::new(released.alpha), as_released);
            let active = |passes: &[PassRecord]| passes[0].gate.clone().unwrap().active;
            assert_ne!(active(&per_token), active(&passes), "{what}");
            assert_ne!(run(gate, plain).0, ids, "{what}");
        }
    }
}
