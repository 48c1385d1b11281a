//! `lac inspect` on folders in which something is wrong: it says what, and goes on.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{checkpoint, fixtures, json as run_json, lac, stdout};

/// A checkpoint with a tokenizer, and some fields of its configuration set to other values.
fn folder(changes: &[(&str, Value)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for from in [
        Path::new(&checkpoint("qwen2")).to_owned(),
        fixtures().join("chat/qwen"),
    ] {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
    }
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for (field, value) in changes {
        config[*field] = value.clone();
    }
    fs::write(&path, config.to_string()).unwrap();
    folder
}

fn inspect(folder: &TempDir) -> Value {
    run_json(&["inspect", "--json", "--model", &name(folder)])
}

fn name(folder: &TempDir) -> String {
    folder.path().display().to_string()
}

fn texts(value: &Value) -> Vec<&str> {
    let texts = value.as_array().unwrap().iter();
    texts.map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn the_json_has_the_documented_fields() {
    let folder = folder(&[]);
    let seen = inspect(&folder);
    let config: Value =
        serde_json::from_str(&fs::read_to_string(folder.path().join("config.json")).unwrap())
            .unwrap();
    for (field, of_config) in [
        ("architecture", "model_type"),
        ("layers", "num_hidden_layers"),
        ("hidden", "hidden_size"),
        ("vocabulary", "vocab_size"),
        ("context", "max_position_embeddings"),
        ("dtype", "torch_dtype"),
    ] {
        assert_eq!(seen[field], config[of_config], "{field}");
    }
    assert!(seen["parameters"].as_u64().unwrap() > 1000);
    // Two bytes for each parameter.
    assert_eq!(
        seen["bytes"].as_u64(),
        seen["parameters"].as_u64().map(|n| 2 * n)
    );
    assert_eq!(seen["weights"], json!({"BF16": seen["tensors"]}));
    assert_eq!(seen["problems"], json!([]));
    assert_eq!(seen["unknown_fields"], json!([]));
    assert!(texts(&seen["ignored_fields"]).contains(&"use_cache"));
}

#[test]
fn fields_of_every_kind_are_listed() {
    // A field, its value, where it is listed, and a part of the problem if it is one.
    let cases = [
        (
            "transformers.js_config",
            json!({"dtype": "q4"}),
            "ignored_fields",
            None,
        ),
        ("frobnicate", json!(3), "unknown_fields", None),
        ("hidden_act", json!("gelu"), "", Some("hidden_act is gelu")),
        ("vocab_size", json!("many"), "", Some("vocab_size")),
        ("num_experts", json!(8), "", Some("num_experts")),
        (
            "quantization_config",
            json!({"quant_method": "gptq", "bits": 4}),
            "",
            Some("GPTQ"),
        ),
    ];
    let changes: Vec<(&str, Value)> = cases
        .iter()
        .map(|(field, value, ..)| (*field, value.clone()))
        .collect();
    // All of them at once: the first does not hide the others.
    let folder = folder(&changes);
    let seen = inspect(&folder);
    let problems = texts(&seen["problems"]);
    for (field, _, list, problem) in &cases {
        if !list.is_empty() {
            assert!(texts(&seen[*list]).contains(field), "{field}: {seen}");
        }
        if let Some(part) = problem {
            assert!(
                problems.iter().any(|text| text.contains(part)),
                "{field}: {problems:?}"
            );
        }
    }
    assert_eq!(problems.len(), 4, "{problems:?}");
    assert!(
        texts(&seen["warnings"])
            .iter()
            .any(|text| text.contains("frobnicate"))
    );
    // The rest is told all the same.
    assert_eq!(seen["hidden"], 48);
    assert!(seen["tensors"].as_u64().unwrap() > 10);
    assert!(seen["tokenizer"]["tokens"].as_u64().unwrap() > 300);

    let text = stdout(&["inspect", "--model", &name(&folder)]);
    for part in [
        "unknown      frobnicate\n",
        "transformers.js_config",
        "problem      ",
        "hidden_act is gelu",
        "warning      ",
    ] {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}

/// What a broken file is about. The tokenizer depends on config.json too, and is lost with one that is no JSON object.
const OF_CONFIG: &[&str] = &["architecture", "layers", "hidden"];
const OF_CONFIG_AND_TOKENIZER: &[&str] = &["architecture", "layers", "hidden", "tokenizer"];
const OF_WEIGHTS: &[&str] = &["files", "tensors", "bytes"];
const OF_TOKENIZER: &[&str] = &["tokenizer"];

#[test]
fn broken_files_do_not_hide_the_others() {
    // A file, its new contents or none for its removal, a part of every problem, and the fields that are null then.
    for (file, contents, problem, lost) in [
        ("config.json", None, "config.json", OF_CONFIG),
        (
            "config.json",
            Some("{"),
            "config.json",
            OF_CONFIG_AND_TOKENIZER,
        ),
        (
            "config.json",
            Some("[]"),
            "config.json",
            OF_CONFIG_AND_TOKENIZER,
        ),
        (
            "config.json",
            Some(r#"{"model_type": "gemma3"}"#),
            "model_type is gemma3",
            OF_CONFIG,
        ),
        (
            "model-00002-of-00003.safetensors",
            None,
            "model-00002-of-00003",
            OF_WEIGHTS,
        ),
        (
            "model-00002-of-00003.safetensors",
            Some("cut off"),
            "model-00002-of-00003",
            OF_WEIGHTS,
        ),
        ("model.safetensors.index.json", None, "weights", OF_WEIGHTS),
        ("tokenizer.json", Some("{}"), "tokenizer.json", OF_TOKENIZER),
        (
            "tokenizer_config.json",
            Some("[1"),
            "tokenizer_config.json",
            OF_TOKENIZER,
        ),
    ] {
        let folder = folder(&[]);
        let path = folder.path().join(file);
        match contents {
            None => fs::remove_file(&path).unwrap(),
            Some(text) => fs::write(&path, text).unwrap(),
        }
        let seen = inspect(&folder);
        let problems = texts(&seen["problems"]);
        assert!(
            !problems.is_empty() && problems.iter().all(|text| text.contains(problem)),
            "{file} {contents:?}: {problems:?}"
        );
        for field in [OF_CONFIG, OF_WEIGHTS, OF_TOKENIZER].concat() {
            assert_eq!(
                seen[field].is_null(),
                lost.contains(&field),
                "{file} {contents:?}, {field}: {seen}"
            );
        }
        let text = stdout(&["inspect", "--model", &name(&folder)]);
        assert!(text.contains("problem      "), "{text}");
        if lost.contains(&"tokenizer") {
            assert!(text.contains("tokenizer    unknown\n"), "{text}");
        }
    }
    // Without a tokenizer a model runs by token ids: this is no problem.
    let folder = folder(&[]);
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let seen = inspect(&folder);
    assert_eq!(seen["problems"], json!([]));
    let text = stdout(&["inspect", "--model", &name(&folder)]);
    assert!(text.contains("tokenizer    none\n"), "{text}");
    // Nothing at all is no model.
    let nowhere = lac(&["inspect", "--model", "no/such/folder/anywhere"]);
    assert_eq!(nowhere.status.code(), Some(1));
}

#[test]
fn tokens_without_a_vector_are_a_warning() {
    let seen = inspect(&folder(&[]));
    let n_tokens = seen["tokenizer"]["tokens"].as_u64().unwrap();
    for (vocab_size, is_warned) in [
        (n_tokens, false),
        (n_tokens - 1, true),
        (n_tokens + 7, false),
    ] {
        let seen = inspect(&folder(&[("vocab_size", json!(vocab_size))]));
        let largest = (n_tokens - 1).to_string();
        let warned = texts(&seen["warnings"])
            .iter()
            .any(|text| text.contains("beyond") && text.contains(&largest));
        assert_eq!(warned, is_warned, "{vocab_size}: {seen}");
    }
}

#[test]
fn strict_ends_with_an_error_after_the_report() {
    for (changes, is_refused) in [
        (vec![], false),
        (vec![("is_llama_config", json!(true))], false),
        (vec![("frobnicate", json!(1))], true),
        (vec![("hidden_act", json!("gelu"))], true),
    ] {
        let folder = folder(&changes);
        let output = lac(&["inspect", "--strict", "--json", "--model", &name(&folder)]);
        assert_eq!(output.status.success(), !is_refused, "{changes:?}");
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(!seen["layers"].is_null(), "{changes:?}");
    }
}

/// Families differ in their layers: which of them have a window, no rotary positions, or experts.
#[test]
fn kinds_of_layers_are_named() {
    for (name, field, layers, line) in [
        (
            "gemma3",
            "sliding_layers",
            json!([0, 1, 3, 4]),
            "window       7 in layers 0-1, 3-4",
        ),
        (
            "gemma3",
            "unrotated_layers",
            json!([]),
            "linear by 8; with a window theta 100",
        ),
        (
            "smollm3",
            "unrotated_layers",
            json!([2, 5]),
            "theta 10000; none in layers 2, 5",
        ),
        ("smollm3", "sliding_layers", json!([]), "window       none"),
        (
            "qwen3-moe",
            "expert_layers",
            json!([0, 1, 2, 4, 5]),
            "8 of width 18, 2 per token; none in layers 3",
        ),
        ("qwen3-moe", "dense_layers", json!([3]), ""),
        ("qwen3", "expert_layers", Value::Null, ""),
        (
            "olmo3",
            "sliding_layers",
            json!([0, 1, 2, 4, 5]),
            "yarn by 4",
        ),
    ] {
        let folder = fixtures().join("families").join(name);
        let model = folder.to_str().unwrap();
        let seen = run_json(&["inspect", "--json", "--model", model]);
        assert_eq!(seen[field], layers, "{name}: {field}");
        let text = stdout(&["inspect", "--model", model]);
        assert!(text.contains(line), "{name}: {line}: {text}");
    }
}
