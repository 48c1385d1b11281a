//! Models in GGUF against the folders that they would be converted from.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor};
use half::{bf16, f16};
use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};
use lac_models::{ModelFolder, WeightDtype};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::Value;
use tempfile::TempDir;

use crate::gguf_builder::{GgufBuilder, small_llama};
use crate::parity::fixture;

/// A checkpoint's tensors, by name.
pub type Tensors = BTreeMap<String, Stored>;

/// A tensor with its type, shape and bytes in the checkpoint, and its values.
pub struct Stored {
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
    pub values: Vec<f32>,
}

pub fn config(folder: &Path) -> Value {
    let text = fs::read_to_string(folder.join("config.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

pub fn tensors(folder: &Path) -> Tensors {
    let mut tensors = Tensors::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "safetensors") {
            continue;
        }
        let bytes = fs::read(path).unwrap();
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let (dtype, bytes) = (view.dtype(), view.data().to_vec());
            let values = match dtype {
                Dtype::F32 => numbers(&bytes, f32::from_le_bytes),
                Dtype::F16 => numbers(&bytes, |bytes| f16::from_le_bytes(bytes).to_f32()),
                Dtype::BF16 => numbers(&bytes, |bytes| bf16::from_le_bytes(bytes).to_f32()),
                other => panic!("{other:?}"),
            };
            let shape = view.shape().to_vec();
            tensors.insert(
                name,
                Stored {
                    dtype,
                    shape,
                    bytes,
                    values,
                },
            );
        }
    }
    tensors
}

fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    let (numbers, _) = bytes.as_chunks();
    numbers.iter().map(|&bytes| number(bytes)).collect()
}

/// The converter's names, written down once more.
fn gguf_name(name: &str) -> String {
    let name = name.strip_prefix("model.").unwrap_or(name);
    if name == "norm.weight" {
        return "output_norm.weight".to_owned();
    }
    [
        ("embed_tokens", "token_embd"),
        ("lm_head", "output"),
        ("layers", "blk"),
        ("input_layernorm", "attn_norm"),
        ("post_attention_layernorm", "ffn_norm"),
        ("self_attn.q_proj", "attn_q"),
        ("self_attn.k_proj", "attn_k"),
        ("self_attn.v_proj", "attn_v"),
        ("self_attn.o_proj", "attn_output"),
        ("mlp.gate_proj", "ffn_gate"),
        ("mlp.up_proj", "ffn_up"),
        ("mlp.down_proj", "ffn_down"),
    ]
    .iter()
    .fold(name.to_owned(), |name, (from, to)| name.replace(from, to))
}

/// The converter's order of the rows of q and k: in each head, the halves take turns.
pub fn in_pairs<T: Copy>(values: &[T], n_rows: usize, head_dim: usize) -> Vec<T> {
    let row_len = values.len() / n_rows;
    let rows = (0..n_rows).map(|row| {
        let (head, place) = (row / head_dim, row % head_dim);
        head * head_dim + place % 2 * (head_dim / 2) + place / 2
    });
    rows.flat_map(|row| values[row * row_len..][..row_len].to_vec())
        .collect()
}

