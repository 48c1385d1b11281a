//! Decoders that multiply from the blocks of quantised weights, against decoders of the values that the blocks stand for.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, bf16, f16};
use lac_core::{
    Decision, GateConfig, GenerateArgs, GenerationConfig, LayerPolicy, Off, Planned, SkippedKeys,
    Trace, generate,
    generation::PromptLogits,
    plan::PhasePlan,
    speculation::{DraftLength, SpeculationConfig, Speculator, verify_speculation},
};
use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};
use lac_models::checkpoint::Activations;
use lac_models::decoder::{Activation, HeadKind, ProjectionBias, ProjectionLayout};
use lac_models::{
    Decoder, DecoderConfig, LoadConfig, ModelFolder, Quantization, WeightDtype,
    quantized_dummy_model,
};
use lac_trace::Recorder;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::json;
use tempfile::TempDir;

use crate::demo::Demo;
use crate::gguf_builder::GgufBuilder;

const EXACT: LoadConfig = LoadConfig::new(WeightDtype::F32);

fn fast() -> LoadConfig {
    EXACT.with_activations(Activations::Int8)
}

const HIDDEN: usize = 256;
const N_LAYERS: usize = 4;
const VOCAB: usize = 64;

/// Of weights: small enough that rounding does not grow from layer to layer, as it does in no trained model.
const DEVIATION: f32 = 0.04;

/// A checkpoint's matrices: names there and in GGUF files, and shapes.
fn matrices() -> Vec<(String, String, [usize; 2])> {
    let mut all = vec![
        (
            "model.embed_tokens",
            "token_embd".to_owned(),
            [VOCAB, HIDDEN],
        ),
        ("lm_head", "output".to_owned(), [VOCAB, HIDDEN]),
    ]
    .into_iter()
    .map(|(name, in_file, shape)| (name.to_owned(), in_file, shape))
    .collect::<Vec<_>>();
    for layer_idx in 0..N_LAYERS {
        for (name, in_file, shape) in [
            ("self_attn.q_proj", "attn_q", [HIDDEN, HIDDEN]),
            ("self_attn.k_proj", "attn_k", [HIDDEN / 2, HIDDEN]),
            ("self_attn.v_proj", "attn_v", [HIDDEN / 2, HIDDEN]),
            ("self_attn.o_proj", "attn_output", [HIDDEN, HIDDEN]),
            ("mlp.gate_proj", "ffn_gate", [2 * HIDDEN, HIDDEN]),
            ("mlp.up_proj", "ffn_up", [2 * HIDDEN, HIDDEN]),
            ("mlp.down_proj", "ffn_down", [HIDDEN, 2 * HIDDEN]),
        ] {
            all.push((
                format!("model.layers.{layer_idx}.{name}"),
                format!("blk.{layer_idx}.{in_file}"),
                shape,
            ));
        }
    }
    all
}

/// Blocks with random integers, whose values have about the standard deviation of [`DEVIATION`].
fn blocks(format: BlockFormat, shape: [usize; 2], seed: u64) -> Vec<u8> {
    let [n_rows, width] = shape;
    let n_bytes = n_rows * format.row_bytes(width).unwrap();
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 33
    };
    if format.block_len() == 1 {
        let values = (0..n_rows * width).map(|_| {
            let sum: f32 = (0..4).map(|_| (next() % 2001) as f32 / 1000.0 - 1.0).sum();
            DEVIATION * sum / 1.15
        });
        return match format {
            BlockFormat::F32 => values.flat_map(f32::to_le_bytes).collect(),
            BlockFormat::F16 => values
                .flat_map(|value| f16::from_f32(value).to_le_bytes())
                .collect(),
            _ => values
                .flat_map(|value| bf16::from_f32(value).to_le_bytes())
                .collect(),
        };
    }
    let mut bytes: Vec<u8> = (0..n_bytes).map(|_| next() as u8).collect();
    // Once to see how large the values are, and once to make them as large as they should be.
    let mut scale = 1e-3;
    for _ in 0..2 {
        set_scales(format, &mut bytes, scale);
        let matrix = QuantizedMatrix::new(format, shape, Arc::new(bytes.clone()), 0).unwrap();
        let values = matrix.dequantize_rows(0..n_rows);
        let square: f32 = values.iter().map(|value| value * value).sum();
        scale *= DEVIATION / (square / values.len() as f32).sqrt();
    }
    bytes
}

