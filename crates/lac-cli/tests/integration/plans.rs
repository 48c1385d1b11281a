//! Plans and speculation from outside.

use serde_json::Value;
use tempfile::TempDir;

use crate::{check_failure, checkpoint, json, lac, numbers, stdout};

const QUESTION: &str = "Tell me about Modo.";

/// Makes a plan of the embedded model and returns it with its path.
fn plan(folder: &TempDir, options: &[&str]) -> (String, Value) {
    let path = folder.path().join("plan.json").display().to_string();
    let mut args = vec!["plan", "--model", "demo", "--max-new-tokens", "8"];
    args.extend(["--prompt", QUESTION, "--prompt", "What is the pet of Mina?"]);
    args.extend(options);
    args.extend(["--out", &path]);
    stdout(&args);
    let plan = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    (path, plan)
}

fn generate(options: &[&str]) -> Value {
    let mut args = vec![
        "generate",
        "--model",
        "demo",
        "--max-new-tokens",
        "12",
        "--json",
    ];
    args.extend(["--prompt", QUESTION]);
    args.extend(options);
    json(&args)
}

#[test]
fn a_plan_is_learned_written_and_followed() {
    let folder = TempDir::new().unwrap();
    let (path, plan) = plan(&folder, &["--alpha", "0.4", "--keep-layers", "8"]);
    assert_eq!(plan["model"]["n_layers"], 12);
    assert_eq!(plan["response"]["skip"].as_array().unwrap().len(), 4);
    assert_eq!(plan["provenance"]["n_prompts"], 2);
    assert_eq!(numbers(&plan["provenance"]["response"]["usage"]).len(), 12);
    let seen = generate(&["--policy", "planned", "--plan", &path]);
    assert_eq!(seen["executed"]["response"], 8.0);
    assert_eq!(seen["policy"], "planned");

    // Another model, and no plan at all.
    let other = checkpoint("qwen2");
    let mut args = vec!["trace", "--model", &other, "--prompt-ids", "1,2"];
    args.extend(["--policy", "planned", "--plan", &path]);
    let refused = lac(&args);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && stderr.contains("made on another model"),
        "{stderr}"
    );
    let args = [
        "generate", "--model", "demo", "--prompt", "a", "--policy", "planned",
    ];
    let refused = lac(&args);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("needs --plan"));
    std::fs::write(folder.path().join("broken.json"), "{\"format\": 1}").unwrap();
    let broken = folder.path().join("broken.json").display().to_string();
    let refused = lac(&[&args[..], &["--plan", &broken]].concat());
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("broken.json is not a plan"), "{stderr}");
}

#[test]
fn parts_and_agreement_are_ways_to_choose() {
    let folder = TempDir::new().unwrap();
    let (path, parts) = plan(
        &folder,
        &["--parts", "--keep-share", "0.5", "--phase", "response"],
    );
    assert_eq!(numbers(&parts["provenance"]["response"]["usage"]).len(), 24);
    assert_eq!(numbers(&parts["prompt"]["skip"]), [0.0; 0]);
    let seen = generate(&["--policy", "planned", "--plan", &path]);
    assert_eq!(seen["executed"]["response"], 6.0);
    assert_eq!(seen["executed"]["prompt"], 12.0);

    let (_, agreed) = plan(&folder, &["--by", "agreement", "--keep-layers", "10"]);
    assert_eq!(agreed["response"]["skip"].as_array().unwrap().len(), 2);
    assert!(
        agreed["provenance"]["chosen_by"]
            .as_str()
            .unwrap()
            .starts_with("agreement")
    );
}

