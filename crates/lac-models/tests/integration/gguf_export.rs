//! Models written as GGUF files, and read again.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor};
use lac_kernels::quantized::QuantizedMatrix;
use lac_models::gguf::{BlockFormat, Gguf, MetadataValue};
use lac_models::{AddSpecialTokens, ModelFolder, Tokenizer, WeightDtype};
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::demo::Demo;
use crate::parity::fixture;

fn write(folder: &ModelFolder, format: BlockFormat, out: &Path) {
    let mut n_read = Vec::new();
    let summary = folder.write_gguf(format, out, &mut |progress| n_read.push(progress));
    let summary = summary.unwrap();
    assert_eq!(summary.n_bytes, fs::metadata(out).unwrap().len());
    let n_tensors: usize = summary.formats.iter().map(|(_, n_tensors)| n_tensors).sum();
    assert_eq!(n_tensors, n_read.len());
    assert!(n_read.is_sorted_by_key(|progress| progress.bytes_read));
}

fn logits(folder: &ModelFolder) -> Vec<f32> {
    let device = Device::flex();
    let model = folder.load(WeightDtype::F32, &device, &mut |_| {}).unwrap();
    let ids: Vec<i32> = (0..40).map(|idx| idx * 7 % 61).collect();
    let ids = Tensor::<1, Int>::from_data(&ids[..], &device).reshape([1, 40]);
    model.forward(ids).into_data().try_into_vec().unwrap()
}

#[test]
fn a_written_model_computes_what_its_folder_does() {
    use BlockFormat::{BF16, F16, F32};
    for (name, format, tolerance) in [
        ("llama", F32, 0.0),
        ("llama-linear", F32, 0.0),
        ("mistral-full", F32, 0.0),
        ("mistral-window", F32, 0.0),
        ("qwen2", BF16, 0.0),
        ("llama-f16", F16, 0.0),
        // The factors of the wavelengths are rounded to f32 in the file.
        ("llama3-scaled", F32, 1e-4),
    ] {
        let folder = ModelFolder::open(fixture(name)).unwrap();
        let out = TempDir::new().unwrap();
        let path = out.path().join("m.gguf");
        write(&folder, format, &path);
        let gguf = ModelFolder::open(&path).unwrap();
        if tolerance == 0.0 {
            assert_eq!(gguf.config().decoder, folder.config().decoder, "{name}");
        }
        let (actual, expected) = (logits(&gguf), logits(&folder));
        for (idx, (a, e)) in actual.iter().zip(&expected).enumerate() {
            assert!((a - e).abs() <= tolerance, "{name}, {idx}: {a} against {e}");
        }
    }
}

/// The families of one fixture each: read again, they are the same models.
#[test]
fn written_families_compute_what_their_folders_do() {
    for (name, change) in [
        ("qwen3", Value::Null),
        // What files say of the scale of queries is the width of a head.
        ("gemma2", json!({"query_pre_attn_scalar": 8})),
        ("gemma3", json!({"query_pre_attn_scalar": 8})),
        ("phi3", Value::Null),
        ("phi3-longrope", Value::Null),
        ("olmo2", Value::Null),
        // llama.cpp has an attention factor of its own beside yarn, which is yarn's default.
        (
            "olmo3",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}),
        ),
        (
            "smollm3",
            json!({"no_rope_layers": null, "no_rope_layer_interval": 4}),
        ),
        ("granite", Value::Null),
        (
            "llama-yarn",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}),
        ),
    ] {
        let out = TempDir::new().unwrap();
        let folder = out.path().join("folder");
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(family(name)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
        let path = folder.join("config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        for (field, value) in change.as_object().into_iter().flatten() {
            config[field] = value.clone();
        }
        fs::write(&path, config.to_string()).unwrap();
        let folder = ModelFolder::open(&folder).unwrap();
        let path = out.path().join("m.gguf");
        write(&folder, BlockFormat::F32, &path);
        let gguf = ModelFolder::open(&path).unwrap();
        let (actual, expected) = (logits(&gguf), logits(&folder));
        // Numbers of the configuration are f32 in the file, and the weights of Gemma's norms stand there plus 1.
        for (idx, (a, e)) in actual.iter().zip(&expected).enumerate() {
            assert!((a - e).abs() <= 2e-5, "{name}, {idx}: {a} against {e}");
        }
    }
}

fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/families")
        .join(name)
}

#[test]
fn matrices_are_quantised_as_the_reference_does() {
    let demo = Demo::load(&Device::flex());
    let out = TempDir::new().unwrap();
    let exact = out.path().join("f32.gguf");
    write(&demo.folder, BlockFormat::F32, &exact);
    let exact = ModelFolder::open(&exact).unwrap();
    for format in [BlockFormat::Q8_0, BlockFormat::Q4_0] {
        // From the folder, and from a GGUF file whose weights are not quantised.
        let paths = [out.path().join("a.gguf"), out.path().join("b.gguf")];
        write(&demo.folder, format, &paths[0]);
        write(&exact, format, &paths[1]);
        for path in &paths {
            let written = Gguf::open(path).unwrap();
            let config = &demo.folder.config().decoder;
            let width = config.hidden_size;
            let head = written.tensor("output.weight");
            let head = head.unwrap_or_else(|| written.tensor("token_embd.weight").unwrap());
            assert_eq!(head.format, BlockFormat::Q8_0);
            let norm = written.tensor("blk.0.attn_norm.weight").unwrap();
            assert_eq!(norm.format, BlockFormat::F32);
            let gguf = ModelFolder::open(path).unwrap();
            let mut weights = gguf.gguf_weights().unwrap();
            for name in ["self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"] {
                let name = format!("model.layers.1.{name}.weight");
                let n_rows = match &name {
                    name if name.contains("up_proj") => config.intermediate_size,
                    name if name.contains("v_proj") => config.n_kv_heads * config.head_dim,
                    _ => config.n_heads * config.head_dim,
                };
                let shape = [n_rows, width];
                let values = f32_matrix(&demo.folder, &name);
                let expected = QuantizedMatrix::quantize(format, shape, &values).unwrap();
                let actual = weights.quantized(&name, shape).unwrap().unwrap();
                assert!(actual.bytes() == expected.bytes(), "{name} in {format}");
            }
        }
        assert!(fs::read(&paths[0]).unwrap().len() == fs::read(&paths[1]).unwrap().len());
    }
}