/// Sets the numbers that all values of a block are multiplied by.
fn set_scales(format: BlockFormat, bytes: &mut [u8], scale: f32) {
    use BlockFormat as F;
    let size = f16::from_f32(scale).to_le_bytes();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let mut set = |at: usize, bytes: [u8; 2]| block[at..at + 2].copy_from_slice(&bytes);
        match format {
            // The smallest value of a block stands behind its scale.
            F::Q4_1 => {
                set(0, size);
                set(2, f16::from_f32(-7.5 * scale).to_le_bytes());
            }
            F::Q5_1 => {
                set(0, size);
                set(2, f16::from_f32(-15.5 * scale).to_le_bytes());
            }
            F::Q2_K => {
                set(80, size);
                set(82, f16::from_f32(1.5 * scale).to_le_bytes());
            }
            F::Q4_K => {
                set(0, size);
                set(2, f16::from_f32(7.5 * scale).to_le_bytes());
            }
            F::Q5_K => {
                set(0, size);
                set(2, f16::from_f32(15.5 * scale).to_le_bytes());
            }
            F::Q3_K => set(108, size),
            F::Q6_K => set(208, size),
            // An exponent.
            F::MXFP4 => block[0] = 127 - 6,
            _ => set(0, size),
        }
    }
}

/// A Llama in GGUF whose matrices take the formats in turn.
fn write_gguf(formats: &[BlockFormat], path: &Path) {
    let tokens: Vec<String> = (0..VOCAB).map(|id| format!("t{id}")).collect();
    let mut builder = GgufBuilder::default()
        .text("general.architecture", "llama")
        .u32("llama.block_count", N_LAYERS as u32)
        .u32("llama.context_length", 128)
        .u32("llama.embedding_length", HIDDEN as u32)
        .u32("llama.feed_forward_length", 2 * HIDDEN as u32)
        .u32("llama.attention.head_count", 4)
        .u32("llama.attention.head_count_kv", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .f32("llama.rope.freq_base", 10_000.0)
        .texts("tokenizer.ggml.tokens", &tokens);
    for (idx, (_, name, shape)) in matrices().into_iter().enumerate() {
        let format = formats[idx % formats.len()];
        let bytes = blocks(format, shape, idx as u64 + 1);
        let name = format!("{name}.weight");
        builder = builder.tensor(&name, &shape, format.ggml_type(), bytes);
    }
    for name in norms().map(|(_, in_file)| in_file) {
        builder = builder.f32_tensor(&name, &[HIDDEN], &norm_weight(&name));
    }
    builder.write(path);
}

/// Norms: names in a checkpoint and in GGUF files.
fn norms() -> impl Iterator<Item = (String, String)> {
    let of_layer = |layer_idx: usize| {
        [
            ("input_layernorm", "attn_norm"),
            ("post_attention_layernorm", "ffn_norm"),
        ]
        .map(|(name, in_file)| {
            (
                format!("model.layers.{layer_idx}.{name}.weight"),
                format!("blk.{layer_idx}.{in_file}.weight"),
            )
        })
    };
    let last = (
        "model.norm.weight".to_owned(),
        "output_norm.weight".to_owned(),
    );
    (0..N_LAYERS).flat_map(of_layer).chain([last])
}

fn norm_weight(name: &str) -> Vec<f32> {
    let seed = name.bytes().map(usize::from).sum::<usize>();
    (0..HIDDEN)
        .map(|idx| 1.0 + ((idx * 31 + seed) % 17) as f32 / 32.0)
        .collect()
}

/// The folder of the values that the blocks stand for.
fn write_dequantised(gguf: &ModelFolder, folder: &Path) {
    let config = json!({
        "model_type": "llama", "vocab_size": VOCAB, "hidden_size": HIDDEN,
        "intermediate_size": 2 * HIDDEN, "num_hidden_layers": N_LAYERS, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0, "tie_word_embeddings": false,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let mut tensors = Vec::new();
    for (name, _, shape) in matrices() {
        let name = format!("{name}.weight");
        let values = matrix(gguf, &name, shape).dequantize_rows(0..shape[0]);
        tensors.push((name, shape.to_vec(), values));
    }
    for (name, in_file) in norms() {
        tensors.push((name, vec![HIDDEN], norm_weight(&in_file)));
    }
    let bytes: Vec<Vec<u8>> = tensors
        .iter()
        .map(|(_, _, values)| {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        })
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
        )
    });
    serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

/// A matrix as it lies in a file, in a checkpoint's order of rows.
fn matrix(gguf: &ModelFolder, name: &str, shape: [usize; 2]) -> QuantizedMatrix {
    let mut weights = gguf.gguf_weights().unwrap();
    weights.matrix(name, shape).unwrap()
}

/// What a model makes of some prompts.
#[derive(Debug, PartialEq)]
struct Seen {
    ids: Vec<Vec<u32>>,
    logits: Vec<Vec<f32>>,
    /// Of the first prompt: layer after layer, token after token.
    norms: Vec<Vec<f32>>,
    active: Vec<Vec<u8>>,
}

fn see(model: &Decoder, prompts: &[Vec<u32>], policy: &mut dyn LayerPolicy) -> Seen {
    let mut recorder = Recorder::new(0);
    let args = GenerateArgs::new(policy)
        .observer(&mut recorder)
        .prompt_logits(PromptLogits::Return);
    let output = generate(model, prompts, &GenerationConfig::greedy(6), args).unwrap();
    let phases = recorder.phases;
    Seen {
        ids: output.rows.into_iter().map(|row| row.ids).collect(),
        logits: output.prompt_logits.unwrap(),
        norms: [phases.prompt.norms, phases.response.norms].concat(),
        active: [phases.prompt.active, phases.response.active].concat(),
    }
}

fn trace() -> Trace {
    Trace::new(GateConfig::new(3.0))
}

fn prompts() -> Vec<Vec<u32>> {
    [19, 7, 12]
        .map(|n: u32| (0..n).map(|idx| (idx * 13 + n) % VOCAB as u32).collect())
        .to_vec()
}

fn load(folder: &ModelFolder, config: LoadConfig) -> Decoder {
    folder.load(config, &Device::flex(), &mut |_| {}).unwrap()
}

/// Root of the mean square difference, as a share of the expected values' root mean square.
fn distance(found: &[f32], expected: &[f32]) -> f32 {
    let square =
        |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>();
    let difference = square(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    (difference / square(&mut expected.iter().copied())).sqrt()
}

/// Every format of blocks, files of several, and blocks beside plain numbers.
fn cases() -> Vec<Vec<BlockFormat>> {
    use BlockFormat::{BF16, F16, F32, Q4_0, Q4_K, Q6_K, Q8_0};
    let formats = BlockFormat::ALL.into_iter();
    let blocks = formats.filter(|format| format.block_len() > 1);
    let mut cases: Vec<_> = blocks.map(|format| vec![format]).collect();
    cases.push(vec![Q4_K, Q6_K, Q4_K]);
    cases.push(vec![F32, BF16, F16, Q8_0, Q4_0]);
    cases
}

#[test]
fn exact_products_are_those_of_the_dequantised_weights() {
    let mut n_void = 0;
    for formats in cases() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("m.gguf");
        write_gguf(&formats, &path);
        let gguf = ModelFolder::open(&path).unwrap();
        write_dequantised(&gguf, folder.path());
        let dense = ModelFolder::open(folder.path()).unwrap();
        let expected = see(&load(&dense, EXACT), &prompts(), &mut trace());
        let flags = expected.active.iter().flatten();
        n_void += flags.filter(|&&is_active| is_active == 0).count();

        let exact = load(&gguf, EXACT);
        let up_proj = &exact.model.layers[0].mlp.dense().unwrap().up_proj.weight;
        assert!(
            up_proj.quantized().is_some(),
            "{formats:?}: weights stay in their blocks"
        );
        // The very bits: the products are the same, and so is all between them.
        assert_eq!(
            see(&exact, &prompts(), &mut trace()),
            expected,
            "{formats:?}"
        );
    }
    assert!(n_void > 0);
}

/// Activations are rounded to within a part in 254 of the largest of 32, so that each product is off by some thousandths.
/// The largest distances seen are 3.2 % of the logits and 0.22 % of the norms.
#[test]
fn fast_products_are_close_to_the_exact_ones() {
    for formats in cases() {
        let folder = TempDir::new().unwrap();
        write_gguf(&formats, &folder.path().join("m.gguf"));
        let gguf = ModelFolder::open(folder.path()).unwrap();
        assert_eq!(gguf.default_load_config().unwrap(), fast());
        let expected = see(&load(&gguf, EXACT), &prompts(), &mut trace());
        let found = see(&load(&gguf, fast()), &prompts(), &mut trace());
        assert_ne!(
            found.logits, expected.logits,
            "{formats:?}: activations are rounded"
        );
        for (found, expected) in found.logits.iter().zip(&expected.logits) {
            let distance = distance(found, expected);
            assert!(distance < 0.04, "{formats:?}: logits differ by {distance}");
        }
        // Of the prompt alone, whose tokens are the same.
        for (found, expected) in found.norms.iter().zip(&expected.norms).take(N_LAYERS) {
            let distance = distance(found, expected);
            assert!(distance < 0.003, "{formats:?}: norms differ by {distance}");
        }
    }
}

#[test]
fn a_token_gives_the_same_bits_in_a_batch_and_alone() {
    use BlockFormat::{Q4_K, Q6_K, Q8_0};
    for config in [EXACT, fast()] {
        let folder = TempDir::new().unwrap();
        write_gguf(&[Q4_K, Q6_K, Q8_0], &folder.path().join("m.gguf"));
        let model = load(&ModelFolder::open(folder.path()).unwrap(), config);
        let together = see(&model, &prompts(), &mut trace());
        for (row, prompt) in prompts().into_iter().enumerate() {
            let alone = see(&model, &[prompt], &mut trace());
            assert_eq!(alone.ids[0], together.ids[row], "{config:?}, row {row}");
            assert_eq!(
                alone.logits[0], together.logits[row],
                "{config:?}, row {row}"
            );
            if row == 0 {
                assert_eq!(alone.norms, together.norms, "{config:?}");
            }
        }
    }
}

#[test]
fn plans_and_speculation_work_on_blocks() {
    let mut demo = Demo::load(&Device::flex());
    let folder = demo
        .folder
        .clone()
        .with_quantization(Some(Quantization::Q4_0));
    for config in [EXACT, fast()] {
        demo.model = load(&folder, config);
        let n_layers = demo.model.config().n_layers;
        let prompts = demo.prompts(3);
        let full = PhasePlan::full(n_layers);
        let mut all_layers = Planned::from_phases(full.clone(), full, SkippedKeys::Fill);
        for prompt in &prompts {
            let prompt = std::slice::from_ref(prompt);
            let [planned, off] = [&mut all_layers as &mut dyn LayerPolicy, &mut Off]
                .map(|policy| see(&demo.model, prompt, policy));
            assert_eq!(
                (planned.ids, planned.logits),
                (off.ids, off.logits),
                "{config:?}"
            );
        }
        let mut decisions = vec![Decision::Run; n_layers];
        decisions[n_layers / 2] = Decision::Skip;
        decisions[n_layers / 3] = Decision::SkipMlp;
        decisions[n_layers - 2] = Decision::SkipAttention;
        let drafting = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(3));
        let mut speculator = Speculator::new(PhasePlan::new(decisions), drafting).unwrap();
        let greedy = GenerationConfig::greedy(24);
        let mut n_accepted = 0;
        for prompt in &prompts {
            let prompt = std::slice::from_ref(prompt);
            let seen = verify_speculation(&demo.model, prompt, &greedy, &mut speculator).unwrap();
            assert_eq!(seen.divergence, None, "{config:?}");
            n_accepted += seen.stats.n_accepted;
        }
        assert!(n_accepted > 0, "{config:?}");
    }
}