/// Writes a fixture as the converter would, with its matrices in a format of blocks if there is one.
fn write_gguf(name: &str, path: &Path, format: Option<BlockFormat>) {
    let config = config(&fixture(name));
    let size = |field: &str| config[field].as_u64().unwrap() as u32;
    let is_llama = config["model_type"] != "qwen2";
    let family = if is_llama { "llama" } else { "qwen2" };
    let key = |name: &str| format!("{family}.{name}");
    let tokens: Vec<String> = (0..size("vocab_size")).map(|id| format!("t{id}")).collect();
    let mut builder = GgufBuilder::default()
        .text("general.architecture", family)
        .u32(&key("block_count"), size("num_hidden_layers"))
        .u32(&key("context_length"), size("max_position_embeddings"))
        .u32(&key("embedding_length"), size("hidden_size"))
        .u32(&key("feed_forward_length"), size("intermediate_size"))
        .u32(&key("attention.head_count"), size("num_attention_heads"))
        .u32(&key("attention.head_count_kv"), size("num_key_value_heads"))
        .f32(
            &key("rope.freq_base"),
            config["rope_theta"].as_f64().unwrap() as f32,
        )
        .f32(
            &key("attention.layer_norm_rms_epsilon"),
            config["rms_norm_eps"].as_f64().unwrap() as f32,
        )
        .texts("tokenizer.ggml.tokens", &tokens);
    let quotient = size("hidden_size") / size("num_attention_heads");
    let head_dim = config["head_dim"]
        .as_u64()
        .map_or(quotient, |size| size as u32);
    if head_dim != quotient {
        builder = builder
            .u32(&key("attention.key_length"), head_dim)
            .u32(&key("attention.value_length"), head_dim)
            .u32(&key("rope.dimension_count"), head_dim);
    }
    let head_dim = head_dim as usize;
    if let Some(factor) = config["rope_scaling"]["factor"].as_f64() {
        builder = match config["rope_scaling"]["rope_type"].as_str() {
            Some("llama3") => builder.f32_tensor(
                "rope_freqs.weight",
                &[head_dim / 2],
                &llama3_factors(&config, head_dim),
            ),
            _ => builder
                .text(&key("rope.scaling.type"), "linear")
                .f32(&key("rope.scaling.factor"), factor as f32),
        };
    }
    for (name, stored) in tensors(&fixture(name)) {
        let Stored {
            dtype,
            shape,
            mut bytes,
            mut values,
        } = stored;
        if is_llama && (name.contains("q_proj") || name.contains("k_proj")) {
            bytes = in_pairs(&bytes, shape[0], head_dim);
            values = in_pairs(&values, shape[0], head_dim);
        }
        let name = gguf_name(&name);
        builder = match (format, shape[..].try_into(), dtype) {
            (Some(format), Ok(shape), _) => {
                let matrix = QuantizedMatrix::quantize(format, shape, &values).unwrap();
                builder.tensor(&name, &shape, format.ggml_type(), matrix.bytes().to_vec())
            }
            (_, Ok(shape), Dtype::F16) => builder.tensor(&name, &shape, 1, bytes),
            (_, Ok(shape), Dtype::BF16) => builder.tensor(&name, &shape, 30, bytes),
            // The converter writes vectors in f32.
            _ => builder.f32_tensor(&name, &shape, &values),
        };
    }
    builder.write(path);
}

fn llama3_factors(config: &Value, head_dim: usize) -> Vec<f32> {
    let number = |field: &str| config["rope_scaling"][field].as_f64().unwrap() as f32;
    let (factor, low, high) = (
        number("factor"),
        number("low_freq_factor"),
        number("high_freq_factor"),
    );
    let context = number("original_max_position_embeddings");
    let theta = config["rope_theta"].as_f64().unwrap() as f32;
    (0..head_dim / 2)
        .map(|pair| {
            let wavelength =
                std::f32::consts::TAU * theta.powf(2.0 * pair as f32 / head_dim as f32);
            let share = ((context / wavelength - low) / (high - low)).clamp(0.0, 1.0);
            1.0 / ((1.0 - share) / factor + share)
        })
        .collect()
}

fn logits(folder: &ModelFolder, dtype: WeightDtype) -> Vec<f32> {
    let device = Device::flex();
    let model = folder.load(dtype, &device, &mut |_| {}).unwrap();
    let ids: Vec<i32> = (0..40).map(|idx| idx * 7 % 61).collect();
    let ids = Tensor::<1, Int>::from_data(&ids[..], &device).reshape([1, 40]);
    let data = model.forward(ids).into_data().convert::<f32>();
    data.try_into_vec().unwrap()
}

