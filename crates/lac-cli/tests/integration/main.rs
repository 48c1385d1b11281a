//! The `lac` binary from outside: what it prints, what it writes, how it fails.

#![allow(clippy::unwrap_used)]

#[cfg(feature = "demo")]
mod determinism;
#[cfg(feature = "demo")]
mod eval;
mod failures;
#[cfg(all(feature = "demo", unix))]
mod faults;
#[cfg(feature = "demo")]
mod files;
#[cfg(all(feature = "demo", feature = "hub", unix))]
mod hub_cache;
// When a child listens to Ctrl-C is seen in /proc.
mod inspect;
#[cfg(all(feature = "demo", target_os = "linux"))]
mod interruptions;
#[cfg(feature = "demo")]
mod interventions;
#[cfg(all(feature = "demo", unix))]
mod opening;
mod other_models;
mod output;
#[cfg(feature = "demo")]
mod perplexity;
mod plans;
#[cfg(feature = "demo")]
mod prompts;
#[cfg(feature = "demo")]
mod quantize;
mod sampling;
#[cfg(all(feature = "demo", unix))]
mod support;
#[cfg(feature = "demo")]
mod traces;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../lac-models/tests/fixtures")
}

fn checkpoint(name: &str) -> String {
    fixtures()
        .join("checkpoints")
        .join(name)
        .display()
        .to_string()
}

fn lac(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lac"))
        .args(args)
        .output()
        .unwrap()
}

/// Runs successfully and returns stdout.
fn stdout(args: &[&str]) -> String {
    let output = lac(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&stdout(args)).unwrap()
}

/// A folder with a real tokenizer and chat template and a configuration, but no weights.
fn chat_model() -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in std::fs::read_dir(fixtures().join("chat/qwen")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let config = r#"{"model_type": "qwen2", "vocab_size": 430, "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "tie_word_embeddings": true}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    folder
}

fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

#[test]
fn trace_writes_the_documented_json() {
    let model = checkpoint("llama3-scaled");
    let expected: Value = serde_json::from_str(
        &std::fs::read_to_string(Path::new(&model).join("expected.json")).unwrap(),
    )
    .unwrap();
    let prompt = &expected["prompts"][1];
    let ids: Vec<String> = numbers(&prompt["prompt_ids"])
        .iter()
        .map(f64::to_string)
        .collect();
    let trace = json(&[
        "trace",
        "--model",
        &model,
        "--prompt-ids",
        &ids.join(","),
        "--alpha",
        "0.3",
        "--max-new-tokens",
        "6",
        "--greedy",
        "--logits",
        "--json",
        "-",
    ]);

    assert_eq!(trace["prompt_ids"], prompt["prompt_ids"]);
    assert_eq!(trace["active"], prompt["trace"][1]["active"]);
    let generated = numbers(&trace["generated"]);
    assert_eq!(generated, numbers(&prompt["full_greedy"]["ids"])[..6]);
    let (n_layers, n_tokens) = (numbers(&trace["norms"][0]).len(), ids.len());
    assert_eq!(n_layers, n_tokens, "one column per token");
    for (field, n_tokens) in [
        ("norms", n_tokens),
        ("deltas", n_tokens),
        ("thresholds", n_tokens),
        ("active", n_tokens),
        ("rg_norms", 5),
        ("rg_deltas", 5),
        ("rg_thresholds", 5),
        ("rg_active", 5),
    ] {
        let rows = trace[field].as_array().unwrap();
        assert_eq!(
            rows.len() as u64,
            trace["layers"].as_u64().unwrap(),
            "{field}"
        );
        assert!(
            rows.iter()
                .all(|row| row.as_array().unwrap().len() == n_tokens),
            "{field}"
        );
    }
    for (logit, expected) in numbers(&trace["logits_last"])
        .iter()
        .zip(numbers(&prompt["logits_last"]))
    {
        assert!((logit - expected).abs() < 1e-3);
    }
    assert_eq!(trace["policy"], "trace");
    assert_eq!(trace["dtype"], "f32");
    assert_eq!(trace["device"], "cpu");
    assert_eq!(
        trace["executed"]["prompt"],
        trace["layers"].as_f64().unwrap()
    );
    let usage = numbers(&trace["usage"]["prompt"]);
    let mean = usage.iter().sum::<f64>() / usage.len() as f64;
    assert!((trace["usage"]["prompt_mean"].as_f64().unwrap() - mean).abs() < 1e-12);
}

#[test]
fn a_trace_goes_whole_into_a_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.json");
    std::fs::write(&path, "older").unwrap();
    let path = path.display().to_string();
    let model = checkpoint("llama");
    stdout(&[
        "trace",
        "--model",
        &model,
        "--prompt-ids",
        "5,6",
        "--policy",
        "halt",
        "--json",
        &path,
    ]);
    let trace: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(trace["policy"], "halt");
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no temporary file is left"
    );

    let picture = stdout(&[
        "trace",
        "--model",
        &model,
        "--prompt-ids",
        "5,6",
        "--max-new-tokens",
        "3",
    ]);
    assert!(
        picture.contains("prompt: 2 tokens") && picture.contains('█'),
        "{picture}"
    );
    assert!(!picture.contains('\u{1b}'), "no colour when piped");
}

