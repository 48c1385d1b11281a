//! How tokens are chosen: what a model's folder says, and the flags that overrule it.

use std::fs;

use serde_json::{Value, json};

use crate::{chat_model, lac};

/// Generates with a `generation_config.json` and returns the JSON and stderr.
fn generate(generation_config: &Value, flags: &[&str]) -> (Value, String) {
    let folder = chat_model();
    let path = folder.path().join("generation_config.json");
    fs::write(path, generation_config.to_string()).unwrap();
    let model = folder.path().display().to_string();
    let prompt = ["--prompt", "Why is the sky blue?", "--max-new-tokens", "12"];
    let args = [
        &["generate", "--model", &model, "--dummy-weights", "--json"],
        &prompt[..],
        flags,
    ]
    .concat();
    let output = lac(&args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{flags:?}: {stderr}");
    (serde_json::from_slice(&output.stdout).unwrap(), stderr)
}

#[test]
fn the_folder_decides_where_the_flags_are_silent() {
    let of_folder = json!({
        "do_sample": true, "temperature": 0.5, "top_p": 0.75, "repetition_penalty": 1.5,
        "num_beams": 4, "eos_token_id": 1,
    });
    let check = |config: &Value, flags: &[&str], sampling: Value, processors: Option<Value>| {
        let (generation, _) = generate(config, flags);
        assert_eq!(generation["sampling"], sampling, "{flags:?}");
        assert_eq!(
            generation.get("processors"),
            processors.as_ref(),
            "{flags:?}"
        );
        assert_eq!(
            generate(config, flags).0["ids"],
            generation["ids"],
            "{flags:?}"
        );
    };
    let random = |temperature: f32, top_k: Value, top_p: Value| {
        json!({ "random": {
            "temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": 0,
        } })
    };
    let penalty = || Some(json!({ "repetition_penalty": 1.5 }));
    let none = Value::Null;
    check(
        &of_folder,
        &[],
        random(0.5, none.clone(), json!(0.75)),
        penalty(),
    );
    check(&of_folder, &["--greedy"], json!("greedy"), penalty());
    check(
        &of_folder,
        &[
            "--top-k",
            "3",
            "--temperature",
            "2",
            "--repetition-penalty",
            "1",
        ],
        random(2.0, json!(3), json!(0.75)),
        None,
    );
    let ignored = ["--ignore-generation-config"];
    check(&of_folder, &ignored, json!("greedy"), None);
    let ignored = ["--ignore-generation-config", "--top-p", "0.5"];
    check(
        &of_folder,
        &ignored,
        random(1.0, none.clone(), json!(0.5)),
        None,
    );
    // A folder that draws nothing may hold a temperature of 0.
    let greedy = json!({ "temperature": 0.0, "top_k": 5 });
    check(&greedy, &[], json!("greedy"), None);
    check(
        &greedy,
        &["--top-p", "0.5"],
        random(1.0, json!(5), json!(0.5)),
        None,
    );

    let (_, stderr) = generate(&of_folder, &[]);
    assert!(
        stderr.contains("generation_config.json: not used: num_beams 4"),
        "{stderr}"
    );
}

#[test]
fn penalties_act_on_greedy_text() {
    let repeats = |config: Value| {
        let ids = generate(&config, &[]).0["ids"].clone();
        let mut ids: Vec<u64> = serde_json::from_value(ids).unwrap();
        let n = ids.len();
        ids.sort();
        ids.dedup();
        n - ids.len()
    };
    assert!(repeats(json!({})) > 0);
    assert_eq!(repeats(json!({ "no_repeat_ngram_size": 1 })), 0);
}

/// The configuration of a base model names the end of a document, and the chat template ends a turn otherwise.
#[test]
fn a_turn_ends_where_any_file_says_so() {
    let (_, silent) = generate(&json!({}), &[]);
    assert!(!silent.contains("a text also ends at"), "{silent}");
    let (_, stderr) = generate(&json!({ "eos_token_id": 5 }), &[]);
    assert!(
        stderr.contains("a text also ends at <|im_end|>"),
        "{stderr}"
    );
    assert!(stderr.contains("generation_config.json names"), "{stderr}");
}