#[test]
fn a_folder_is_quantised_while_it_is_loaded() {
    let demo = Demo::load(&Device::flex());
    let own = demo.folder.fingerprint().unwrap();
    for (quantization, layers, types) in [
        (Quantization::Q8_0, BlockFormat::Q8_0, "Q8_0"),
        (Quantization::Q4_0, BlockFormat::Q4_0, "Q4_0+Q8_0"),
    ] {
        let folder = demo.folder.clone().with_quantization(Some(quantization));
        assert_eq!(folder.weights_name(EXACT), format!("{types} as f32"));
        assert_eq!(
            folder.weights_name(fast()),
            format!("{types}, activations in int8")
        );
        assert_eq!(folder.default_load_config().unwrap(), fast());
        let model = load(&folder, EXACT);
        // What is in memory is what the values of the folder are quantised to.
        let mut n_bytes = 0;
        let pairs = model.model.layers.iter().zip(&demo.model.model.layers);
        let layers = pairs.flat_map(|(found, dense)| {
            let (mlp, attention) = (&dense.mlp, &dense.self_attn);
            [
                (
                    &found.self_attn.k_proj.weight,
                    &attention.k_proj.weight,
                    layers,
                ),
                (
                    &found.mlp.dense().unwrap().down_proj.weight,
                    &mlp.dense().unwrap().down_proj.weight,
                    layers,
                ),
            ]
        });
        let embeddings = (
            &model.model.embed_tokens,
            &demo.model.model.embed_tokens,
            quantization.head_format(),
        );
        for (found, dense, format) in layers.chain([embeddings]) {
            let values: Vec<f32> = dense.tensor().unwrap().to_data().try_to_vec().unwrap();
            let expected = QuantizedMatrix::quantize(format, dense.dims(), &values).unwrap();
            let found = &found.quantized().unwrap().matrix;
            assert_eq!((found.format(), found.dims()), (format, dense.dims()));
            assert!(found.bytes() == expected.bytes(), "{quantization:?}");
            n_bytes += found.bytes().len() as u64;
        }
        assert!(n_bytes < folder.loaded_bytes(WeightDtype::F32));
        assert!(
            folder.loaded_bytes(WeightDtype::F32) < demo.folder.loaded_bytes(WeightDtype::Bf16)
        );
        // It is another model, and the same one every time.
        let fingerprint = folder.fingerprint().unwrap();
        assert_eq!(
            fingerprint.weights,
            format!("{} in {}", own.weights, quantization.name())
        );

        // Where blocks cannot be multiplied, their values are.
        let device = Device::flex().autodiff();
        let dense = folder.load(EXACT, &device, &mut |_| {}).unwrap();
        assert!(dense.model.embed_tokens.tensor().is_some());
        let prompt = &demo.prompts(1)[..];
        let [found, expected] = [&dense, &model].map(|model| see(model, prompt, &mut Off));
        assert_eq!(found.ids, expected.ids);
        assert!(distance(&found.logits[0], &expected.logits[0]) < 1e-5);
    }
}