#[test]
fn a_model_is_the_one_of_its_folder() {
    for (name, tolerance) in [
        ("llama", 0.0),
        ("llama-f16", 0.0),
        ("llama-linear", 0.0),
        // The factors of the wavelengths are rounded to f32 in the file.
        ("llama3-scaled", 1e-4),
        ("mistral-full", 0.0),
        ("qwen2", 0.0),
    ] {
        let converted = TempDir::new().unwrap();
        write_gguf(name, &converted.path().join("m.gguf"), None);
        let folder = ModelFolder::open(fixture(name)).unwrap();
        let gguf = ModelFolder::open(converted.path()).unwrap();
        let (expected, actual) = (&folder.config().decoder, &gguf.config().decoder);
        if tolerance == 0.0 {
            assert_eq!(actual, expected, "{name}");
        }
        let expected = logits(&folder, WeightDtype::F32);
        let actual = logits(&gguf, WeightDtype::F32);
        assert_eq!(actual.len(), expected.len());
        for (idx, (a, e)) in actual.iter().zip(&expected).enumerate() {
            assert!((a - e).abs() <= tolerance, "{name}, {idx}: {a} against {e}");
        }
        // A hash that was taken while loading is that of the files.
        let again = ModelFolder::open(converted.path()).unwrap();
        assert_eq!(again.fingerprint().unwrap(), gguf.fingerprint().unwrap());
    }
}

