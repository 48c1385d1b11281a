//! Prompts in files and on the command line: every command reads them alike.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{chat_model, check_failure, json, lac, stdout};

/// Files that hold the same two prompts; the second one is not put through the chat template.
const FILES: [(&str, &str); 2] = [
    (
        "p.jsonl",
        "{\"prompt\": \"Who are you?\"}\n{\"prompt\": \"Kodo lives\", \"raw\": true}\n",
    ),
    (
        "marked.jsonl",
        "\u{feff}{\"messages\": [{\"role\": \"user\", \"content\": \"Who are you?\"}]}\r\n\r\n\
         {\"raw\": true, \"prompt\": \"Kodo lives\"}\r\n",
    ),
];

/// Files of one prompt.
const ONE: [(&str, &str); 4] = [
    ("p.txt", "Who are you?\n"),
    ("marked.txt", "\u{feff}Who are you?\r\n \r\n"),
    (
        "p.json",
        "[{\"role\": \"user\", \"content\": \"Who are you?\"}]",
    ),
    (
        "marked.json",
        "\u{feff}{\"messages\":\r\n[{\"role\": \"user\", \"content\": \"Who are you?\"}]}\r\n",
    ),
];

#[test]
fn every_command_reads_the_same_files() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let tokens = |flags: &[&str]| {
        json(&[&["tokenize", "--model", "demo", "--json"], flags].concat())["ids"].clone()
    };
    let first = tokens(&["--prompt", "Who are you?"]);
    let second = tokens(&["--raw", "--prompt", "Kodo lives"]);
    let short = ["--model", "demo", "--max-new-tokens", "4"];
    for (files, prompts) in [(&FILES[..], &[first.clone(), second][..]), (&ONE, &[first])] {
        let mut plans = Vec::new();
        for (name, text) in files {
            let file = place(name);
            fs::write(&file, text).unwrap();
            let trace = place("trace.parquet");
            let base = ["trace", "--model", "demo", "--max-new-tokens", "0"];
            stdout(&[&base[..], &["--prompts", &file, "--out", &trace]].concat());
            for (sequence, ids) in prompts.iter().enumerate() {
                let (out, n) = (place("one.json"), sequence.to_string());
                stdout(&["export", &trace, "--sequence", &n, "--out", &out]);
                let exported: Value =
                    serde_json::from_str(&fs::read_to_string(&out).unwrap()).unwrap();
                assert_eq!(&exported["prompt_ids"], ids, "{name}, {sequence}");
            }
            fs::remove_file(&trace).unwrap();
            let verified =
                json(&[&["verify", "--json"], &short[..], &["--prompts", &file]].concat());
            assert_eq!(verified["prompts"], prompts.len(), "{name}");
            plans.push(json(
                &[&["plan", "--out", "-"], &short[..], &["--prompts", &file]].concat(),
            ));
        }
        assert!(plans.iter().all(|plan| *plan == plans[0]));
        assert_eq!(plans[0]["provenance"]["n_prompts"], prompts.len());
    }
    // The file of one conversation is what --messages reads.
    let (file, first) = (place("marked.json"), tokens(&["--prompt", "Who are you?"]));
    assert_eq!(tokens(&["--messages", &file]), first);
}

#[test]
fn files_in_other_forms_are_refused_by_every_command() {
    let folder = TempDir::new().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let long = "Kodo ".repeat(600);
    for (name, text, parts) in [
        (
            "text.jsonl",
            "{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n",
            &["line 2", "unknown field `text`", "{\"prompt\": \"…\"}"][..],
        ),
        ("plain.jsonl", "Who are you?\n", &["line 1", "not JSON"]),
        ("list.json", "[\"a\"]", &["message 0", "one conversation"]),
        ("empty.txt", "\u{feff}\r\n", &["holds no prompt"]),
        (
            "long.txt",
            &format!("a\n{long}\n"),
            &["line 2", "the model's context holds 512"],
        ),
    ] {
        let file = place(name);
        fs::write(&file, text).unwrap();
        let parts: Vec<&str> = parts.iter().copied().chain([name]).collect();
        for command in [
            &["trace", "--out", &place("t.parquet")][..],
            &["verify"],
            &["plan", "--out", &place("plan.json")],
        ] {
            check_failure(
                &[command, &["--model", "demo", "--prompts", &file]].concat(),
                1,
                &parts,
            );
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{name}");
        fs::remove_file(&file).unwrap();
    }
    let file = place("chat.json");
    fs::write(&file, "[{\"role\": \"user\", \"content\": \"a\"}]").unwrap();
    let raw = ["verify", "--model", "demo", "--raw", "--prompts", &file];
    check_failure(&raw, 1, &["chat.json", "--raw takes texts"]);
}

#[test]
fn a_text_may_begin_with_a_hyphen() {
    let folder = chat_model();
    let model = folder.path().display().to_string();
    let base = ["--model", &model, "--raw"];
    for text in ["- list", "-1", "---", "-- a", "-h, -V"] {
        let joined = format!("--prompt={text}");
        let tokenize = [&["tokenize", "--json"], &base[..]].concat();
        let apart = json(&[&tokenize[..], &["--prompt", text]].concat());
        assert_eq!(apart["text"], text);
        assert_eq!(apart, json(&[&tokenize[..], &[&joined]].concat()));
        let generate = [&["generate", "--dummy-weights", "--json"], &base[..]].concat();
        let more = ["--prompt", text, "--stop", text, "--max-new-tokens", "1"];
        let generated = json(&[&generate[..], &more].concat());
        assert_eq!(generated["prompt_ids"], apart["ids"]);
    }
    // What could be a flag is refused, with what to write where it is meant as a text.
    for value in ["--json", "--jsno", "--greedy=1", "--"] {
        let output = lac(&[&["generate"], &base[..], &["--prompt", value]].concat());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{value}: {stderr}");
        assert!(stderr.contains(&format!("'--prompt={value}'")), "{stderr}");
        assert!(output.stdout.is_empty());
    }
    let seen = json(&[&["tokenize", "--json"], &base[..], &["--prompt=--json"]].concat());
    assert_eq!(seen["text"], json!("--json"));
}
