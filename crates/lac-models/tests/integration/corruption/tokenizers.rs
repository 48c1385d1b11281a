//! `tokenizer.json` and the files beside it; chat templates that do not end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lac_models::{
    AddSpecialTokens, ChatMessage, ChatOptions, DecodedSpecialTokens, Tokenizer,
    chat_template::{ChatError, ChatTemplate, RenderLimits, TemplateSource},
    tokenizer::{TEMPLATE_FOLDER, TokenizerError},
};
use lac_test_corruption::{Allowance, cases, damaged_bytes, damaged_json, within};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{check_error, check_parts};

/// The library keeps a vocabulary several times, in hash maps.
const ALLOWANCE: Allowance = Allowance {
    per_byte: 500,
    constant: 8 << 20,
};

const FILE: &str = "tokenizer.json";

fn fixture(family: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/chat")
        .join(family)
}

fn good(family: &str) -> String {
    fs::read_to_string(fixture(family).join(FILE)).unwrap()
}

const TEXT: &str =
    "Hello  wörld, it's 2024!\n\n <s>[INST] 日本語 \u{1F600} e\u{301} aaaaaaaaaaaaaaaa";

/// Loads a tokenizer and uses it: a text to ids and back, whole and streamed.
fn try_out(folder: &Path, n_bytes: usize) -> Result<(), TokenizerError> {
    within(ALLOWANCE, n_bytes, || {
        let tokenizer = Tokenizer::from_folder(folder)?;
        for special in [AddSpecialTokens::Always, AddSpecialTokens::Never] {
            let ids = tokenizer.encode(TEXT, special)?;
            tokenizer.decode(&ids, DecodedSpecialTokens::Skip)?;
            let mut stream = tokenizer.stream(DecodedSpecialTokens::Keep);
            for id in ids.into_iter().chain([0, 1, 7, 300, u32::MAX]) {
                stream.push(id)?;
            }
            stream.finish()?;
        }
        Ok(())
    })
}

fn survives(files: &[(&str, &[u8])]) {
    let folder = TempDir::new().unwrap();
    let mut n_bytes = 0;
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
        n_bytes += bytes.len();
    }
    if let Err(error) = try_out(folder.path(), n_bytes) {
        let message = lac_test_corruption::message(&error);
        assert!(!message.is_empty() && message.len() < 4000, "{message}");
        let is_of_text = matches!(error, TokenizerError::Encode(_) | TokenizerError::Decode(_));
        assert!(is_of_text || message.contains(".json"), "{message}");
    }
}

fn refused(what: &str, change: impl FnOnce(&mut Value), parts: &[&str]) {
    let mut tokenizer: Value = serde_json::from_str(&good("qwen")).unwrap();
    change(&mut tokenizer);
    let text = tokenizer.to_string();
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FILE), &text).unwrap();
    let error = try_out(folder.path(), text.len()).expect_err(what);
    check_parts(&error, parts, what);
    if !matches!(error, TokenizerError::Encode(_) | TokenizerError::Decode(_)) {
        check_error(&error, FILE.as_ref());
    }
}

#[test]
fn tokenizers_that_contradict_themselves_are_refused() {
    refused(
        "merges of nothing",
        |t| t["model"]["merges"] = json!([["no", "where"]]),
        &[FILE, "no"],
    );
    refused(
        "merges of one",
        |t| t["model"]["merges"] = json!([["a"]]),
        &[FILE],
    );
    refused(
        "an id beyond all",
        |t| t["model"]["vocab"]["a"] = json!(1u64 << 40),
        &[FILE],
    );
    refused(
        "a negative id",
        |t| t["model"]["vocab"]["a"] = json!(-1),
        &[FILE],
    );
    refused("no model", |t| t["model"] = Value::Null, &[FILE]);
    refused(
        "a model that nobody knows",
        |t| t["model"]["type"] = json!("x"),
        &[FILE],
    );
    let unclosed = json!({"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated", "invert": false});
    refused(
        "no regular expression",
        |t| t["pre_tokenizer"] = unclosed,
        &[FILE],
    );
    let nested = |depth: usize| {
        (0..depth).fold(
            json!({"type": "Lowercase"}),
            |inner, _| json!({"type": "Sequence", "normalizers": [inner]}),
        )
    };
    refused("nested steps", |t| t["normalizer"] = nested(100), &[FILE]);
    let twice = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let steps = json!({"type": "Sequence", "normalizers": vec![twice.clone(); 40]});
    refused(
        "texts without end",
        |t| t["normalizer"] = steps,
        &[FILE, "normalizer", "times longer"],
    );
    let steps = json!({"type": "Sequence", "decoders": vec![twice; 40]});
    refused(
        "decoded texts without end",
        |t| t["decoder"] = steps,
        &[FILE, "decoder", "times longer"],
    );
    let bytes = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let steps = json!({"type": "Sequence", "pretokenizers": vec![bytes; 40]});
    refused(
        "bytes of bytes",
        |t| t["pre_tokenizer"] = steps,
        &[FILE, "pre_tokenizer", "times longer"],
    );
    let piece = json!({"Sequence": {"id": "A", "type_id": 0}});
    let template = json!({"type": "TemplateProcessing", "single": [piece, piece], "pair": [], "special_tokens": {}});
    let steps = json!({"type": "Sequence", "processors": vec![template; 40]});
    refused("ids without end", |t| t["post_processor"] = steps, &[FILE]);
}