#[test]
fn speculative_text_is_the_plain_text() {
    let folder = TempDir::new().unwrap();
    let (path, _) = plan(&folder, &["--alpha", "0.4", "--keep-layers", "9"]);
    let plain = generate(&[]);
    for options in [
        &["--draft", "plan"][..],
        &[
            "--speculative",
            "--plan",
            &path,
            "--fixed-draft",
            "--draft-tokens",
            "3",
        ],
    ] {
        let seen = generate(options);
        assert_eq!(seen["ids"], plain["ids"], "{options:?}");
        assert_eq!(seen["stop_reason"], plain["stop_reason"]);
        assert_eq!(seen["policy"], "speculative");
        assert_eq!(seen["speculation"]["n_tokens"], 12);
        assert_eq!(seen["speculation"]["plan"]["n_layers"], 12);
    }
    let kinds = |options: &[&str]| -> Vec<String> {
        let seen = generate(options);
        assert_eq!(seen["ids"], plain["ids"], "{options:?}");
        let drafters = seen["speculation"]["drafters"].as_array().unwrap();
        let name = |drafter: &Value| drafter["name"].as_str().unwrap().to_owned();
        drafters.iter().map(name).collect()
    };
    assert_eq!(kinds(&["--draft", "ngram"]), ["ngram"]);
    assert_eq!(kinds(&["--speculative"]), ["quantized", "ngram"]);
    assert_eq!(
        kinds(&["--draft", "quantized", "--draft-type", "q4_0"]),
        ["quantized"]
    );
    let all = ["plan", "quantized", "quantized-plan", "ngram"];
    assert_eq!(kinds(&["--speculative", "--plan", &path]), all);
    assert_eq!(kinds(&["--draft", "ngram,plan"]), ["plan", "ngram"]);
    let sampled = || {
        let options = [
            "--speculative",
            "--plan",
            &path,
            "--temperature",
            "0.8",
            "--seed",
            "3",
        ];
        generate(&options)["ids"].clone()
    };
    assert_eq!(sampled(), sampled(), "the same seed, the same text");

    let args = [
        "generate",
        "--model",
        "demo",
        "--prompt",
        "a",
        "--speculative",
    ];
    let refused = lac(&[&args[..], &["--policy", "bypass"]].concat());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("takes no other --policy"));
}

