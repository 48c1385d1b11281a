use lac_core::text_model::ChatMessage;
use serde_json::json;
use tempfile::TempDir;

use super::super::{AddSpecialTokens, TextSettings, Tokenizer};
use crate::chat_template::ChatOptions;

const TOKENIZER: &str = include_str!("../../../tests/fixtures/chat/qwen/tokenizer.json");

/// A folder with a tokenizer and these files.
fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("additional_chat_templates")).unwrap();
    for (name, text) in [("tokenizer.json", TOKENIZER)].iter().chain(files) {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

/// What a conversation gives, with the folder's own path left out of errors.
fn rendered(folder: &TempDir, options: &ChatOptions) -> String {
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    let text = tokenizer.render_chat(&[ChatMessage::new("user", "Hi")], options);
    let path = format!("{}/", folder.path().display());
    text.unwrap_or_else(|error| error.to_string().replace(&path, ""))
}

fn options(set: impl FnOnce(&mut ChatOptions)) -> ChatOptions {
    let mut options = ChatOptions::default();
    set(&mut options);
    options
}

const OWN: (&str, &str) = ("chat_template.jinja", "own");
const TOOLS: (&str, &str) = (
    "additional_chat_templates/tool_use.jinja",
    "T:{{ tools | tojson }}",
);
const RAG: (&str, &str) = ("additional_chat_templates/rag.jinja", "\n{{ none.x.y }}");

#[test]
fn templates_are_found_in_every_place_and_form() {
    let config = |template: serde_json::Value| json!({ "chat_template": template }).to_string();
    let text = config(json!("text"));
    let list = config(json!([
        { "name": "default", "template": "list" },
        { "name": "tool_use", "template": "list with tools" },
    ]));
    let object = config(json!({ "default": "object", "tool_use": "object with tools" }));
    let no_template = config(json!(null));
    let without = ChatOptions::default();
    let with_tools = options(|options| options.tools = Some(vec![json!({ "a": 1 })]));
    let check = |files: &[(&str, &str)], default: &str, tools: &str| {
        let folder = folder(files);
        assert_eq!(rendered(&folder, &without), default, "{files:?}");
        assert_eq!(rendered(&folder, &with_tools), tools, "{files:?}");
    };
    const CONFIG: &str = "tokenizer_config.json";
    const PROCESSOR: &str = "chat_template.json";
    check(&[(CONFIG, &text)], "text", "text");
    check(&[(CONFIG, &list)], "list", "list with tools");
    check(&[(CONFIG, &object)], "object", "object with tools");
    check(&[(CONFIG, &object), OWN], "own", "own");
    check(&[(CONFIG, &object), OWN, TOOLS], "own", "T:[{\"a\": 1}]");
    check(
        &[(CONFIG, &no_template), (PROCESSOR, &object)],
        "object",
        "object with tools",
    );
    check(&[(PROCESSOR, &list)], "list", "list with tools");
    check(
        &[(PROCESSOR, &text), (CONFIG, &list)],
        "list",
        "list with tools",
    );
    // A file of the folder's wins over the template of its own, and both over the config.
    let default = ("additional_chat_templates/default.jinja", "named");
    check(&[OWN, default], "named", "named");
    let none = "additional_chat_templates: no template is named \"default\", only tool_use";
    check(&[(CONFIG, &text), TOOLS], none, "T:[{\"a\": 1}]");
    // Other files of that folder hold no templates.
    let other = ("additional_chat_templates/README.md", "other");
    check(&[OWN, other], "own", "own");
}

#[test]
fn a_template_is_named_by_the_caller() {
    let named = |name: &str| options(|options| options.template = Some(name.to_owned()));
    let both = folder(&[OWN, TOOLS, RAG]);
    assert_eq!(rendered(&both, &named("default")), "own");
    assert_eq!(rendered(&both, &named("tool_use")), "T:null");
    // Documents choose nothing by themselves.
    let documents = options(|options| options.documents = Some(vec![json!({ "title": "t" })]));
    assert_eq!(rendered(&both, &documents), "own");
    // An error names the template's own file and line.
    let error = rendered(&both, &named("rag"));
    assert!(
        error.starts_with("additional_chat_templates/rag.jinja:2: "),
        "{error}"
    );
    assert_eq!(
        rendered(&both, &named("raq")),
        "additional_chat_templates: no template is named \"raq\", only default, rag, tool_use"
    );
    let single = folder(&[OWN]);
    assert_eq!(rendered(&single, &named("default")), "own");
    assert_eq!(
        rendered(&single, &named("rag")),
        "chat_template.jinja: no template is named \"rag\", only default"
    );
}

#[test]
fn a_malformed_template_fails_when_it_is_rendered() {
    let check = |template: serde_json::Value, expected: &str| {
        let config = json!({ "chat_template": template }).to_string();
        let folder = folder(&[("tokenizer_config.json", &config)]);
        let error = rendered(&folder, &ChatOptions::default());
        assert!(
            error.starts_with(&format!(
                "tokenizer_config.json: \"chat_template\" {expected}: expected "
            )),
            "{error}"
        );
        let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
        assert!(
            !tokenizer
                .encode("Hi", AddSpecialTokens::Once)
                .unwrap()
                .is_empty()
        );
    };
    check(json!(3), "is of another type");
    check(
        json!({ "default": 1 }),
        "names a template \"default\" that is not a text",
    );
    check(
        json!([{ "name": "default" }]),
        "has an entry without a textual \"name\" and \"template\"",
    );
}

#[test]
fn every_template_counts_in_the_fingerprint() {
    let hash = |files: &[(&str, &str)]| {
        TextSettings::read(folder(files).path())
            .unwrap()
            .chat_template
    };
    let all = hash(&[OWN, TOOLS]);
    assert!(all.is_some());
    assert_ne!(all, hash(&[OWN]));
    assert_ne!(all, hash(&[OWN, (TOOLS.0, "T")]));
    assert_ne!(
        all,
        hash(&[OWN, ("additional_chat_templates/rag.jinja", TOOLS.1)])
    );
}
