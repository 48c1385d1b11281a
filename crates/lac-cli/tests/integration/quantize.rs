//! `lac quantize` from outside.

use tempfile::TempDir;

use crate::{check_failure, checkpoint, json, stdout};

#[test]
fn a_quantised_model_is_written_and_used() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (f32, q8_0) = (path("f32.gguf"), path("q8_0.gguf"));
    let printed = stdout(&[
        "quantize", "--model", "demo", "--type", "f32", "--out", &f32,
    ]);
    assert!(
        printed.starts_with(&f32) && printed.contains("F32"),
        "{printed}"
    );
    stdout(&[
        "quantize", "--model", &f32, "--type", "q8_0", "--out", &q8_0,
    ]);
    let question = [
        "--prompt",
        "What is the pet of Mina?",
        "--max-new-tokens",
        "8",
        "--json",
    ];
    let answer = |model: &str| json(&[&["generate", "--model", model][..], &question].concat());
    let (own, written) = (answer("demo"), answer(&f32));
    assert_eq!(own["prompt_ids"], written["prompt_ids"]);
    assert_eq!(own["text"], written["text"]);
    let inspected = json(&["inspect", "--model", &q8_0, "--json"]);
    assert!(
        inspected["weights"]["Q8_0"].as_u64().unwrap() > 12,
        "{inspected}"
    );
    assert_eq!(answer(&q8_0)["prompt_ids"], own["prompt_ids"]);

    let again = [
        "quantize", "--model", &q8_0, "--type", "q4_0", "--out", &f32,
    ];
    check_failure(&again, 1, &["quantised already"]);
    let onto_itself = ["quantize", "--model", &f32, "--type", "q4_0", "--out", &f32];
    check_failure(&onto_itself, 1, &["--out", "--model"]);
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("m.gguf").display().to_string();
    let llama = checkpoint("llama");
    let args = [
        "quantize", "--model", &llama, "--type", "q4_k", "--out", &out,
    ];
    check_failure(&args, 2, &["possible values: f32, f16, bf16, q8_0, q4_0"]);
    let args = [
        "quantize",
        "--model",
        "nowhere/at/all",
        "--type",
        "q8_0",
        "--out",
        &out,
    ];
    check_failure(&args, 1, &["nowhere/at/all"]);
}