/// What quantised weights add to the memory is said before they are loaded.
#[test]
fn the_memory_of_quantised_drafts_is_stated() {
    let said = |options: &[&str]| {
        let args = ["generate", "--model", "demo", "--prompt", QUESTION];
        let args = [&args[..], &["--max-new-tokens", "4"], options].concat();
        let output = lac(&args);
        assert!(output.status.success(), "{options:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for (quantization, options) in [
        ("q8_0", &["--speculative"][..]),
        ("q4_0", &["--draft", "quantized", "--draft-type", "q4_0"]),
    ] {
        let stderr = said(options);
        let stated = format!("weights in {quantization}, which draft, add");
        assert!(stderr.contains(&stated), "{stderr}");
        assert!(stderr.contains("of memory"), "{stderr}");
    }
    let without = said(&["--draft", "ngram"]);
    assert!(!without.contains("of memory"), "{without}");
}

#[test]
fn verify_compares_every_token_of_every_prompt() {
    let folder = TempDir::new().unwrap();
    let prompts = folder.path().join("prompts.jsonl");
    let lines = [
        r#"{"prompt": "Tell me about Modo."}"#,
        "",
        r#"{"prompt": "On Tuesday Tari went inland.", "raw": true}"#,
    ];
    std::fs::write(&prompts, lines.join("\n")).unwrap();
    let prompts = prompts.display().to_string();
    let mut args = vec!["verify", "--model", "demo", "--max-new-tokens", "10"];
    args.extend([
        "--prompts",
        &prompts,
        "--prompt",
        "What is the pet of Mina?",
        "--json",
    ]);
    args.extend(["--draft", "plan", "--fixed-draft", "--draft-tokens", "2"]);
    let seen = json(&args);
    assert_eq!(seen["prompts"], 3);
    assert_eq!(seen["equal"], true);
    assert_eq!(seen["divergences"], Value::Array(Vec::new()));
    assert!(seen["n_drafted"].as_u64().unwrap() > 0);

    let broken = folder.path().join("broken.jsonl");
    std::fs::write(&broken, "{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n").unwrap();
    let broken = broken.display().to_string();
    let refused = lac(&["verify", "--model", "demo", "--prompts", &broken]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(stderr.contains("broken.jsonl, line 2"), "{stderr}");
}

/// A trace of verifying passes is that of passes over one token.
#[test]
fn a_trace_by_drafts_is_the_trace() {
    let args = [
        "trace", "--model", "demo", "--prompt", QUESTION, "--json", "-",
    ];
    let with = |options: &[&str]| {
        let mut seen = json(&[&args[..], &["--max-new-tokens", "12"], options].concat());
        // A verifying pass over several tokens is one pass.
        seen.as_object_mut().unwrap().remove("executed");
        seen["usage"].as_object_mut().unwrap().remove("passes");
        seen
    };
    let drafting = ["--draft", "plan", "--fixed-draft", "--draft-tokens", "3"];
    assert_eq!(with(&[]), with(&drafting));
    assert_eq!(with(&[]), with(&["--policy", "speculative"]));

    let folder = TempDir::new().unwrap();
    let prompts = folder.path().join("prompts.txt").display().to_string();
    std::fs::write(&prompts, "Tell me about Modo.\nWhat is the pet of Mina?\n").unwrap();
    let recorded = |name: &str, options: &[&str]| {
        let out = folder.path().join(name).display().to_string();
        let args = [
            "trace",
            "--model",
            "demo",
            "--prompts",
            &prompts,
            "--max-new-tokens",
            "6",
        ];
        stdout(&[&args[..], &["--out", &out], options].concat());
        let exported = folder.path().join("exported.json").display().to_string();
        stdout(&["export", &out, "--sequence", "1", "--out", &exported]);
        let exported = std::fs::read_to_string(&exported).unwrap();
        serde_json::from_str::<Value>(&exported).unwrap()["rg_norms"].clone()
    };
    assert_eq!(
        recorded("plain.parquet", &[]),
        recorded("drafted.parquet", &drafting)
    );
}

/// Real texts are measured beside plain generation.
#[test]
fn bench_measures_on_texts() {
    let folder = TempDir::new().unwrap();
    let prompts = folder.path().join("prompts.txt").display().to_string();
    std::fs::write(&prompts, "Tell me about Modo.\nTell me about Kodo.\n").unwrap();
    let args = [
        "bench",
        "--model",
        "demo",
        "--prompts",
        &prompts,
        "--repeats",
        "2",
    ];
    let args = [
        &args[..],
        &["--new-tokens", "12", "--policy", "speculative"],
    ]
    .concat();
    let report = json(&[&args[..], &["--json"]].concat());
    let [plain, drafted] = &report["cases"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(
        (&plain["policy"], &plain["speed_up"]["median"]),
        (&"off".into(), &1.0.into())
    );
    assert_eq!(
        (&drafted["policy"], &drafted["texts"]),
        (&"speculative".into(), &2.into())
    );
    assert_eq!(drafted["different"], 0);
    assert_eq!(drafted["new_tokens"], plain["new_tokens"]);
    assert!(drafted["speed_up"]["median"].as_f64().unwrap() > 0.0);
    assert!(drafted["speculation"]["drafters"][0]["n_drafted"].is_u64());
    let table = stdout(&args);
    assert!(table.contains("| speculative | 2 |"), "{table}");
    for (options, reason) in [
        (
            &["--shape", "qwen2.5-0.5b", "--prompts", &prompts][..],
            "needs --model",
        ),
        (
            &["--model", "demo", "--prompts", &prompts, "--batch", "2"],
            "--batch",
        ),
        (&["--model", "demo", "--prompts", "/nowhere"], "/nowhere"),
    ] {
        let refused = lac(&[&["bench"], options].concat());
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success() && stderr.contains(reason),
            "{stderr}"
        );
    }
}

#[test]
fn what_no_plan_can_keep_is_refused() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("plan.json").display().to_string();
    let base = ["plan", "--model", "demo", "--prompt", "Tell me about Modo."];
    let short = ["--max-new-tokens", "3", "--out", &out];
    for (options, reason) in [
        (
            &["--parts", "--keep-layers", "9223372036854775808"][..],
            "layers to keep is 9223372036854775808",
        ),
        (
            &["--by", "agreement", "--keep-share", "1.5"],
            "the share of layers to keep is 1.5",
        ),
        (
            &["--by", "agreement", "--keep-share", "nan"],
            "the share of layers to keep is NaN",
        ),
        (
            &["--by", "agreement", "--keep-at-least", "nan"],
            "the rank to reach is NaN",
        ),
        (
            &["--by", "agreement", "--keep-layers", "99"],
            "the number of layers to keep is 99",
        ),
    ] {
        check_failure(&[&base[..], &short, options].concat(), 1, &[reason]);
    }
    let one_token = ["--by", "agreement", "--max-new-tokens", "1", "--out", &out];
    let nothing_seen = "no token of the response phase was traced";
    check_failure(&[&base[..], &one_token].concat(), 1, &[nothing_seen]);
    assert!(!std::path::Path::new(&out).exists());

    // A length that no memory holds: as many are drafted as there is room for.
    let many = [
        "--speculative",
        "--draft-tokens",
        "18446744073709551615",
        "--max-new-tokens",
        "4",
    ];
    let seen = json(&[&["generate"], &base[1..], &many, &["--json"]].concat());
    assert_eq!(seen["ids"].as_array().unwrap().len(), 4);
}

/// A ranking for everything that layers can be ranked by, and orders that need no prompts.
#[test]
fn layers_are_ranked_by_measures_and_orders() {
    let folder = TempDir::new().unwrap();
    for by in ["influence", "lens"] {
        let (_, plan) = plan(&folder, &["--by", by, "--keep-layers", "8"]);
        assert_eq!(plan["prompt"]["skip"].as_array().unwrap().len(), 4, "{by}");
        let evidence = numbers(&plan["provenance"]["prompt"][by]);
        assert_eq!(evidence.len(), 12);
        // What is left out ranks lowest.
        let skipped = numbers(&plan["prompt"]["skip"]);
        let is_skipped = |layer: usize| skipped.contains(&(layer as f64));
        let ranks = |wanted| {
            let layers = (0..12).filter(move |&layer| is_skipped(layer) == wanted);
            layers.map(|layer| evidence[layer]).collect::<Vec<_>>()
        };
        let highest = ranks(true).into_iter().fold(f64::NEG_INFINITY, f64::max);
        let lowest = ranks(false).into_iter().fold(f64::INFINITY, f64::min);
        assert!(highest <= lowest, "{by}: {evidence:?}");
        let other = if by == "lens" { "influence" } else { "lens" };
        assert!(plan["provenance"]["prompt"][other].is_null());
    }
    let drawn = |options: &[&str]| {
        let base = [
            "plan",
            "--model",
            "demo",
            "--keep-layers",
            "8",
            "--out",
            "-",
        ];
        json(&[&base[..], options].concat())["response"]["skip"].clone()
    };
    assert_eq!(drawn(&["--by", "last"]), serde_json::json!([8, 9, 10, 11]));
    let first = drawn(&["--by", "random", "--seed", "1"]);
    assert_eq!(first, drawn(&["--by", "random", "--seed", "1"]));
    assert_ne!(first, drawn(&["--by", "random", "--seed", "2"]));
    let base = ["plan", "--model", "demo", "--out", "-"];
    check_failure(&base, 1, &["--prompt or --prompts"]);
    let at_least = [&base[..], &["--by", "last", "--keep-at-least", "1"]].concat();
    check_failure(&at_least, 1, &["--keep-at-least", "--keep-layers"]);
}

#[test]
fn a_pruned_model_is_the_planned_one() {
    let folder = TempDir::new().unwrap();
    let (path, _) = plan(&folder, &["--by", "random", "--keep-layers", "9"]);
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (text, out) = (place("text.txt"), place("pruned"));
    std::fs::write(
        &text,
        "The lion lives in the savanna, the whale in the sea. ".repeat(4),
    )
    .unwrap();
    let perplexity = |model: &str, options: &[&str]| {
        let base = [
            "perplexity",
            "--model",
            model,
            "--text",
            &text,
            "--context",
            "16",
            "--json",
        ];
        json(&[&base[..], options].concat())["perplexity"]
            .as_f64()
            .unwrap()
    };
    let said = stdout(&["prune", "--model", "demo", "--plan", &path, "--out", &out]);
    assert!(said.contains("9 of 12 layers"), "{said}");
    assert_eq!(
        perplexity(&out, &[]),
        perplexity("demo", &["--plan", &path])
    );
    assert_eq!(json(&["inspect", "--model", &out, "--json"])["layers"], 9);

    let prune = ["prune", "--model", "demo", "--plan", &path, "--out"];
    check_failure(&[&prune[..], &[&out]].concat(), 1, &["already there"]);
    let other = place("other");
    let refused = |options: &[&str], parts: &[&str]| {
        plan(&folder, options);
        check_failure(&[&prune[..], &[&other]].concat(), 1, parts);
        assert!(!folder.path().join("other").exists());
    };
    let by_phase = ["--by", "last", "--keep-layers", "8", "--phase", "response"];
    refused(
        &by_phase,
        &["no layer in the prompt", "layers 8, 9, 10, 11", "--phase"],
    );
    let parts = ["--by", "random", "--keep-share", "0.7", "--parts"];
    refused(&parts, &["attentions or MLPs", "--parts"]);
    plan(&folder, &by_phase);
    let response = [&prune[..], &[&other, "--phase", "response"]].concat();
    assert!(stdout(&response).contains("8 of 12 layers"));
}
