//! What a model is recognised by: everything that decides its results, and nothing else.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Device, Int, Tensor, TensorData};
use lac_core::plan::{FingerprintPart, ModelFingerprint};
use lac_models::{ModelFolder, WeightDtype};
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize};
use tempfile::TempDir;

use crate::parity::fixture;

const WEIGHTS: &str = "model.safetensors";

/// A tensor of a file: its data type, its shape and its bytes.
pub(crate) type Stored = (Dtype, Vec<usize>, Vec<u8>);

/// A folder with a configuration and weights, and with a tokenizer and a chat template of another fixture.
fn model() -> TempDir {
    model_of("llama")
}

pub(crate) fn model_of(name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for from in [fixture(name), fixture(name).join("../../chat/qwen")] {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    folder
}

/// The fingerprint that a load leaves, which has to be the one that is read without it.
pub(crate) fn fingerprint(folder: &Path) -> ModelFingerprint {
    let read = ModelFolder::open(folder).unwrap().fingerprint().unwrap();
    for dtype in [WeightDtype::F32, WeightDtype::Bf16] {
        let opened = ModelFolder::open(folder).unwrap();
        opened.load(dtype, &Device::flex(), &mut |_| {}).unwrap();
        assert_eq!(opened.fingerprint().unwrap(), read);
    }
    read
}

pub(crate) fn tensors(path: &Path) -> BTreeMap<String, Stored> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| {
            let stored = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name, stored)
        })
        .collect()
}

pub(crate) fn write(path: &Path, tensors: &BTreeMap<String, Stored>) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    fs::write(path, serialize(views, None).unwrap()).unwrap();
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

/// The parts that a change of a folder's files changes.
fn changed_parts(change: impl FnOnce(&Path)) -> Vec<FingerprintPart> {
    let folder = model();
    let before = fingerprint(folder.path());
    change(folder.path());
    let differences = before.differences(&fingerprint(folder.path()));
    differences
        .iter()
        .map(|difference| difference.part)
        .collect()
}

#[test]
fn whichever_tensor_is_zeroed_the_weights_are_others() {
    // The first has a head of its own, the second biases everywhere.
    for (fixture, n_tensors) in [("llama", 8 * 9 + 3), ("llama3-scaled", 7 * 16 + 2)] {
        let folder = model_of(fixture);
        let path = folder.path().join(WEIGHTS);
        let before = fingerprint(folder.path());
        let whole = tensors(&path);
        assert_eq!(whole.len(), n_tensors);
        for name in whole.keys() {
            let mut edited = whole.clone();
            edited.get_mut(name).unwrap().2.fill(0);
            write(&path, &edited);
            let after = fingerprint(folder.path());
            let differences = before.differences(&after);
            assert_eq!(differences.len(), 1, "{name}");
            assert_eq!(differences[0].part, FingerprintPart::Weights, "{name}");
        }
        write(&path, &whole);
        assert_eq!(fingerprint(folder.path()), before);
    }
}

/// The logits of a text.
pub(crate) fn logits(folder: &Path) -> TensorData {
    let device = Device::flex();
    let folder = ModelFolder::open(folder).unwrap();
    let model = folder.load(WeightDtype::F32, &device, &mut |_| {}).unwrap();
    let token_ids = Tensor::<2, Int>::from_data([[3, 1, 4, 1, 5]], &device);
    model.forward(token_ids).into_data()
}

