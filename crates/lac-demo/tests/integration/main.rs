//! What is embedded is what it says: the sets parse, the model answers as well as its card says,
//! and as Hugging Face transformers has it.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use burn::tensor::Device;
use lac_core::{GenerateArgs, GenerationConfig, Off, generate};
use lac_demo::{
    Choice, YesNo, choices, hard_choices, model_files, set_files, unpack, yes_no_questions,
};
use lac_eval::exact_match::{Exercise, exact_match};
use lac_models::{
    AddSpecialTokens, ChatMessage, ChatOptions, DecodedSpecialTokens, Decoder, ModelFolder,
    Tokenizer, WeightDtype, chat_template::Conversation,
};
use serde_json::Value;

/// What `make_expected.py` saw.
fn expected() -> Value {
    serde_json::from_str(include_str!("../fixtures/expected.json")).unwrap()
}

fn model() -> (Decoder, Tokenizer) {
    let folder = tempfile::tempdir().unwrap();
    unpack(model_files(), folder.path()).unwrap();
    let folder = ModelFolder::open(folder.path()).unwrap();
    let model = folder
        .load(WeightDtype::F32, &Device::flex(), &mut |_| {})
        .unwrap();
    (model, folder.tokenizer().unwrap())
}

#[test]
fn files_are_unpacked_where_they_belong() {
    let folder = tempfile::tempdir().unwrap();
    unpack(set_files(), folder.path()).unwrap();
    // Twice is as good as once.
    unpack(set_files(), folder.path()).unwrap();
    for (path, bytes) in set_files() {
        assert_eq!(
            std::fs::read(folder.path().join(path)).unwrap(),
            *bytes,
            "{path}"
        );
    }
    let size: usize = model_files().iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(size < 8_000_000, "the model takes {size} bytes");
    // A file in the way is named.
    let in_the_way = tempfile::NamedTempFile::new().unwrap();
    let error = unpack(set_files(), in_the_way.path()).unwrap_err();
    assert!(error.to_string().contains("mmlu"), "{error}");
}

#[test]
fn the_sets_are_balanced() {
    let (mmlu, gpqa, boolq) = (
        choices().unwrap(),
        hard_choices().unwrap(),
        yes_no_questions().unwrap(),
    );
    assert_eq!((mmlu.len(), gpqa.len(), boolq.len()), (400, 100, 300));
    let subjects: HashSet<&str> = mmlu.iter().map(|item| item.subject.as_str()).collect();
    assert_eq!(subjects.len(), 8);
    for items in [&mmlu, &gpqa] {
        for letter in "ABCD".chars() {
            let n = items.iter().filter(|item| item.letter() == letter).count();
            assert!(
                n.abs_diff(items.len() / 4) <= 4,
                "{letter} is right {n} times"
            );
        }
        for item in items.iter() {
            let different: HashSet<&String> = item.choices.iter().collect();
            assert_eq!(different.len(), 4, "{item:?}");
        }
    }
    assert_eq!(boolq.iter().filter(|item| item.answer).count(), 150);
}

#[test]
fn conversations_go_as_transformers_has_them() {
    let (model, tokenizer) = model();
    for case in expected()["conversations"].as_array().unwrap() {
        let conversation = Conversation::from_json(&case["messages"].to_string()).unwrap();
        let chat = tokenizer
            .encode_chat(&conversation.messages, &ChatOptions::default())
            .unwrap();
        let (rendered, prompt) = (chat.text, chat.ids);
        assert_eq!(prompt, ids(&case["prompt_ids"]), "{rendered}");
        let config = GenerationConfig::greedy(48).with_stop_tokens(tokenizer.stop_ids());
        let output = generate(&model, &[prompt], &config, GenerateArgs::new(&mut Off)).unwrap();
        assert_eq!(output.rows[0].ids, ids(&case["ids"]), "{rendered}");
        let text = tokenizer
            .decode(&output.rows[0].ids, DecodedSpecialTokens::Skip)
            .unwrap();
        assert_eq!(text, case["text"].as_str().unwrap());
    }
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Answers all questions and holds each verdict against that of transformers; returns the share
/// of right answers. Questions that transformers found nearly a tie are left out of the
/// comparison: there the last bit of a sum decides.
fn check(set: &str, questions: Vec<(String, String)>) -> f64 {
    let (model, tokenizer) = model();
    let exercises: Vec<Exercise> = questions
        .iter()
        .map(|(prompt, answer)| {
            let messages = [ChatMessage::new("user", prompt.as_str())];
            let chat = tokenizer
                .encode_chat(&messages, &ChatOptions::default())
                .unwrap();
            Exercise {
                prompt: chat.ids,
                answer: tokenizer.encode(answer, AddSpecialTokens::Never).unwrap(),
            }
        })
        .collect();
    let result = exact_match(&model, &exercises, tokenizer.stop_ids(), 16, &mut Off).unwrap();
    let expected = expected();
    let verdicts = expected["right"][set].as_str().unwrap();
    let near_ties: HashSet<usize> =
        serde_json::from_value(expected["near_ties"][set].clone()).unwrap();
    assert_eq!(verdicts.len(), questions.len());
    assert!(near_ties.len() * 20 <= questions.len(), "{near_ties:?}");
    for (i, (verdict, &right)) in verdicts.chars().zip(&result.right).enumerate() {
        if !near_ties.contains(&i) {
            assert_eq!(
                right,
                verdict == '1',
                "{set}, question {i}: {:?}",
                questions[i]
            );
        }
    }
    result.accuracy().unwrap()
}

fn of_choice(item: Choice) -> (String, String) {
    (item.prompt(), item.letter().to_string())
}

fn of_yes_no(item: YesNo) -> (String, String) {
    (item.prompt(), item.word().to_owned())
}

#[test]
fn four_choices_are_answered() {
    let accuracy = check(
        "mmlu",
        choices().unwrap().into_iter().map(of_choice).collect(),
    );
    assert!(accuracy >= 0.85, "{accuracy}");
}

#[test]
fn questions_of_two_steps_are_answered_as_by_transformers() {
    check(
        "gpqa",
        hard_choices().unwrap().into_iter().map(of_choice).collect(),
    );
}

#[test]
fn yes_or_no_is_answered() {
    let accuracy = check(
        "boolq",
        yes_no_questions()
            .unwrap()
            .into_iter()
            .map(of_yes_no)
            .collect(),
    );
    assert!(accuracy >= 0.90, "{accuracy}");
}
