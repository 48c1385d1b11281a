//! What the page is told is what the model did, whoever loads it.

#![allow(clippy::unwrap_used)]

use std::rc::Rc;

use lac_trace::TraceReader;
use lac_web::{Answer, AskConfig, Error, Files, WebModel};

#[test]
fn an_answer_comes_token_by_token_and_leaves_a_trace() {
    let model = Rc::new(WebModel::embedded().unwrap());
    let mut answer =
        Answer::new(&model, "What is three plus four?", &AskConfig::default()).unwrap();
    let mut n_tokens = 0;
    loop {
        let step = answer.step().unwrap();
        for token in &step.tokens {
            assert_eq!(token.deltas.len(), model.facts().layers);
        }
        n_tokens += step.tokens.len();
        if step.stop.is_some() {
            break;
        }
    }
    assert!(!answer.text().is_empty());
    assert!(matches!(answer.step(), Err(Error::Over)));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), answer.to_parquet().unwrap()).unwrap();
    let trace = TraceReader::open(file.path()).unwrap();
    assert_eq!(trace.n_tokens() as usize, n_tokens);
    assert_eq!(trace.sequence(0).unwrap(), answer.to_json());
}

#[test]
fn broken_files_are_named() {
    let mut files = Files::default();
    files.begin("a.gguf", 4).unwrap();
    files.push(b"no").unwrap();
    assert!(matches!(files.finish(), Err(Error::CutOff { .. })));
    let files = vec![("a.gguf".to_owned(), b"not a model".to_vec())];
    let error = WebModel::from_files("a.gguf", files, &mut |_| {}).unwrap_err();
    assert!(!error.to_string().contains("memory\0"), "{error}");
}