#[test]
fn tokenize_gives_the_ids_of_transformers() {
    for family in ["qwen", "llama3", "mistral"] {
        let folder = fixtures().join("chat").join(family);
        let cases = std::fs::read_to_string(folder.join("cases.json")).unwrap();
        let cases: Vec<Value> = serde_json::from_str(&cases).unwrap();
        // The command always asks for an answer.
        let answerable = |case: &&Value| {
            case["expected_ids"].is_array() && case["add_generation_prompt"] == true
        };
        let folder = folder.display().to_string();
        let messages = TempDir::new().unwrap();
        let file = messages.path().join("messages.json").display().to_string();
        for case in cases.iter().filter(answerable) {
            let mut conversation = case["kwargs"].clone();
            conversation["messages"] = case["messages"].clone();
            // The day on which transformers rendered the cases.
            conversation["date_string"] = "05 Mar 2026".into();
            std::fs::write(&file, conversation.to_string()).unwrap();
            let seen = json(&[
                "tokenize",
                "--model",
                &folder,
                "--messages",
                &file,
                "--json",
            ]);
            let name = &case["name"];
            assert_eq!(seen["text"], case["expected_text"], "{family}: {name}");
            assert_eq!(seen["ids"], case["expected_ids"], "{family}: {name}");
            assert_eq!(seen["pieces"], case["expected_pieces"], "{family}: {name}");
        }
    }
}

#[test]
fn messages_of_any_editor_are_read() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("messages.json");
    let name = file.display().to_string();
    let model = fixtures().join("chat/qwen").display().to_string();
    let args = ["tokenize", "--model", &model, "--messages", &name, "--json"];
    let text = "[\n{\"role\": \"user\", \"content\": \"Hi\"}\n]\n";
    std::fs::write(&file, text).unwrap();
    let expected = stdout(&args);
    let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
    std::fs::write(&file, &windows).unwrap();
    assert_eq!(stdout(&args), expected);

    let utf16: Vec<u8> = windows.encode_utf16().flat_map(u16::to_be_bytes).collect();
    std::fs::write(&file, utf16).unwrap();
    check_failure(&args, 1, &["messages.json", "UTF-16", "save it as UTF-8"]);
}

#[test]
fn generate_uses_the_chat_template_and_the_seed() {
    let folder = chat_model();
    let model = folder.path().display().to_string();
    let base = [
        "generate",
        "--model",
        &model,
        "--dummy-weights",
        "--prompt",
        "Hello",
        "--json",
    ];
    let run = |extra: &[&str]| json(&[&base[..], extra].concat());

    let chat = run(&["--max-new-tokens", "5"]);
    let raw = run(&["--max-new-tokens", "5", "--raw"]);
    let n_ids = |value: &Value| value["prompt_ids"].as_array().unwrap().len();
    assert!(n_ids(&chat) > n_ids(&raw), "the template adds tokens");
    assert_eq!(chat["ids"].as_array().unwrap().len(), 5);

    let sampled = |seed| {
        run(&[
            "--temperature",
            "1.5",
            "--seed",
            seed,
            "--max-new-tokens",
            "8",
        ])
    };
    assert_eq!(sampled("1")["ids"], sampled("1")["ids"]);
    assert_ne!(sampled("1")["ids"], sampled("2")["ids"]);
    let skipped = run(&["--policy", "last-active", "--max-new-tokens", "5"]);
    assert!(skipped["usage"]["prompt"].as_f64().unwrap() <= 1.0);
    assert_eq!(
        skipped["executed"]["response"], 4.0,
        "masking runs every layer"
    );
}

#[test]
fn inspect_counts_what_the_files_hold() {
    let seen = json(&["inspect", "--model", &checkpoint("qwen2"), "--json"]);
    assert_eq!(seen["architecture"], "qwen2");
    assert_eq!(seen["files"], 3);
    assert_eq!(seen["weights"]["BF16"], seen["tensors"]);
    assert_eq!(seen["tokenizer"], Value::Null);
    let text = stdout(&["inspect", "--model", &checkpoint("mistral-window")]);
    assert!(text.contains("window       8"), "{text}");
}

