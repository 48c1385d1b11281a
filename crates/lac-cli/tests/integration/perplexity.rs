//! `lac perplexity` from outside.

use serde_json::Value;
use tempfile::TempDir;

use crate::{check_failure, json, stdout};

const TEXT: &str = "The capital of France is Paris. What is the colour of the sky? It is blue, and \
    the grass is green. Two and three is five. The lion lives in the savanna, the whale in the sea.";

fn args<'a>(text: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["perplexity", "--model", "demo", "--text", text];
    args.extend(options);
    args
}

#[test]
fn perplexity_compares_a_policy_with_the_full_model() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text.txt").display().to_string();
    std::fs::write(&text, TEXT).unwrap();
    let run = |options: &[&str]| {
        json(&args(
            &text,
            &[options, &["--context", "16", "--json"]].concat(),
        ))
    };

    let off = run(&[]);
    assert_eq!(off["policy"], "off");
    assert_eq!(off["full"], Value::Null);
    assert_eq!(off["executed"]["prompt"], 12.0);
    let windows = off["windows"].as_u64().unwrap();
    assert_eq!(windows, off["tokens"].as_u64().unwrap() / 16);
    assert_eq!(off["scored"].as_u64().unwrap(), windows * 7);
    let perplexity = off["perplexity"].as_f64().unwrap();
    assert!(perplexity > 1.0 && off["standard_error"].as_f64().unwrap() > 0.0);

    let masked = run(&["--policy", "last-active", "--alpha", "0.8"]);
    assert_eq!(masked["full"]["perplexity"].as_f64(), Some(perplexity));
    assert!(masked["full"]["kl"].as_f64().unwrap() > 0.0);
    assert!(masked["full"]["top1_agreement"].as_f64().unwrap() < 1.0);
    assert!(masked["active"]["prompt"].as_f64().unwrap() < 1.0);

    let one = run(&["--windows", "1"]);
    assert_eq!(one["scored"], 7);
    assert_eq!(one["tokens"], off["tokens"]);

    let printed = stdout(&args(&text, &["--context", "16"]));
    assert!(
        printed.starts_with(&format!("perplexity {perplexity:.4} ± ")),
        "{printed}"
    );
}

#[test]
fn a_plan_counts_by_the_phase_that_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (text, plan) = (path("text.txt"), path("plan.json"));
    std::fs::write(&text, TEXT).unwrap();
    stdout(&[
        "plan",
        "--model",
        "demo",
        "--prompt",
        "What is the pet of Mina?",
        "--max-new-tokens",
        "8",
        "--keep-layers",
        "8",
        "--phase",
        "response",
        "--out",
        &plan,
    ]);
    for (phase, executed) in [("prompt", 12.0), ("response", 8.0)] {
        let options = [
            "--plan",
            &plan,
            "--phase",
            phase,
            "--context",
            "16",
            "--json",
        ];
        let result = json(&args(&text, &options));
        assert_eq!(result["policy"], "planned");
        assert_eq!(result["executed"][phase], executed);
        assert_eq!(
            result["full"]["kl"].as_f64().unwrap() > 0.0,
            phase == "response"
        );
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text.txt").display().to_string();
    std::fs::write(&text, "Too short.").unwrap();
    let cases: [(&[&str], &str); 3] = [
        (&[], "less than a window of 512"),
        (
            &["--context", "4", "--policy", "speculative"],
            "--policy speculative",
        ),
        (&["--context", "4", "--policy", "planned"], "needs --plan"),
    ];
    for (options, expected) in cases {
        check_failure(&args(&text, options), 1, &[expected]);
    }
    check_failure(&args("nowhere.txt", &[]), 1, &["nowhere.txt"]);
    check_failure(&args(&text, &["--context", "3"]), 2, &["--context"]);
}