/// A regular expression that tries every way to split a run of letters gives up.
#[test]
fn a_pattern_that_backtracks_for_ever_gives_up() {
    let pattern = json!({"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": false});
    let mut tokenizer: Value = serde_json::from_str(&good("qwen")).unwrap();
    tokenizer["pre_tokenizer"] = pattern;
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FILE), tokenizer.to_string()).unwrap();
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    let text = format!("{}b", "a".repeat(200));
    let error = tokenizer
        .encode(&text, AddSpecialTokens::Never)
        .unwrap_err();
    check_parts(&error, &["cannot encode", "retry-limit"], "backtracking");
    // It goes on working.
    assert!(
        !tokenizer
            .encode("b", AddSpecialTokens::Never)
            .unwrap()
            .is_empty()
    );
}

/// This one ends after some seconds, so that the thread that is left behind does, too.
#[test]
fn a_template_that_takes_too_long_is_left() {
    let compared = "{% set ns = namespace(l=[1], m=[1]) %}{% for i in range(26) %}\
                    {% set ns.l = [ns.l, ns.l] %}{% set ns.m = [ns.m, ns.m] %}{% endfor %}\
                    {{ ns.l == ns.m }}";
    let mut limits = RenderLimits::default();
    limits.time = Duration::from_millis(50);
    let template = ChatTemplate::new("t.jinja", TemplateSource::Single(compared.to_owned()))
        .with_limits(limits);
    let messages = [ChatMessage::new("user", "Hi")];
    let error = template
        .render(&messages, &Default::default(), &ChatOptions::default())
        .unwrap_err();
    assert!(matches!(error, ChatError::TooSlow { .. }), "{error}");
    check_error(&error, "t.jinja".as_ref());
}

/// The files that are read beside `tokenizer.json`, with every form of what they may hold.
const SIDE_FILES: [(&str, &str); 8] = [
    (
        "tokenizer_config.json",
        r#"{"tokenizer_class": "LlamaTokenizerFast", "bos_token": {"content": "<s>", "lstrip": false}, "eos_token": "</s>",
            "added_tokens_decoder": {"1": {"content": "<s>", "special": true}, "900": {"content": "<x>", "rstrip": true}},
            "extra_special_tokens": {"image_token": "<img>"}, "add_bos_token": true, "legacy": false,
            "fix_mistral_regex": true, "chat_template": [{"name": "default", "template": "{{ messages }}"}]}"#,
    ),
    (
        "special_tokens_map.json",
        r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "additional_special_tokens": ["<x>", {"content": "<y>"}]}"#,
    ),
    ("added_tokens.json", r#"{"<|user|>": 426, "<x>": 427}"#),
    (
        "generation_config.json",
        r#"{"eos_token_id": [1, 2], "bos_token_id": 1, "pad_token_id": 0, "temperature": 0.6}"#,
    ),
    (
        "config.json",
        r#"{"model_type": "mistral", "transformers_version": "4.57.1", "eos_token_id": 2, "tokenizer_class": null}"#,
    ),
    (
        "chat_template.json",
        r#"{"chat_template": {"default": "{% for m in messages %}{{ m.content }}{% endfor %}", "tool_use": "{{ tools }}"}}"#,
    ),
    ("chat_template.jinja", TEMPLATE),
    ("additional_chat_templates/default.jinja", TEMPLATE),
];

