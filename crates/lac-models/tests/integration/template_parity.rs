//! Small templates against the Jinja environment of transformers.
//!
//! `fixtures/jinja/make_jinja.py` wrote the cases; its quarantine lists where
//! the engines are known to differ.

use lac_models::{
    ChatMessage, ChatOptions,
    chat_template::{ChatTemplate, TemplateSource},
};
use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
struct Cases {
    variables: Map<String, Value>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    template: String,
    /// What Python printed; absent if it raised an error.
    text: Option<String>,
}

#[test]
fn templates_render_as_in_transformers() {
    let Cases {
        mut variables,
        cases,
    } = serde_json::from_str(include_str!("../fixtures/jinja/cases.json")).unwrap();
    let messages = variables.shift_remove("messages").unwrap();
    let messages: Vec<ChatMessage> = serde_json::from_value(messages).unwrap();
    let mut differences = Vec::new();
    for case in &cases {
        let source = TemplateSource::Single(case.template.clone());
        let template = ChatTemplate::new("template", source);
        let rendered = template.render(&messages, &variables, &ChatOptions::default());
        let is_same = match &case.text {
            Some(text) => rendered.as_ref().is_ok_and(|rendered| rendered == text),
            None => rendered.is_err(),
        };
        if !is_same {
            differences.push(format!(
                "{:?}\n  {:?}\n  {rendered:?}",
                case.template, case.text
            ));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
