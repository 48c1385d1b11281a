//! What a command makes of a folder's configuration: its data type, and fields that nothing is known of.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{checkpoint, lac};

/// A small model's folder with other fields in its config.json; null removes a field.
fn with_fields(fields: Value) -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(checkpoint("llama3-scaled")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let object = config.as_object_mut().unwrap();
    for (field, value) in fields.as_object().unwrap() {
        match value {
            Value::Null => object.remove(field),
            value => object.insert(field.clone(), value.clone()),
        };
    }
    fs::write(path, config.to_string()).unwrap();
    folder
}

/// Runs a command on a folder; returns what it wrote to stdout and stderr, and whether it succeeded.
fn run(command: &str, folder: &Path, flags: &[&str]) -> (String, String, bool) {
    let model = folder.display().to_string();
    let output = lac(&[&[command, "--model", &model], flags].concat());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        text(output.stdout),
        text(output.stderr),
        output.status.success(),
    )
}

const TRACE: [&str; 6] = [
    "--prompt-ids",
    "1,2,3",
    "--max-new-tokens",
    "1",
    "--json",
    "-",
];

#[test]
fn the_data_type_is_the_checkpoints_own() {
    let absent = json!({"torch_dtype": null, "dtype": null});
    for (fields, flags, expected) in [
        (json!({"torch_dtype": "bfloat16"}), &[][..], "bf16"),
        (
            json!({"torch_dtype": "float16"}),
            &["--dtype", "auto"],
            "f16",
        ),
        // transformers 5 writes dtype.
        (
            json!({"torch_dtype": null, "dtype": "bfloat16"}),
            &[],
            "bf16",
        ),
        (json!({"torch_dtype": "float64"}), &[], "f32"),
        (
            json!({"torch_dtype": "bfloat16"}),
            &["--dtype", "f32"],
            "f32",
        ),
        // Without a word in the configuration, the tensors tell.
        (absent.clone(), &[], "f32"),
        (absent, &["--dtype", "f16"], "f16"),
        (
            json!({"torch_dtype": "bfloat16"}),
            &["--dummy-weights"],
            "bf16",
        ),
    ] {
        let folder = with_fields(fields.clone());
        let (out, err, is_ok) = run("trace", folder.path(), &[&TRACE[..], flags].concat());
        assert!(is_ok, "{fields} {flags:?}: {err}");
        let trace: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(trace["dtype"], expected, "{fields} {flags:?}");
        assert_eq!(err, "", "{fields} {flags:?}");
    }
    // The smallest run that can be measured.
    let folder = with_fields(json!({"torch_dtype": "bfloat16"}));
    let short = [
        "--repeats",
        "1",
        "--prompt-tokens",
        "2",
        "--new-tokens",
        "2",
    ];
    for (dtypes, expected) in [("auto", &["bf16"][..]), ("f32,auto,bf16", &["f32", "bf16"])] {
        let flags = [&short[..], &["--json", "--dtype", dtypes]].concat();
        let (out, err, is_ok) = run("bench", folder.path(), &flags);
        assert!(is_ok, "{err}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let cases = report["cases"].as_array().unwrap();
        let found: Vec<&str> = cases
            .iter()
            .map(|case| case["dtype"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected, "{dtypes}");
    }
}

#[test]
fn stats_begin_with_what_is_computed_in() {
    for (flags, first) in [
        (
            &[][..],
            "computed in       f32, the checkpoint's own, on cpu",
        ),
        (&["--dtype", "bf16"], "computed in       bf16, on cpu"),
    ] {
        let base = ["generate", "--model", "demo", "--prompt", "Who are you?"];
        let short = ["--stats", "--max-new-tokens", "2"];
        let output = lac(&[&base[..], &short, flags].concat());
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!(notes.lines().next(), Some(first), "{notes}");
    }
}

#[test]
fn fields_that_nothing_is_known_of_are_named_once_or_refused() {
    let folder = with_fields(json!({"zig": 1, "zag": [2], "is_llama_config": true}));
    let short = [
        "--repeats",
        "1",
        "--prompt-tokens",
        "2",
        "--new-tokens",
        "2",
    ];
    for (command, flags) in [("trace", &TRACE), ("bench", &short)] {
        let (_, err, is_ok) = run(command, folder.path(), flags);
        assert!(is_ok, "{command}: {err}");
        for part in ["zag, zig", "--strict"] {
            assert_eq!(err.matches(part).count(), 1, "{command}: {err}");
        }
        assert!(!err.contains("is_llama_config"), "{command}: {err}");
        let (_, err, is_ok) = run(
            command,
            folder.path(),
            &[&flags[..], &["--strict"]].concat(),
        );
        assert!(!is_ok, "{command} --strict");
        assert!(
            err.contains("zag, zig") && err.contains("config.json"),
            "{err}"
        );
    }
    let known = with_fields(json!({"is_llama_config": true}));
    let (_, err, is_ok) = run("trace", known.path(), &[&TRACE[..], &["--strict"]].concat());
    assert!(is_ok && err.is_empty(), "{err}");
}

#[test]
fn a_stretched_context_takes_a_longer_prompt() {
    let stretched = json!({"max_position_embeddings": 64,
        "rope_scaling": {"type": "linear", "factor": 4.0}});
    let plain = json!({"max_position_embeddings": 64, "rope_scaling": null});
    let ids = vec!["5"; 100].join(",");
    let flags = ["--prompt-ids", &ids, "--max-new-tokens", "1", "--json", "-"];
    let (out, err, is_ok) = run("trace", with_fields(stretched).path(), &flags);
    assert!(is_ok, "{err}");
    let trace: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(trace["norms"][0].as_array().unwrap().len(), 100);
    let (_, err, is_ok) = run("trace", with_fields(plain).path(), &flags);
    assert!(!is_ok && err.contains("64"), "{err}");
}
