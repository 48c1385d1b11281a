use super::*;
use crate::chat_template::ChatTemplate;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

/// A tokenizer in the manner of Llama 2: `▁` for spaces, `<0x..>` for bytes.
pub(super) fn sentencepiece_json() -> Value {
    let mut pieces = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    pieces.extend((0..=255).map(|byte| format!("<0x{byte:02X}>")));
    pieces.extend("▁ahi.,'nts!".chars().map(String::from));
    pieces.extend(["hi", "▁hi", "▁▁"].map(String::from));
    let vocab: Map<String, Value> = pieces
        .into_iter()
        .enumerate()
        .map(|(id, piece)| (piece, json!(id)))
        .collect();
    let added = [(0, "<unk>", true), (1, "<s>", true), (2, "</s>", true)];
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.map(added_token),
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "Prepend", "prepend": "▁" },
            { "type": "Replace", "pattern": { "String": " " }, "content": "▁" },
        ]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": { "type": "Sequence", "decoders": [
            { "type": "Replace", "pattern": { "String": "▁" }, "content": " " },
            { "type": "ByteFallback" },
            { "type": "Fuse" },
            { "type": "Strip", "content": " ", "start": 1, "stop": 0 },
        ]},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": "<unk>",
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": true, "byte_fallback": true, "ignore_merges": false,
            "vocab": vocab, "merges": [["h", "i"], ["▁", "hi"], ["▁", "▁"]],
        },
    })
}

pub(super) fn added_token((id, content, special): (u32, &str, bool)) -> Value {
    json!({
        "id": id, "content": content, "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": special,
    })
}

/// Writes files into a folder and loads the tokenizer from it.
pub(super) fn load(files: &[(&str, Value)]) -> Result<Tokenizer, TokenizerError> {
    load_in(&folder(files))
}

