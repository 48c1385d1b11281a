//! Folders that cannot be used: every error says where and what would be right.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use lac_models::{ModelFolder, WeightDtype};
use tempfile::TempDir;

use crate::parity::fixture;

/// A copy of a fixture folder, changed.
fn broken(name: &str, change: impl FnOnce(&Path)) -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    change(folder.path());
    folder
}

/// Loads a folder and returns the error with its causes.
fn error_of(folder: &Path) -> String {
    let loaded = ModelFolder::open(folder)
        .and_then(|folder| folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {}));
    let error = loaded.map(|_| ()).expect_err("the folder is broken");
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message.push_str(&format!(": {error}"));
        cause = error.source();
    }
    message
}

fn check(name: &str, change: impl FnOnce(&Path), parts: &[&str]) {
    let folder = broken(name, change);
    let message = error_of(folder.path());
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from} is not in {}", path.display());
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

fn set_field(folder: &Path, field: &str, value: &str) {
    let path = folder.join("config.json");
    let mut config: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config.insert(field.to_owned(), serde_json::from_str(value).unwrap());
    fs::write(path, serde_json::to_string(&config).unwrap()).unwrap();
}

#[test]
fn settings_that_would_change_the_result_are_refused() {
    for (field, value) in [
        ("hidden_act", r#""gelu""#),
        ("rope_scaling", r#"{"rope_type": "yarn"}"#),
        ("rope_scaling", r#"{"rope_type": "dynamic", "factor": 0}"#),
        (
            "rope_scaling",
            r#"{"rope_type": "proportional", "factor": 4.0}"#,
        ),
        ("rope_scaling", r#"{"type": "linear"}"#),
        (
            "rope_scaling",
            r#"{"type": "linear", "factor": 2.0, "beta_fast": 32}"#,
        ),
        ("num_local_experts", "8"),
        ("quantization_config", r#"{"quant_method": "gptq"}"#),
        ("partial_rotary_factor", "0.5"),
        ("model_type", r#""olmoe""#),
        ("architectures", r#"["LlamaForSequenceClassification"]"#),
        ("num_attention_heads", "0"),
        ("num_attention_heads", "2.5"),
        ("num_key_value_heads", "3"),
        ("head_dim", "7"),
        ("rms_norm_eps", "-1e-5"),
        ("hidden_size", r#""48""#),
        ("tie_word_embeddings", r#""yes""#),
        ("layer_types", r#"["sliding_attention"]"#),
    ] {
        check(
            "llama",
            |folder| set_field(folder, field, value),
            &["config.json", field],
        );
    }
    // A window in some layers and not in others is read; its numbers are checked.
    check(
        "qwen2",
        |folder| {
            set_field(folder, "use_sliding_window", "true");
            set_field(folder, "sliding_window", "0");
            set_field(folder, "max_window_layers", "1");
        },
        &["config.json", "sliding_window"],
    );
}

#[test]
fn harmless_settings_are_accepted() {
    let folder = broken("llama", |folder| {
        set_field(folder, "transformers_version", r#""4.50.1""#);
        set_field(folder, "attention_dropout", "0.1");
        set_field(folder, "_name_or_path", r#""somewhere""#);
        set_field(folder, "quantization_config", "null");
        set_field(folder, "rope_scaling", r#"{"rope_type": "default"}"#);
    });
    ModelFolder::open(folder.path()).unwrap();
}

#[test]
fn broken_weights_are_named() {
    let weights = "model.safetensors";
    check(
        "llama",
        |f| fs::write(f.join(weights), "").unwrap(),
        &[weights, "empty"],
    );
    check(
        "llama",
        |f| fs::remove_file(f.join(weights)).unwrap(),
        &["no weights", "expected"],
    );
    check(
        "llama",
        |f| truncate(&f.join(weights), 30_000),
        &[weights, "cut off"],
    );
    check("llama", |f| truncate(&f.join(weights), 12), &[weights]);
    check(
        "llama",
        |f| fs::write(f.join(weights), [255; 64]).unwrap(),
        &[weights],
    );
    check(
        "llama",
        |f| rename_tensor(&f.join(weights), "model.norm.weight", "model.NORM.weight"),
        &["model.norm.weight", "missing"],
    );
    check(
        "llama",
        |f| retype(&f.join(weights)),
        &[weights, "I32", "expected F32"],
    );
    // Weights of another shape, and weights with tensors that the configuration has not.
    check(
        "llama",
        |f| set_field(f, "intermediate_size", "48"),
        &["mlp.gate_proj.weight", "[64, 32]", "[48, 32]"],
    );
    check(
        "llama",
        |f| set_field(f, "num_hidden_layers", "2"),
        &["unexpected", "model.layers.2"],
    );
    check(
        "llama3-scaled",
        |f| set_field(f, "mlp_bias", "false"),
        &["unexpected", "bias"],
    );
    check(
        "llama",
        |f| set_field(f, "attention_bias", "true"),
        &["q_proj.bias", "missing"],
    );
}

#[test]
fn a_broken_index_is_named() {
    let index = "model.safetensors.index.json";
    let shard = "model-00001-of-00003.safetensors";
    check(
        "qwen2",
        |f| fs::write(f.join(index), "{").unwrap(),
        &[index],
    );
    check(
        "qwen2",
        |f| fs::remove_file(f.join(shard)).unwrap(),
        &[shard],
    );
    check(
        "qwen2",
        |f| edit(&f.join(index), shard, "../evil.safetensors"),
        &[index, "plain file name"],
    );
    check(
        "qwen2",
        |f| edit(&f.join(index), shard, "model-00002-of-00003.safetensors"),
        &[index, "does not hold"],
    );
}

#[test]
fn broken_configurations_are_named() {
    let config = "config.json";
    check(
        "llama",
        |f| fs::remove_file(f.join(config)).unwrap(),
        &[config],
    );
    check(
        "llama",
        |f| fs::write(f.join(config), "").unwrap(),
        &[config],
    );
    check(
        "llama",
        |f| fs::write(f.join(config), "[1]").unwrap(),
        &[config, "JSON object"],
    );
    check(
        "llama",
        |f| set_field(f, "hidden_size", "null"),
        &[config, "hidden_size", "missing"],
    );
    let nowhere = error_of("/nowhere/at/all".as_ref());
    assert!(nowhere.contains("not a folder"), "{nowhere}");
}

fn truncate(path: &Path, len: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .unwrap()
        .set_len(len)
        .unwrap();
}

/// Renames a tensor in the header to a name of the same length.
fn rename_tensor(path: &Path, from: &str, to: &str) {
    replace_bytes(path, from.as_bytes(), to.as_bytes());
}

/// Makes the final norm's four-byte floats four-byte integers.
fn retype(path: &Path) {
    let bytes = fs::read(path).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&bytes[8..8 + header_len]).unwrap();
    header["model.norm.weight"]["dtype"] = "I32".into();
    let mut text = serde_json::to_string(&header).unwrap();
    while !text.len().is_multiple_of(8) {
        text.push(' ');
    }
    let mut file = (text.len() as u64).to_le_bytes().to_vec();
    file.extend(text.as_bytes());
    file.extend(&bytes[8 + header_len..]);
    fs::write(path, file).unwrap();
}

fn replace_bytes(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = fs::read(path).unwrap();
    let start = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    bytes[start..start + to.len()].copy_from_slice(to);
    fs::write(path, bytes).unwrap();
}

/// Weights that another program changes while they are read are an error, never a fault and never a mixture.
#[test]
fn files_that_change_during_the_load_are_an_error() {
    type Change = fn(&Path);
    let cases: [(&str, Change, &[&str]); 4] = [
        (
            "cut off",
            |file| {
                let file = fs::OpenOptions::new().write(true).open(file).unwrap();
                file.set_len(9000).unwrap();
            },
            &["model.safetensors", "cut off while it was being read"],
        ),
        (
            "written to",
            |file| {
                let mut bytes = fs::read(file).unwrap();
                *bytes.last_mut().unwrap() ^= 1;
                fs::write(file, bytes).unwrap();
            },
            &["model.safetensors was changed while", "load it again"],
        ),
        (
            "replaced",
            |file| {
                let beside = file.with_extension("new");
                fs::copy(file, &beside).unwrap();
                fs::rename(beside, file).unwrap();
            },
            &["model.safetensors was changed while"],
        ),
        (
            "another configuration",
            |file| {
                let config = file.with_file_name("config.json");
                let text = fs::read_to_string(&config).unwrap();
                fs::write(config, text + " ").unwrap();
            },
            &["config.json was changed while"],
        ),
    ];
    for (name, change, parts) in cases {
        let copy = broken("llama", |_| {});
        let weights = copy.path().join("model.safetensors");
        // Times of files are as coarse as some milliseconds: as if it had been there for long.
        let file = fs::OpenOptions::new().write(true).open(&weights).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
        let folder = ModelFolder::open(copy.path()).unwrap();
        let mut is_changed = false;
        let mut progress = |_| {
            if !is_changed {
                change(&weights);
                is_changed = true;
            }
        };
        let result = folder.load(WeightDtype::F32, &Device::flex(), &mut progress);
        let text = result.err().unwrap().to_string();
        for part in parts {
            assert!(text.contains(part), "{name}: {text}");
        }
        // Opened anew it is what it is now.
        let again = ModelFolder::open(copy.path()).unwrap();
        let result = again.load(WeightDtype::F32, &Device::flex(), &mut |_| {});
        assert_eq!(result.is_ok(), name != "cut off", "{name}");
    }
}