/// A head that is stored beside the embedding decides nothing where the configuration ties the two, and everything
/// where it does not.
#[test]
fn a_stored_head_counts_where_the_configuration_unties_it() {
    const HEAD: &str = "lm_head.weight";
    let folder = model_of("llama3-scaled");
    let (path, config) = (
        folder.path().join(WEIGHTS),
        folder.path().join("config.json"),
    );
    let tied = (logits(folder.path()), fingerprint(folder.path()));
    let mut weights = tensors(&path);
    assert!(!weights.contains_key(HEAD));
    let mut head = weights["model.embed_tokens.weight"].clone();
    head.2.rotate_left(4);
    weights.insert(HEAD.to_owned(), head);
    write(&path, &weights);
    assert_eq!((logits(folder.path()), fingerprint(folder.path())), tied);

    edit(
        &config,
        r#""tie_word_embeddings": true"#,
        r#""tie_word_embeddings": false"#,
    );
    let untied = (logits(folder.path()), fingerprint(folder.path()));
    assert_ne!(untied.0, tied.0);
    assert_ne!(untied.1.weights, tied.1.weights);

    weights.get_mut(HEAD).unwrap().2.fill(0);
    write(&path, &weights);
    assert!(
        logits(folder.path())
            .iter::<f32>()
            .all(|logit| logit == 0.0)
    );
    assert_ne!(fingerprint(folder.path()).weights, untied.1.weights);

    weights.remove(HEAD);
    write(&path, &weights);
    let folder = ModelFolder::open(folder.path()).unwrap();
    let loaded = folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {});
    let error = loaded.unwrap_err().to_string();
    assert!(error.contains(HEAD), "{error}");
}

/// A tensor that two threads read in pieces, with a last piece that is not full.
#[test]
fn every_byte_of_a_large_tensor_counts() {
    let folder = TempDir::new().unwrap();
    let config = r#"{"model_type": "llama", "vocab_size": 40000, "hidden_size": 16,
        "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "tie_word_embeddings": true}"#;
    fs::write(folder.path().join("config.json"), config).unwrap();
    let path = folder.path().join(WEIGHTS);
    let tensor = |shape: &[usize]| {
        let n_bytes = shape.iter().product::<usize>() * 4;
        let bytes = (0..n_bytes / 4).flat_map(|idx| (idx as f32 * 1e-3).to_le_bytes());
        (Dtype::F32, shape.to_vec(), bytes.collect::<Vec<u8>>())
    };
    let mut weights = BTreeMap::from([
        (
            "model.embed_tokens.weight".to_owned(),
            tensor(&[40_000, 16]),
        ),
        ("model.norm.weight".to_owned(), tensor(&[16])),
    ]);
    for name in [
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
        "self_attn.o_proj",
    ] {
        weights.insert(format!("model.layers.0.{name}.weight"), tensor(&[16, 16]));
    }
    for name in ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"] {
        weights.insert(format!("model.layers.0.{name}.weight"), tensor(&[16, 16]));
    }
    for name in ["input_layernorm", "post_attention_layernorm"] {
        weights.insert(format!("model.layers.0.{name}.weight"), tensor(&[16]));
    }
    write(&path, &weights);
    let before = fingerprint(folder.path());
    assert_eq!(before.tokenizer, None);
    let embedding = &mut weights.get_mut("model.embed_tokens.weight").unwrap().2;
    let n_bytes = embedding.len();
    assert_eq!(n_bytes, 2_560_000);
    for at in [0, (1 << 20) - 1, 1 << 20, 2_000_000, n_bytes - 3] {
        let embedding = &mut weights.get_mut("model.embed_tokens.weight").unwrap().2;
        embedding[at] ^= 1;
        write(&path, &weights);
        assert_ne!(fingerprint(folder.path()).weights, before.weights, "{at}");
        weights.get_mut("model.embed_tokens.weight").unwrap().2[at] ^= 1;
    }
    // Two pieces that change places are another matrix.
    let embedding = &mut weights.get_mut("model.embed_tokens.weight").unwrap().2;
    embedding[..2 << 20].rotate_left(1 << 20);
    write(&path, &weights);
    assert_ne!(fingerprint(folder.path()).weights, before.weights);
}

