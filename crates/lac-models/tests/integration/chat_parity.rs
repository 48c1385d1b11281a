//! Chat prompts and ids against transformers, for every fixture family.
//!
//! `fixtures/make_fixtures.py` wrote the tokenizers, the templates and what
//! transformers makes of them.

use std::fs;
use std::path::{Path, PathBuf};

use lac_models::{AddSpecialTokens, DecodedSpecialTokens, Tokenizer, tokenizer::EncodedChat};
use lac_models::{ChatMessage, ChatOptions};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct ChatCase {
    name: String,
    messages: Vec<ChatMessage>,
    add_generation_prompt: bool,
    kwargs: Map<String, Value>,
    now: String,
    #[serde(flatten)]
    expected: Expected,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Expected {
    Text {
        expected_text: String,
        expected_ids: Vec<u32>,
        expected_pieces: Vec<String>,
    },
    Error {
        expected_error: String,
    },
}

#[derive(Deserialize)]
struct PlainCase {
    text: String,
    ids: Vec<u32>,
    ids_without_special: Vec<u32>,
    pieces: Vec<String>,
    decoded: String,
}

fn check(family: &str) {
    let folder = fixtures().join(family);
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    for case in read::<ChatCase>(&folder.join("cases.json")) {
        check_chat(&tokenizer, &format!("{family}: {}", case.name), case);
    }
    for case in read::<PlainCase>(&folder.join("plain.json")) {
        check_plain(&tokenizer, &format!("{family}: {:?}", case.text), &case);
    }
}

fn check_chat(tokenizer: &Tokenizer, name: &str, case: ChatCase) {
    let mut kwargs = case.kwargs;
    let mut array = |field| {
        kwargs
            .shift_remove(field)
            .and_then(|value| serde_json::from_value(value).ok())
    };
    let mut options = ChatOptions::default().at(&case.now).unwrap();
    options.tools = array("tools");
    options.documents = array("documents");
    options.add_generation_prompt = case.add_generation_prompt;
    options.extra = kwargs;
    let encoded = tokenizer.encode_chat(&case.messages, &options);
    match case.expected {
        Expected::Text {
            expected_text,
            expected_ids,
            expected_pieces,
        } => {
            let EncodedChat { text, ids } = encoded.unwrap();
            assert_eq!(text, expected_text, "{name}");
            assert_eq!(ids, expected_ids, "{name}");
            assert_eq!(tokenizer.pieces(&ids), expected_pieces, "{name}");
        }
        Expected::Error { expected_error } => {
            let error = encoded.unwrap_err().to_string();
            assert!(error.ends_with(&expected_error), "{name}: {error}");
        }
    }
}

fn check_plain(tokenizer: &Tokenizer, name: &str, case: &PlainCase) {
    let ids = tokenizer
        .encode(&case.text, AddSpecialTokens::Always)
        .unwrap();
    assert_eq!(ids, case.ids, "{name}");
    assert_eq!(tokenizer.pieces(&ids), case.pieces, "{name}");
    let bare = tokenizer
        .encode(&case.text, AddSpecialTokens::Never)
        .unwrap();
    assert_eq!(bare, case.ids_without_special, "{name}");
    let decoded = tokenizer.decode(&ids, DecodedSpecialTokens::Skip).unwrap();
    assert_eq!(decoded, case.decoded, "{name}");

    let mut stream = tokenizer.stream(DecodedSpecialTokens::Skip);
    let mut streamed: String = ids
        .iter()
        .filter_map(|&id| stream.push(id).unwrap())
        .collect();
    streamed.extend(stream.finish().unwrap());
    assert_eq!(streamed, case.decoded, "{name}");
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/chat")
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Vec<T> {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn qwen() {
    check("qwen");
}

#[test]
fn llama3() {
    check("llama3");
}

#[test]
fn mistral() {
    check("mistral");
}
