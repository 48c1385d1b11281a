//! `--ablate`, `--add` and `--patch` from outside.

use serde_json::Value;
use tempfile::TempDir;

use crate::{check_failure, json, numbers, stdout};

const PROMPT: &str = "Tell me about Kodo.";
/// As many tokens as [`PROMPT`].
const OTHER: &str = "Tell me about Mina.";

/// Writes a safetensors file with one vector.
fn vector(folder: &TempDir, name: &str, values: &[f32]) -> String {
    let header = format!(
        r#"{{"v":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{}]}}}}"#,
        values.len(),
        4 * values.len()
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn trace(options: &[&str]) -> Value {
    let base = [
        "trace",
        "--model",
        "demo",
        "--greedy",
        "--max-new-tokens",
        "6",
        "--json",
        "-",
    ];
    let prompt: &[&str] = match options.first() {
        Some(&"--prompt") => &[],
        _ => &["--prompt", PROMPT],
    };
    json(&[&base[..], prompt, options].concat())
}

#[test]
fn an_ablated_layer_leaves_norms_as_they_are() {
    let plain = trace(&[]);
    let ablated = trace(&["--ablate", "5,8-9"]);
    let norms = |value: &Value, layer: usize| numbers(&value["norms"][layer]);
    assert_eq!(norms(&plain, 4), norms(&ablated, 4));
    for (before, layer) in [(4, 5), (7, 8), (8, 9)] {
        assert_eq!(norms(&ablated, before), norms(&ablated, layer));
        assert_ne!(norms(&plain, before), norms(&plain, layer));
    }
    assert_eq!(ablated["executed"]["prompt"], 9.0);
    assert_eq!(ablated["executed"]["response"], 9.0);
    // Attention and MLP are the layer.
    let parts = trace(&["--ablate", "5a,5m,8-9"]);
    for field in ["norms", "rg_norms", "generated", "executed"] {
        assert_eq!(parts[field], ablated[field], "{field}");
    }

    let response = trace(&["--ablate", "5@response"]);
    assert_eq!(response["norms"], plain["norms"]);
    assert_eq!(
        numbers(&response["rg_norms"][4]),
        numbers(&response["rg_norms"][5])
    );
    let executed = &response["executed"];
    assert_eq!(
        (&executed["prompt"], &executed["response"]),
        (&12.0.into(), &11.0.into())
    );

    // One token alone keeps what it had, and every layer is run.
    let third = trace(&["--ablate", "5@2"]);
    let (before, after) = (norms(&third, 4), norms(&third, 5));
    let unmoved: Vec<bool> = before.iter().zip(&after).map(|(a, b)| a == b).collect();
    assert_eq!(unmoved.iter().filter(|&&is_unmoved| is_unmoved).count(), 1);
    assert!(unmoved[2]);
    assert_eq!(third["executed"]["prompt"], 12.0);
}

#[test]
fn a_vector_is_added_where_it_is_asked_for() {
    let folder = TempDir::new().unwrap();
    let hidden = json(&["inspect", "--model", "demo", "--json"])["hidden"]
        .as_u64()
        .unwrap();
    let zeros = vector(&folder, "zeros", &vec![0.0; hidden as usize]);
    let ones = vector(&folder, "ones", &vec![1.0; hidden as usize]);
    let plain = trace(&[]);
    let unchanged = trace(&["--add", &format!("3={zeros}")]);
    assert_eq!(unchanged["norms"], plain["norms"]);
    assert_eq!(unchanged["generated"], plain["generated"]);
    let scaled = trace(&["--add", &format!("3={ones}"), "--add-scale", "0"]);
    assert_eq!(scaled["norms"], plain["norms"]);

    let added = trace(&["--add", &format!("embedding@0={ones}")]);
    let norms = |value: &Value| numbers(&value["embedding_norms"]);
    let changed: Vec<bool> = norms(&added)
        .iter()
        .zip(norms(&plain))
        .map(|(a, b)| *a != b)
        .collect();
    assert!(changed[0] && !changed[1..].contains(&true));
    assert_eq!(norms(&plain).len(), changed.len());
    assert_ne!(added["norms"], plain["norms"]);
}

#[test]
fn states_of_another_prompt_make_its_answer() {
    let (plain, other) = (trace(&[]), trace(&["--prompt", OTHER]));
    let n_tokens = numbers(&plain["prompt_ids"]).len();
    assert_eq!(numbers(&other["prompt_ids"]).len(), n_tokens);
    assert_ne!(plain["norms"], other["norms"]);
    // With all of the other's embeddings the prompt is the other one.
    let all = format!("embedding@0-{}", n_tokens - 1);
    let patched = trace(&["--patch", &all, "--patch-from", OTHER]);
    for field in ["norms", "embedding_norms", "generated", "text"] {
        assert_eq!(patched[field], other[field], "{field}");
    }
    // One state of the own prompt is the one that is there.
    let own = trace(&["--patch", "4-6@3", "--patch-from", PROMPT]);
    assert_eq!(own["norms"], plain["norms"]);

    let base = [
        "generate", "--model", "demo", "--greedy", "--prompt", PROMPT,
    ];
    let answer = |options: &[&str]| stdout(&[&base[..], options].concat());
    let expected = stdout(&["generate", "--model", "demo", "--greedy", "--prompt", OTHER]);
    assert_eq!(answer(&["--patch", &all, "--patch-from", OTHER]), expected);
    assert_ne!(answer(&[]), expected);
}

#[test]
fn scores_and_perplexities_are_those_of_the_changed_model() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("text.txt").display().to_string();
    std::fs::write(
        &text,
        "The lion lives in the savanna, the whale in the sea. ".repeat(4),
    )
    .unwrap();
    let perplexity = |options: &[&str]| {
        let base = [
            "perplexity",
            "--model",
            "demo",
            "--text",
            &text,
            "--context",
            "16",
            "--json",
        ];
        json(&[&base[..], options].concat())
    };
    let (full, ablated) = (perplexity(&[]), perplexity(&["--ablate", "3"]));
    assert_eq!(ablated["full"]["perplexity"], full["perplexity"]);
    assert_eq!(ablated["executed"]["prompt"], 11.0);
    assert_eq!(ablated["interventions"], "ablate 3");
    assert!(ablated["full"]["kl"].as_f64().unwrap() > 0.0);
    // Only the tokens before the scored half: the policy has something to change all the same.
    let first = perplexity(&["--ablate", "3m@0-3"]);
    assert_ne!(first["perplexity"], full["perplexity"]);

    let eval = |options: &[&str]| {
        let out = folder.path().join("log.jsonl").display().to_string();
        let base = [
            "eval",
            "--model",
            "demo",
            "--benchmark",
            "mmlu",
            "--data",
            "demo",
        ];
        stdout(&[&base[..], &["--limit", "3", "--out", &out], options].concat());
        let log = std::fs::read_to_string(&out).unwrap();
        std::fs::remove_file(&out).unwrap();
        log
    };
    let log = eval(&["--ablate", "2,4a"]);
    assert!(log.contains("ablate 2, ablate 4a"), "{log}");
    assert_ne!(log, eval(&[]));
}

#[test]
fn mistakes_are_named_before_anything_is_computed() {
    let folder = TempDir::new().unwrap();
    let short = vector(&folder, "short", &[1.0, 2.0]);
    let base = ["trace", "--model", "demo", "--prompt", PROMPT];
    let failed = |options: &[&str], code, parts: &[&str]| {
        check_failure(&[&base[..], options].concat(), code, parts);
    };
    failed(&["--ablate", "12"], 1, &["--ablate 12", "from 0 to 11"]);
    failed(
        &["--ablate", "3x"],
        2,
        &["--ablate", "3x", "such as 3, 3a, 3m or 5-8"],
    );
    failed(&["--ablate", "3@all"], 2, &["@all", "@prompt"]);
    failed(&["--add", "3"], 2, &["--add", "12=vector.safetensors"]);
    failed(&["--add", &format!("3={short}")], 1, &["short", "[2]"]);
    failed(&["--add", "3=missing"], 1, &["cannot read missing"]);
    failed(&["--patch", "3@4"], 2, &["--patch-from"]);
    failed(
        &["--patch", "3@99", "--patch-from", "Hi"],
        1,
        &["positions 0 to", "99"],
    );
    failed(
        &["--ablate", "3", "--draft", "ngram"],
        1,
        &["--draft", "--ablate"],
    );
    failed(
        &["--add", &format!("3={short}"), "--out", &short],
        1,
        &["--out", "--add"],
    );
}