fn folder(files: &[(&str, Value)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (name, value) in files {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn load_in(folder: &TempDir) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_folder(folder.path())
}

fn with_config(config: Value) -> Tokenizer {
    load(&[
        ("tokenizer.json", sentencepiece_json()),
        ("tokenizer_config.json", config),
    ])
    .unwrap()
}

fn encoded(tokenizer: &Tokenizer, text: &str, special: AddSpecialTokens) -> String {
    tokenizer
        .pieces(&tokenizer.encode(text, special).unwrap())
        .join("|")
}

#[test]
fn the_class_decides_who_adds_markers() {
    let check = |config: Value, expected: &str| {
        let tokenizer = with_config(config.clone());
        assert_eq!(
            encoded(&tokenizer, "hi", AddSpecialTokens::Always),
            expected,
            "{config}"
        );
        assert_eq!(
            encoded(&tokenizer, "hi", AddSpecialTokens::Never),
            "▁hi",
            "{config}"
        );
    };
    check(json!({}), "▁hi");
    // The generic class leaves it to the post-processor, and here is none.
    let generic = json!({ "tokenizer_class": "PreTrainedTokenizerFast", "add_bos_token": true, "bos_token": "<s>" });
    check(generic, "▁hi");
    check(
        json!({ "tokenizer_class": "LlamaTokenizerFast" }),
        "<s>|▁hi",
    );
    check(
        json!({ "tokenizer_class": "LlamaTokenizer", "add_eos_token": true }),
        "<s>|▁hi|</s>",
    );
    check(
        json!({ "tokenizer_class": "LlamaTokenizer", "add_bos_token": false }),
        "▁hi",
    );
    check(
        json!({ "tokenizer_class": "LlamaTokenizer", "bos_token": { "content": "</s>" } }),
        "</s>|▁hi",
    );
    // Without a class, the architecture stands in for it.
    let files = [
        ("tokenizer.json", sentencepiece_json()),
        ("config.json", json!({ "model_type": "mistral" })),
    ];
    assert_eq!(
        encoded(&load(&files).unwrap(), "hi", AddSpecialTokens::Always),
        "<s>|▁hi"
    );
}

#[test]
fn a_prompt_has_one_bos() {
    let tokenizer = with_config(json!({ "tokenizer_class": "LlamaTokenizer" }));
    let check = |text: &str, special: AddSpecialTokens, expected: &str| {
        let ids = tokenizer.encode(text, special).unwrap();
        assert_eq!(
            tokenizer.pieces(&ids).join("|"),
            expected,
            "{text} {special:?}"
        );
    };
    check("hi", AddSpecialTokens::Once, "<s>|▁hi");
    check("<s>hi", AddSpecialTokens::Once, "<s>|▁hi");
    check("<s>hi", AddSpecialTokens::Never, "<s>|▁hi");
    check("hi", AddSpecialTokens::Never, "▁hi");
    // What the text repeats itself is its own business.
    check("<s><s>hi", AddSpecialTokens::Once, "<s>|<s>|▁hi");
    check("", AddSpecialTokens::Once, "<s>");
    let bare = with_config(json!({ "bos_token": "<s>" }));
    assert_eq!(
        bare.encode("<s><s>", AddSpecialTokens::Once).unwrap(),
        [1, 1]
    );
}

#[test]
fn text_and_pieces() {
    let tokenizer = with_config(json!({
        "tokenizer_class": "LlamaTokenizer", "eos_token": "<|end|>",
        "additional_special_tokens": ["<|tool|>"],
    }));
    let ids = tokenizer
        .encode("hi é<|tool|>", AddSpecialTokens::Always)
        .unwrap();
    assert_eq!(
        tokenizer.pieces(&ids),
        ["<s>", "▁hi", "▁", "<0xC3>", "<0xA9>", "<|tool|>"]
    );
    assert_eq!(
        tokenizer.decode(&ids, DecodedSpecialTokens::Keep).unwrap(),
        "<s> hi é<|tool|>"
    );
    assert_eq!(
        tokenizer.decode(&ids, DecodedSpecialTokens::Skip).unwrap(),
        "hi é"
    );
    // Tokens that the vocabulary lacked got the next ids.
    let n_pieces = tokenizer.vocab_size();
    assert_eq!(n_pieces, 3 + 256 + 11 + 3 + 2);
    assert_eq!(tokenizer.bos_id(), Some(1));
    assert_eq!(tokenizer.eos_id(), Some(n_pieces as u32 - 2));
    assert_eq!(tokenizer.stop_ids(), [n_pieces as u32 - 2]);
    assert!(tokenizer.is_special(1) && !tokenizer.is_special(5));
    assert_eq!(tokenizer.pieces(&[9999]), [""]);
    assert_eq!(
        tokenizer
            .decode(&[9999], DecodedSpecialTokens::Keep)
            .unwrap(),
        ""
    );

    let clean = with_config(json!({ "clean_up_tokenization_spaces": true }));
    let ids = clean
        .encode("hi , hi . hi n't 's", AddSpecialTokens::Always)
        .unwrap();
    assert_eq!(
        clean.decode(&ids, DecodedSpecialTokens::Skip).unwrap(),
        "hi, hi. hin't's"
    );
}

#[test]
fn neither_truncation_nor_padding() {
    let mut tokenizer = sentencepiece_json();
    tokenizer["truncation"] =
        json!({ "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 });
    tokenizer["padding"] = json!({
        "strategy": { "Fixed": 9 }, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "<unk>",
    });
    let tokenizer = load(&[("tokenizer.json", tokenizer)]).unwrap();
    assert_eq!(
        encoded(&tokenizer, "hi hi hi", AddSpecialTokens::Always),
        "▁hi|▁hi|▁hi"
    );
}

#[test]
fn which_file_wins() {
    let tokenizer = ("tokenizer.json", sentencepiece_json());
    let jinja = ("chat_template.jinja", json!("jinja {{ bos_token }}"));
    let processor = (
        "chat_template.json",
        json!({ "chat_template": "processor" }),
    );
    let config = (
        "tokenizer_config.json",
        json!({ "chat_template": "config", "bos_token": "</s>" }),
    );
    let map = (
        "special_tokens_map.json",
        json!({ "bos_token": { "content": "<s>" }, "unk_token": "" }),
    );
    let check = |files: &[&(&str, Value)], expected: &str| {
        let files: Vec<_> = files.iter().map(|&file| file.clone()).collect();
        let tokenizer = load(&files).unwrap();
        let text = tokenizer.render_chat(&[ChatMessage::new("user", "x")], &ChatOptions::default());
        assert_eq!(text.unwrap(), expected);
    };
    check(&[&tokenizer, &jinja, &processor, &config], "jinja </s>");
    check(&[&tokenizer, &jinja, &config, &map], "jinja <s>");
    check(&[&tokenizer, &processor, &config], "config");
    check(&[&tokenizer, &processor], "processor");
    let newer = (
        "tokenizer_config.json",
        json!({ "bos_token": "</s>", "added_tokens_decoder": {} }),
    );
    check(&[&tokenizer, &jinja, &newer, &map], "jinja </s>");
    let named = json!({ "chat_template": [{ "name": "default", "template": "named" }] });
    check(&[&tokenizer, &("tokenizer_config.json", named)], "named");

    let stops = |generation: Value, config: Value| {
        let files = [
            tokenizer.clone(),
            ("generation_config.json", generation),
            ("config.json", config),
        ];
        load(&files).unwrap().stop_ids().to_vec()
    };
    assert_eq!(
        stops(
            json!({ "eos_token_id": [5, 2] }),
            json!({ "eos_token_id": 9 })
        ),
        [5, 2, 9]
    );
    assert_eq!(stops(json!({ "eos_token_id": 7 }), json!({})), [7]);
    assert_eq!(stops(json!({}), json!({ "eos_token_id": 9 })), [9]);
}

#[test]
fn faults_name_the_file() {
    let check = |files: &[(&str, Value)], expected: &str| {
        let folder = folder(files);
        let error = load_in(&folder).unwrap_err().to_string();
        let path = folder.path().display().to_string();
        assert_eq!(error.replace(&(path + "/"), ""), expected);
    };
    let tokenizer = ("tokenizer.json", sentencepiece_json());
    check(&[], "cannot read tokenizer.json");
    check(
        &[("tokenizer.json", json!({}))],
        "tokenizer.json is not a valid tokenizer",
    );
    for name in [
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.json",
        "generation_config.json",
        "config.json",
    ] {
        check(
            &[tokenizer.clone(), (name, json!("{"))],
            &format!("{name} is malformed"),
        );
    }
    check(
        &[
            tokenizer.clone(),
            ("tokenizer_config.json", json!({ "bos_token": 3 })),
        ],
        "tokenizer_config.json: \"bos_token\" is neither a text nor a token with a \"content\"",
    );
    check(
        &[
            tokenizer.clone(),
            (
                "tokenizer_config.json",
                json!({ "tokenizer_class": "LlamaTokenizer", "bos_token": null }),
            ),
        ],
        "tokenizer_config.json: \"add_bos_token\" is set but there is no \"bos_token\"",
    );
    let bare = load(&[tokenizer]).unwrap();
    assert!(!bare.has_chat_template());
    let error = bare.render_chat(&[], &ChatOptions::default()).unwrap_err();
    assert!(error.to_string().ends_with("has no chat template"));
}

#[test]
fn types_can_be_shared_between_threads() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Tokenizer>();
    check::<ChatTemplate>();
}