#[test]
fn the_same_model_elsewhere_and_in_other_files_is_the_same() {
    let first = model();
    let second = model();
    let before = fingerprint(first.path());
    assert_eq!(fingerprint(second.path()), before);

    // Two shards with an index, the tensors dealt out in turns.
    let weights = tensors(&second.path().join(WEIGHTS));
    fs::remove_file(second.path().join(WEIGHTS)).unwrap();
    let mut map = serde_json::Map::new();
    for shard in 0..2 {
        let name = format!("model-0000{}-of-00002.safetensors", shard + 1);
        let part = weights.iter().skip(shard).step_by(2);
        let part: BTreeMap<String, Stored> = part
            .map(|(name, stored)| (name.clone(), stored.clone()))
            .collect();
        map.extend(
            part.keys()
                .map(|tensor| (tensor.clone(), name.clone().into())),
        );
        write(&second.path().join(name), &part);
    }
    let index = serde_json::json!({ "weight_map": map });
    fs::write(
        second.path().join("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    assert_eq!(fingerprint(second.path()), before);
}

#[test]
fn what_changes_no_result_changes_nothing() {
    let parts = changed_parts(|folder| {
        fs::write(folder.join("README.md"), "text").unwrap();
        // The same settings, written otherwise, with one that the layers do not heed.
        let path = folder.join("config.json");
        let config = fs::read_to_string(&path).unwrap();
        let mut config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&config).unwrap();
        config.insert("transformers_version".to_owned(), "4.99.0".into());
        fs::write(&path, serde_json::to_string_pretty(&config).unwrap()).unwrap();
        fs::write(
            folder.join("generation_config.json"),
            r#"{"temperature": 0.3}"#,
        )
        .unwrap();
        // A table that follows from the configuration.
        let path = folder.join(WEIGHTS);
        let mut weights = tensors(&path);
        let name = "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned();
        weights.insert(name, (Dtype::F32, vec![1], vec![0; 4]));
        write(&path, &weights);
    });
    assert_eq!(parts, []);
}

#[test]
fn everything_beside_the_weights_that_decides_is_told_apart() {
    let config = changed_parts(|folder| {
        let path = folder.join("config.json");
        let text = fs::read_to_string(&path).unwrap();
        let mut config: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(&text).unwrap();
        config.insert("rms_norm_eps".to_owned(), 2e-5.into());
        fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    });
    assert_eq!(config, [FingerprintPart::Config]);

    let tokenizer = changed_parts(|folder| {
        let path = folder.join("tokenizer.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(path, text + "\n").unwrap();
    });
    assert_eq!(tokenizer, [FingerprintPart::Tokenizer]);

    let flag = changed_parts(|folder| {
        let path = folder.join("tokenizer_config.json");
        edit(&path, "{", r#"{"split_special_tokens": true,"#);
    });
    assert_eq!(flag, [FingerprintPart::Tokenizer]);

    let template = changed_parts(|folder| {
        fs::write(
            folder.join("chat_template.jinja"),
            "{{ messages[0].content }}",
        )
        .unwrap();
    });
    assert_eq!(template, [FingerprintPart::ChatTemplate]);

    let stop_tokens = changed_parts(|folder| {
        fs::write(
            folder.join("generation_config.json"),
            r#"{"eos_token_id": [9, 3]}"#,
        )
        .unwrap();
    });
    assert_eq!(stop_tokens, [FingerprintPart::StopTokens]);
}

#[test]
fn random_weights_are_known_by_their_shape_and_seed() {
    let folder = ModelFolder::open(fixture("llama")).unwrap();
    let first = folder.dummy_fingerprint(1).unwrap();
    assert_eq!(first, folder.dummy_fingerprint(1).unwrap());
    let parts = |other: &ModelFingerprint| -> Vec<FingerprintPart> {
        let differences = first.differences(other);
        differences
            .iter()
            .map(|difference| difference.part)
            .collect()
    };
    assert_eq!(
        parts(&folder.dummy_fingerprint(2).unwrap()),
        [FingerprintPart::Weights]
    );
    let trained = folder.fingerprint().unwrap();
    assert_eq!(parts(&trained), [FingerprintPart::Weights]);
}

/// A fingerprint speaks of the files that were loaded, or is refused.
#[test]
fn a_file_that_changes_after_the_load_is_an_error() {
    let copy = model();
    let folder = ModelFolder::open(copy.path()).unwrap();
    folder
        .load(WeightDtype::F32, &Device::flex(), &mut |_| {})
        .unwrap();
    folder.fingerprint().unwrap();
    fs::write(copy.path().join("chat_template.jinja"), "other").unwrap();
    let error = folder.fingerprint().unwrap_err().to_string();
    assert!(error.contains("chat_template.jinja was changed"), "{error}");
}
