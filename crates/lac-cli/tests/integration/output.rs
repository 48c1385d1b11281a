//! What the program prints: texts byte for byte, whatever they hold.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{chat_model, lac};

/// Ids of the tokens of single bytes in the vocabulary of `chat_model`.
const NUL: u32 = 188;
const BELL: u32 = 195;
const BACKSPACE: u32 = 196;
const TAB: u32 = 197;
const RETURN: u32 = 201;
const ESCAPE: u32 = 215;
const DELETE: u32 = 221;
/// The bytes 0xC2 and 0x85 are U+0085 together, and no character alone.
const C2: u32 = 126;
const X85: u32 = 227;

/// A model that can say only the tokens that it is told, each of them once and `first` before the others.
fn says(first: u32, others: &[u32]) -> TempDir {
    let folder = chat_model();
    let all_but = |kept: &[u32]| -> Vec<u32> { (0..430).filter(|id| !kept.contains(id)).collect() };
    let config = json!({
        "suppress_tokens": all_but(&[&[first], others].concat()),
        "begin_suppress_tokens": all_but(&[first]),
        "no_repeat_ngram_size": 1,
    });
    fs::write(
        folder.path().join("generation_config.json"),
        config.to_string(),
    )
    .unwrap();
    folder
}

fn run(args: &[&str]) -> (String, String) {
    let output = lac(args);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{args:?}: {stderr}");
    (String::from_utf8(output.stdout).unwrap(), stderr)
}

fn sorted(text: &str) -> Vec<char> {
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort();
    characters
}

#[test]
fn a_text_reaches_pipes_files_and_json_byte_for_byte() {
    let controls = [NUL, BELL, BACKSPACE, TAB, RETURN, DELETE];
    for (first, others, expected) in [
        (ESCAPE, &controls[..], "\u{1b}\0\u{7}\u{8}\t\r\u{7f}"),
        (C2, &[X85], "\u{85}"),
        // A byte that is no character stands as U+FFFD, as transformers decodes it.
        (C2, &[ESCAPE], "\u{fffd}\u{1b}"),
        (X85, &[C2], "\u{fffd}\u{fffd}"),
    ] {
        let folder = says(first, others);
        let model = folder.path().display().to_string();
        let n_tokens = (others.len() + 1).to_string();
        let base = ["--model", &model, "--dummy-weights", "--raw", "--prompt"];
        let base = [&base[..], &["Hi", "--max-new-tokens", &n_tokens]].concat();

        let (text, _) = run(&[&["generate"], &base[..]].concat());
        let text = text.strip_suffix('\n').unwrap();
        assert_eq!(text.chars().next(), expected.chars().next(), "{text:?}");
        assert_eq!(sorted(text), sorted(expected), "{text:?}");
        let (generated, _) = run(&[&["generate", "--json"], &base[..]].concat());
        let trace = folder.path().join("trace.json").display().to_string();
        run(&[&["trace", "--json", &trace], &base[..]].concat());
        for json in [generated, fs::read_to_string(&trace).unwrap()] {
            let is_bare = |c: char| c.is_control() && c != '\n';
            assert!(!json.contains(is_bare), "{json:?}");
            let value: Value = serde_json::from_str(&json).unwrap();
            assert_eq!(value["text"], text);
        }
        // The picture is cut into lines of its own; the text below it is whole.
        let (picture, _) = run(&[&["trace"], &base[..]].concat());
        assert!(picture.ends_with(&format!("\n{text}\n")), "{picture:?}");
    }
}

#[test]
fn a_users_text_reaches_pipes_and_json_byte_for_byte() {
    let folder = chat_model();
    let model = folder.path().display().to_string();
    let prompt = "a\u{1b}[2J\u{7}\u{7f}\u{85}ç\tb\r\nc";
    let base = ["tokenize", "--model", &model, "--raw", "--prompt", prompt];
    let (json, _) = run(&[&base[..], &["--json"]].concat());
    let value: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["text"], prompt);
    let (list, _) = run(&base);
    let is_bare = |c: char| c.is_control() && c != '\n';
    assert!(!list.contains(is_bare), "{list:?}");
}