#[test]
fn quantised_weights_are_loaded_as_what_they_stand_for() {
    for format in [BlockFormat::Q8_0, BlockFormat::Q4_0] {
        let converted = TempDir::new().unwrap();
        let path = converted.path().join("m.gguf");
        write_gguf("llama", &path, Some(format));
        let gguf = ModelFolder::open(&path).unwrap();
        let summary = gguf.weights_summary().unwrap();
        assert_eq!(summary.types[format.name()], 2 + 8 * 7);
        assert_eq!(summary.types_text(), format!("{format} 58, F32 17"));

        // The folder of the values that the blocks stand for. Rows are quantised one by one, so their order is all the
        // same.
        let folder = TempDir::new().unwrap();
        fs::copy(
            fixture("llama").join("config.json"),
            folder.path().join("config.json"),
        )
        .unwrap();
        let mut dequantised = Vec::new();
        for (name, Stored { shape, values, .. }) in tensors(&fixture("llama")) {
            let values = match shape[..].try_into() {
                Ok(shape) => {
                    let matrix = QuantizedMatrix::quantize(format, shape, &values).unwrap();
                    matrix.dequantize_rows(0..shape[0])
                }
                Err(_) => values,
            };
            let bytes: Vec<u8> = values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect();
            dequantised.push((name, shape, bytes));
        }
        let views = dequantised.iter().map(|(name, shape, bytes)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        serialize_to_file(views, None, &folder.path().join("model.safetensors")).unwrap();
        let folder = ModelFolder::open(folder.path()).unwrap();
        check_matrices(&gguf, &dequantised);
        for dtype in [WeightDtype::F32, WeightDtype::Bf16] {
            assert_eq!(
                logits(&gguf, dtype),
                logits(&folder, dtype),
                "{format}, {dtype:?}"
            );
        }
    }
}

/// Reads matrices as they are quantised: their values are those of the folder, with the rows in its order.
fn check_matrices(gguf: &ModelFolder, folder: &[(String, Vec<usize>, Vec<u8>)]) {
    let mut weights = gguf.gguf_weights().unwrap();
    for (name, shape, bytes) in folder {
        let Ok(shape) = shape[..].try_into() else {
            continue;
        };
        let matrix = weights.quantized(name, shape).unwrap().unwrap();
        let (values, _) = bytes.as_chunks();
        let values: Vec<f32> = values
            .iter()
            .map(|&value| f32::from_le_bytes(value))
            .collect();
        assert_eq!(matrix.dequantize_rows(0..shape[0]), values, "{name}");
    }
    let error = weights.quantized("lm_head.weight", [96, 64]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("output.weight has the shape [96, 32]"),
        "{error}"
    );
}

#[test]
fn every_type_of_blocks_is_read() {
    let (width, name) = (256, "blk.0.ffn_up.weight");
    for format in BlockFormat::ALL
        .into_iter()
        .filter(|format| format.block_len() > 1)
    {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("m.gguf");
        // Bytes below 0x60 make finite scales in every format.
        let n_bytes = width * format.row_bytes(width).unwrap();
        let bytes: Vec<u8> = (0..n_bytes).map(|idx| (idx * 7 % 0x60) as u8).collect();
        let mut builder = small_llama()
            .u32("llama.embedding_length", width as u32)
            .u32("llama.feed_forward_length", width as u32)
            .u32("llama.attention.head_count_kv", 4);
        for tensor in &mut builder.tensors {
            let is_matrix = tensor.shape.len() == 2;
            let n_rows = if tensor.name == "token_embd.weight" {
                16
            } else {
                width
            };
            tensor.shape = vec![n_rows as u64, width as u64];
            if !is_matrix {
                tensor.shape = vec![width as u64];
            }
            let n_values = tensor.shape.iter().product::<u64>() as usize;
            tensor.bytes = 0.125f32.to_le_bytes().repeat(n_values);
        }
        builder
            .entry(name, |entry| {
                entry.ggml_type = format.ggml_type();
                entry.bytes = bytes.clone();
            })
            .write(&path);
        let gguf = ModelFolder::open(&path).unwrap();
        assert_eq!(gguf.weights_summary().unwrap().types[format.name()], 1);
        assert_eq!(
            gguf.weights_name(WeightDtype::Bf16),
            format!("{format} as bf16")
        );
        let mut weights = gguf.gguf_weights().unwrap();
        let matrix = weights.quantized("model.layers.0.mlp.up_proj.weight", [width, width]);
        let matrix = matrix.unwrap().unwrap();
        assert_eq!((matrix.format(), matrix.bytes()), (format, &bytes[..]));
        let loaded = gguf
            .load(WeightDtype::F32, &Device::flex(), &mut |_| {})
            .unwrap();
        let loaded = loaded.model.layers[0].mlp.dense().unwrap();
        let loaded = loaded.up_proj.weight.quantized().unwrap();
        let loaded = &loaded.matrix;
        assert_eq!((loaded.format(), loaded.bytes()), (format, &bytes[..]));
    }
}

#[test]
fn another_weight_is_another_model() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("m.gguf");
    let fingerprint = |change: &dyn Fn(GgufBuilder) -> GgufBuilder| {
        change(small_llama()).write(&path);
        ModelFolder::open(&path).unwrap().fingerprint().unwrap()
    };
    let good = fingerprint(&|builder| builder);
    assert_eq!(good.architecture, "llama");
    assert_eq!((good.n_layers, good.vocab_size), (1, 16));
    assert_eq!(good.stop_tokens, [1]);
    // Names, licences and padding decide nothing.
    let named = fingerprint(&|builder| {
        builder
            .text("general.name", "A")
            .u32("tokenizer.ggml.padding_token_id", 3)
    });
    assert_eq!(good, named);
    let change = |name: &str, at: usize| {
        fingerprint(&|builder| builder.entry(name, |entry| entry.bytes[at] ^= 1))
    };
    assert_ne!(good.weights, change("blk.0.ffn_up.weight", 4095).weights);
    assert_ne!(good.weights, change("blk.0.attn_norm.weight", 0).weights);
    let base = fingerprint(&|builder| builder.f32("llama.rope.freq_base", 500.0));
    assert_ne!(good.config, base.config);
    let words = fingerprint(&|builder| builder.text("tokenizer.ggml.pre", "llama-bpe"));
    assert_ne!(good.tokenizer, words.tokenizer);
    let template = fingerprint(&|builder| builder.text("tokenizer.chat_template", "x"));
    assert!(good.chat_template.is_none() && template.chat_template.is_some());
    let end = fingerprint(&|builder| builder.u32("tokenizer.ggml.eot_token_id", 4));
    assert_eq!(end.stop_tokens, [1, 4]);
}