/// A matrix of a folder with one safetensors file.
fn f32_matrix(folder: &ModelFolder, name: &str) -> Vec<f32> {
    let bytes = fs::read(folder.path().join("model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    let data = tensor.data();
    match tensor.dtype() {
        Dtype::BF16 => {
            let (values, _) = data.as_chunks();
            let values = values.iter();
            values
                .map(|&bytes| half::bf16::from_le_bytes(bytes).to_f32())
                .collect()
        }
        Dtype::F16 => {
            let (values, _) = data.as_chunks();
            let values = values.iter();
            values
                .map(|&bytes| half::f16::from_le_bytes(bytes).to_f32())
                .collect()
        }
        _ => {
            let (values, _) = data.as_chunks();
            values
                .iter()
                .map(|&bytes| f32::from_le_bytes(bytes))
                .collect()
        }
    }
}

#[test]
fn an_embedded_model_keeps_its_texts() {
    let demo = Demo::load(&Device::flex());
    let out = TempDir::new().unwrap();
    let path = out.path().join("m.gguf");
    write(&demo.folder, BlockFormat::F32, &path);
    let gguf = ModelFolder::open(&path).unwrap();
    let tokenizer = gguf.tokenizer().unwrap();
    for prompt in demo.prompts(20) {
        let text = demo
            .tokenizer
            .decode(&prompt, lac_models::DecodedSpecialTokens::Keep)
            .unwrap();
        let ids = |tokenizer: &Tokenizer| tokenizer.encode(&text, AddSpecialTokens::Once).unwrap();
        assert_eq!(ids(&tokenizer), ids(&demo.tokenizer), "{text:?}");
    }
    assert_eq!(tokenizer.bos_id(), demo.tokenizer.bos_id());
    assert_eq!(tokenizer.eos_id(), demo.tokenizer.eos_id());
    assert!(
        demo.tokenizer
            .stop_ids()
            .iter()
            .all(|id| tokenizer.stop_ids().contains(id))
    );
    assert_eq!(logits(&gguf), logits(&demo.folder));
}

/// Makes a folder of a chat fixture's tokenizer and a model of one layer.
fn folder_of_tokenizer(name: &str, n_rows: usize, folder: &Path) {
    for file in [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    ] {
        let place = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/chat")
            .join(name);
        if !place.join(file).exists() {
            continue;
        }
        fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/fixtures/chat")
                .join(name)
                .join(file),
            folder.join(file),
        )
        .unwrap();
    }
    let config = json!({
        "model_type": "llama", "vocab_size": n_rows, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "tie_word_embeddings": true, "max_position_embeddings": 64,
    });
    fs::write(folder.join("config.json"), config.to_string()).unwrap();
    let zeros = vec![0; n_rows * 8 * 4];
    let shapes: [(&str, Vec<usize>); 11] = [
        ("model.embed_tokens", vec![n_rows, 8]),
        ("model.norm", vec![8]),
        ("model.layers.0.input_layernorm", vec![8]),
        ("model.layers.0.post_attention_layernorm", vec![8]),
        ("model.layers.0.self_attn.q_proj", vec![8, 8]),
        ("model.layers.0.self_attn.k_proj", vec![4, 8]),
        ("model.layers.0.self_attn.v_proj", vec![4, 8]),
        ("model.layers.0.self_attn.o_proj", vec![8, 8]),
        ("model.layers.0.mlp.gate_proj", vec![8, 8]),
        ("model.layers.0.mlp.up_proj", vec![8, 8]),
        ("model.layers.0.mlp.down_proj", vec![8, 8]),
    ];
    let views = shapes.map(|(name, shape)| {
        let n_bytes = shape.iter().product::<usize>() * 4;
        let view = TensorView::new(Dtype::F32, shape, &zeros[..n_bytes]).unwrap();
        (format!("{name}.weight"), view)
    });
    serialize_to_file(views, None, &folder.join("model.safetensors")).unwrap();
}

/// Gives a SentencePiece tokenizer every merge that follows from its pieces, as converters do: the fixture was trained
/// with one merge for each piece.
fn complete_merges(folder: &Path) {
    let path = folder.join("tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let model = &mut json["model"];
    let pair = |merge: &Value| {
        let (left, right) = match merge.as_str() {
            Some(merge) => merge.split_once(' ').unwrap(),
            None => (merge[0].as_str().unwrap(), merge[1].as_str().unwrap()),
        };
        [left.to_owned(), right.to_owned()]
    };
    let trained: Vec<[String; 2]> = model["merges"]
        .as_array()
        .unwrap()
        .iter()
        .map(pair)
        .collect();
    let mut merges: Vec<[String; 2]> = Vec::new();
    for trained in trained {
        let piece = trained.concat();
        let is_piece = |part: &str| model["vocab"].get(part).is_some();
        let splits = piece
            .char_indices()
            .skip(1)
            .map(|(at, _)| piece.split_at(at));
        let mut pairs: Vec<[String; 2]> = splits
            .filter(|(left, right)| is_piece(left) && is_piece(right))
            .map(|(left, right)| [left.to_owned(), right.to_owned()])
            .collect();
        // Not the order in which a reader finds them.
        pairs.sort_by_key(|[left, _]| left.chars().count());
        merges.extend(pairs);
    }
    model["merges"] = json!(merges);
    fs::write(&path, json.to_string()).unwrap();
}

#[test]
fn written_tokenizers_give_the_same_ids() {
    // One more row than tokens: a token that no text has.
    for (name, n_rows, pre) in [
        ("qwen", 422, "qwen2"),
        ("llama3", 423, "llama-bpe"),
        ("mistral", 437, "default"),
    ] {
        let folder = TempDir::new().unwrap();
        folder_of_tokenizer(name, n_rows, folder.path());
        let path = folder.path().join("m.gguf");
        if name == "mistral" {
            complete_merges(folder.path());
        }
        let folder = ModelFolder::open(folder.path()).unwrap();
        write(&folder, BlockFormat::F32, &path);
        let gguf = Gguf::open(&path).unwrap();
        let expected = MetadataValue::Text(pre.to_owned());
        assert_eq!(gguf.metadata().get("tokenizer.ggml.pre"), Some(&expected));
        let (own, read) = (
            folder.tokenizer().unwrap(),
            ModelFolder::tokenizer_of(&path).unwrap(),
        );
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fixtures/chat")
            .join(name);
        let texts = fs::read_to_string(fixture.join("plain.json")).unwrap();
        let texts: Vec<Value> = serde_json::from_str(&texts).unwrap();
        let mut n_texts = 0;
        for text in texts.iter().map(|case| case["text"].as_str().unwrap()) {
            // A GGUF file's SentencePiece puts a space before every text and behind special tokens, this folder's before
            // texts without one.
            if name == "mistral" && (text.starts_with(' ') || text.contains("<s>")) {
                continue;
            }
            for special in [AddSpecialTokens::Once, AddSpecialTokens::Never] {
                let ids = read.encode(text, special).unwrap();
                assert_eq!(ids, own.encode(text, special).unwrap(), "{name}: {text:?}");
            }
            n_texts += 1;
        }
        assert!(n_texts > 5);
        assert_eq!(read.vocab_size(), n_rows);
        assert_eq!(read.has_chat_template(), own.has_chat_template());
        if !own.has_chat_template() {
            continue;
        }
        let message = lac_models::ChatMessage::new("user", "Hello");
        let render = |tokenizer: &Tokenizer| {
            tokenizer
                .render_chat(std::slice::from_ref(&message), &Default::default())
                .unwrap()
        };
        assert_eq!(render(&read), render(&own), "{name}");
    }
}

#[test]
fn what_cannot_be_written_is_said() {
    let out = TempDir::new().unwrap();
    let path = out.path().join("m.gguf");
    let check = |folder: &ModelFolder, format, path: &Path, expected: &str| {
        let error = folder.write_gguf(format, path, &mut |_| {}).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
        assert!(!path.exists());
    };
    let llama = ModelFolder::open(fixture("llama")).unwrap();
    check(
        &llama,
        BlockFormat::Q4_K,
        &path,
        "expected one of F32, F16, BF16, Q8_0, Q4_0",
    );
    check(
        &llama,
        BlockFormat::F32,
        &out.path().join("no/m.gguf"),
        "cannot write",
    );
    for (name, expected) in [
        (
            "mixtral",
            "models of the family mixtral are not written as GGUF",
        ),
        (
            "ministral",
            "models of the family ministral are not written",
        ),
        (
            "qwen3-window",
            "windows in some of its layers are not written",
        ),
        ("llama-yarn", "yarn with beta_fast 32 and beta_slow 0.05"),
        ("llama-dynamic", "expected none, linear, llama3, yarn"),
        ("gemma2", "query_pre_attn_scalar 6.000000 is not written"),
        (
            "smollm3-window",
            "another choice of layers without rotary positions",
        ),
    ] {
        let folder = ModelFolder::open(family(name)).unwrap();
        check(&folder, BlockFormat::F32, &path, expected);
    }
    let quantised = out.path().join("q.gguf");
    write(&llama, BlockFormat::Q8_0, &quantised);
    let quantised = ModelFolder::open(&quantised).unwrap();
    check(
        &quantised,
        BlockFormat::Q4_0,
        &path,
        "quantised already, in Q8_0",
    );
    let merges = TempDir::new().unwrap();
    folder_of_tokenizer("mistral", 436, merges.path());
    let merges = ModelFolder::open(merges.path()).unwrap();
    check(
        &merges,
        BlockFormat::F32,
        &path,
        "merges do not follow from scores",
    );
    // More tokens than rows.
    let folder = TempDir::new().unwrap();
    folder_of_tokenizer("qwen", 100, folder.path());
    let folder = ModelFolder::open(folder.path()).unwrap();
    check(
        &folder,
        BlockFormat::F32,
        &path,
        "has no row in the embedding, which has 100",
    );
}