/// A hub id is found in the local hub cache, single file or shards; nothing is downloaded.
#[cfg(feature = "hub")]
#[test]
fn a_hub_id_is_found_in_the_local_cache() {
    for name in ["llama", "qwen2"] {
        let home = TempDir::new().unwrap();
        let repo = home.path().join("hub/models--some--model");
        let snapshot = repo.join("snapshots/0123abcd");
        std::fs::create_dir_all(&snapshot).unwrap();
        std::fs::create_dir_all(repo.join("refs")).unwrap();
        std::fs::write(repo.join("refs/main"), "0123abcd").unwrap();
        for entry in std::fs::read_dir(checkpoint(name)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), snapshot.join(entry.file_name())).unwrap();
        }
        let inspect = || {
            Command::new(env!("CARGO_BIN_EXE_lac"))
                .args(["inspect", "--model", "some/model"])
                .env("HF_HOME", home.path())
                // Nobody listens there: a download fails at once.
                .env("HF_ENDPOINT", "http://127.0.0.1:9")
                .output()
                .unwrap()
        };
        let output = inspect();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // An incomplete snapshot is not taken for a model.
        let weights = |path: &PathBuf| path.extension().is_some_and(|end| end == "safetensors");
        let mut files = std::fs::read_dir(&snapshot)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        std::fs::remove_file(files.find(weights).unwrap()).unwrap();
        let output = inspect();
        assert_eq!(output.status.code(), Some(1));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(
            stderr.contains("some/model") && stderr.contains("cannot be fetched"),
            "{stderr}"
        );
    }
}

fn check_failure(args: &[&str], code: i32, parts: &[&str]) {
    let output = lac(args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    }
    assert!(output.stdout.is_empty());
}

#[cfg(feature = "demo")]
#[test]
fn the_embedded_model_works_wherever_a_folder_does() {
    let inspected = json(&["inspect", "--model", "demo", "--json"]);
    assert_eq!(inspected["architecture"], "qwen2");
    assert_eq!(inspected["layers"], 12);
    let prompt = ["--model", "demo", "--prompt", "Who are you?"];
    let tokenized = json(&[&["tokenize"], &prompt[..], &["--json"]].concat());
    assert!(
        tokenized["text"]
            .as_str()
            .unwrap()
            .ends_with("<|im_start|>assistant\n")
    );
    let answer = stdout(&[&["generate"], &prompt[..], &["--greedy"]].concat());
    assert_eq!(answer.trim(), "I am a small model of a small world.");
    let trace = json(&[&["trace"], &prompt[..], &["--greedy", "--json", "-"]].concat());
    assert_eq!(trace["prompt_ids"], tokenized["ids"]);
    let usage = trace["usage"]["prompt_mean"].as_f64().unwrap();
    // Some layers are voids for some tokens, and some are not.
    assert!(usage > 0.0 && usage < 1.0, "{usage}");
}

#[test]
fn help_shows_examples() {
    for command in ["generate", "trace", "tokenize", "inspect", "eval"] {
        assert!(
            stdout(&[command, "--help"]).contains("Examples:"),
            "{command}"
        );
    }
    assert!(stdout(&["devices"]).contains("cpu"));
}

#[test]
fn bench_measures_every_case() {
    let args = [
        "bench",
        "--model",
        "demo",
        "--prompt-tokens",
        "8",
        "--new-tokens",
        "3",
    ];
    let cases = [
        "--repeats",
        "2",
        "--policy",
        "off,trace",
        "--batch",
        "1,2",
        "--dtype",
        "f32,bf16",
    ];
    let args: Vec<&str> = args.into_iter().chain(cases).collect();
    let report = json(&[&args[..], &["--json"]].concat());
    assert_eq!(report["layers"], 12);
    assert!(report["read_bandwidth"].as_f64().unwrap() > 1e8);
    let cases = report["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        for phase in ["prefill", "decode"] {
            assert!(case[phase]["mean"].as_f64().unwrap() > 0.0, "{case}");
        }
        // Twelve layers, the head and the norm are read for a token, and what is in the cache.
        let per_value = if case["dtype"] == "f32" { 4.0 } else { 2.0 };
        let bytes = case["bytes_per_pass"].as_f64().unwrap();
        assert!(
            bytes > 2.4e6 * per_value && bytes < 2.7e6 * per_value,
            "{case}"
        );
        assert_eq!(case["executed"]["response"], 12.0);
        assert_eq!(case["active"]["prompt"].is_null(), case["policy"] == "off");
    }
    let table = stdout(&args);
    assert_eq!(
        table
            .lines()
            .filter(|line| line.starts_with("| f32 |"))
            .count(),
        4
    );

    let options = ["--policy", "off,speculative", "--new-tokens", "12"];
    let args = [
        "bench",
        "--model",
        "demo",
        "--prompt-tokens",
        "8",
        "--repeats",
        "1",
    ];
    let report = json(&[&args[..], &options, &["--json"]].concat());
    let [plain, speculative] = &report["cases"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert!(plain["speculation"].is_null());
    assert_eq!(speculative["policy"], "speculative");
    assert_eq!(speculative["speculation"]["n_tokens"], 12);
    assert!(speculative["decode"]["mean"].as_f64().unwrap() > 0.0);
    assert!(stdout(&[&args[..], &options].concat()).contains("drafted "));

    for (flags, reason) in [
        (&["--prompt-tokens", "511"][..], "context"),
        (&["--new-tokens", "1"], "2 or more"),
        (&["--policy", "speculative", "--batch", "2"], "--batch"),
    ] {
        let output = lac(&[&["bench", "--model", "demo"], flags].concat());
        assert!(!output.status.success());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(reason), "{stderr}");
    }
    assert!(!lac(&["bench", "--shape", "gpt-5"]).status.success());
}