/// Renders a chat in the template of a folder, and returns what an error says.
fn rendered(folder: &Path) -> Result<(), String> {
    let tokenizer = Tokenizer::from_folder(folder).map_err(|error| error.to_string())?;
    let messages = [
        ChatMessage::new("user", "Hi xx"),
        ChatMessage::new("a", "é"),
    ];
    if !tokenizer.has_chat_template() {
        return Ok(());
    }
    let rendered = tokenizer.render_chat(&messages, &ChatOptions::default());
    rendered
        .map(drop)
        .map_err(|error| lac_test_corruption::message(&error))
}

const TEMPLATE: &str = "{%- set ns = namespace(n=0, l=[]) -%}{% macro f(x, n=2) %}{{ x|trim ~ n }}{% endmacro %}\
    {%- for m in messages -%}{% if m.role == 'user' and not loop.last %}[{{ f(m.content) }}]{% elif m['role'] in ['a'] %}\
    {{ m.content.split('x')[0]|tojson(indent=2) }}{% else %}{% set ns.n = ns.n + 1 %}{% set ns.l = ns.l + [m.content] %}\
    {{ '%s' % ns.n }}{{ ns.l|join(', ') }}{{ raise_exception('no') if ns.n > 9 }}{% endif %}{% endfor %}\
    {% raw %}{{ x }}{% endraw %}{# note #}{{ strftime_now('%Y') }}{% generation %}{{ messages[0].content[::-1]|upper * 2 }}{% endgeneration %}";

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_change_of_a_value_is_survived(
        text in prop_oneof![damaged_json(&good("qwen")), damaged_json(&good("mistral")), damaged_json(&good("llama3"))],
    ) {
        survives(&[(FILE, text.as_bytes())]);
    }

    #[test]
    fn any_change_of_a_byte_is_survived(
        bytes in prop_oneof![damaged_bytes(good("qwen").into()), damaged_bytes(good("mistral").into())],
    ) {
        survives(&[(FILE, &bytes)]);
    }

    #[test]
    fn any_change_of_a_file_beside_it_is_survived(
        config in damaged_json(&fs::read_to_string(fixture("mistral").join("tokenizer_config.json")).unwrap()),
        map in damaged_json(r#"{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "additional_special_tokens": ["<x>"]}"#),
        generation in damaged_json(r#"{"eos_token_id": [1, 2]}"#),
        added in damaged_json(r#"{"<|user|>": 426, "<x>": 427}"#),
    ) {
        let tokenizer = good("mistral");
        survives(&[
            (FILE, tokenizer.as_bytes()),
            ("tokenizer_config.json", config.as_bytes()),
            ("special_tokens_map.json", map.as_bytes()),
            ("generation_config.json", generation.as_bytes()),
            ("added_tokens.json", added.as_bytes()),
        ]);
    }

    /// No byte of any file beside the tokenizer makes it fail, or its template.
    #[test]
    fn any_change_of_a_byte_of_a_file_beside_it_is_survived(
        (name, bytes) in proptest::sample::select(&SIDE_FILES[..])
            .prop_flat_map(|(name, text)| (Just(name), damaged_bytes(text.into()))),
    ) {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join(TEMPLATE_FOLDER)).unwrap();
        let tokenizer = good("mistral");
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        write(FILE, tokenizer.as_bytes());
        write(name, &bytes);
        let message = match try_out(folder.path(), tokenizer.len() + bytes.len()) {
            Err(error) => lac_test_corruption::message(&error),
            Ok(()) => rendered(folder.path()).err().unwrap_or_default(),
        };
        prop_assert!(message.len() < 4000, "{}", message);
        let is_named = message.contains(name) || message.contains(FILE);
        prop_assert!(message.is_empty() || is_named, "{name}: {message}");
    }

    /// A template ends with a text or an error, whatever stands in it.
    #[test]
    fn any_change_of_a_template_is_survived(bytes in damaged_bytes(TEMPLATE.into())) {
        let source = String::from_utf8_lossy(&bytes).into_owned();
        let template = ChatTemplate::new("t.jinja", TemplateSource::Single(source));
        let messages = [ChatMessage::new("user", "Hi xx"), ChatMessage::new("b", "c"), ChatMessage::new("a", "é")];
        if let Err(error) = template.render(&messages, &Default::default(), &ChatOptions::default()) {
            check_error(&error, "t.jinja".as_ref());
        }
    }
}