/// Every kind of layer, against the same values in tensors.
#[test]
fn all_that_decoders_differ_in_works_on_blocks() {
    let plain = DecoderConfig::new(VOCAB, 64, 3, 4).with_n_kv_heads(2);
    let biases = ProjectionBias::Present;
    for config in [
        plain.clone().with_activation(Activation::GeluTanh),
        plain.clone().with_projections(ProjectionLayout::Fused),
        plain.clone().with_head(HeadKind::Tied),
        plain
            .clone()
            .with_qkv_bias(biases)
            .with_o_bias(biases)
            .with_mlp_bias(biases),
        // Rows of the last matrix of an MLP that are no whole number of blocks.
        plain.with_intermediate_size(80),
    ] {
        for quantization in Quantization::ALL {
            let [blocks, dense] = [Device::flex(), Device::flex().autodiff()].map(|device| {
                let model = quantized_dummy_model(&config, *quantization, EXACT, &device, 3);
                see(&model.unwrap(), &prompts(), &mut trace())
            });
            for (found, expected) in blocks.logits.iter().zip(&dense.logits) {
                let distance = distance(found, expected);
                assert!(distance < 1e-5, "{config:?}, {quantization:?}: {distance}");
            }
            assert_eq!(blocks.ids, dense.ids, "{config:?}, {quantization:?}");
        }
    }
}
