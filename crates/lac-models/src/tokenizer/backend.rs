//! The tokenizer of the library, made of `tokenizer.json` and changed as transformers changes it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer};

use super::added_tokens::SpecialToken;
use super::class::{Class, Rules};
use super::configs::EdgeTokens;
use super::files::TokenizerFiles;
use super::{mistral_pattern, sentence_piece};

/// A token that a file gives another id than the library.
pub(super) struct Misplaced {
    pub(super) token: String,
    pub(super) wanted: u32,
    pub(super) given: Option<u32>,
}

/// The tokenizer, and what was found out while it was made.
pub(super) struct Built {
    pub(super) inner: Tokenizer,
    /// The first added token that does not get the id that its file says.
    pub(super) misplaced: Option<Misplaced>,
    /// The padding token of `tokenizer.json`, which counts where no other file names one.
    pub(super) pad: Option<String>,
}

pub(super) fn build(bytes: &[u8], files: &TokenizerFiles) -> tokenizers::Result<Built> {
    check_prefix_space(bytes, files)?;
    let mut added = files.added_tokens.clone();
    let mut inner = Tokenizer::from_bytes(bytes)?;
    // What tokenizer.json says of an id counts, unless the config describes its tokens itself.
    if files.added_tokens_file != Some(super::configs::CONFIG) {
        added.extend(inner.get_added_tokens_decoder());
    }
    let known = Tokenizer::clone(&inner);
    if let Some(rebuilt) = rebuilt(bytes, files)? {
        inner = rebuilt;
    }
    // A prompt is neither cut nor padded. The file may say otherwise, for training.
    inner.with_truncation(None)?;
    let padding = inner.get_padding().map(|padding| padding.pad_token.clone());
    inner.with_padding(None);
    inner.set_encode_special_tokens(files.split_special_tokens);
    let tokens = tokens_to_add(&inner, files, &added, padding.clone());
    inner.add_tokens(tokens)?;

    if let (Some(PreTokenizerWrapper::ByteLevel(byte_level)), Some(add_prefix_space), Rules::Four) = (
        inner.get_pre_tokenizer(),
        files.add_prefix_space,
        files.rules,
    ) {
        let mut byte_level = *byte_level;
        byte_level.add_prefix_space = add_prefix_space;
        inner.with_pre_tokenizer(Some(byte_level));
    }
    if files.fixes_mistral_pattern {
        let n_entries = inner.get_vocab_size(true);
        let steps = mistral_pattern::with_right_pattern(inner.get_pre_tokenizer(), n_entries)?;
        if steps.is_some() {
            inner.with_pre_tokenizer(steps);
        }
    }
    if let Some(edges) = &files.edge_tokens {
        let post_processor = edge_template(&inner, edges)?;
        inner.with_post_processor(Some(post_processor));
    }
    let misplaced = added.iter().find_map(|(id, token)| {
        let given = inner.token_to_id(&token.content);
        let is_known = files.rules == Rules::Four && known.token_to_id(&token.content).is_some();
        (given != Some(*id) && !is_known).then(|| Misplaced {
            token: token.content.clone(),
            wanted: *id,
            given,
        })
    });
    Ok(Built {
        inner,
        misplaced,
        pad: padding,
    })
}

/// Checks that `add_prefix_space` asks a Llama class of version 4 for the steps that `tokenizer.json` has. The class
/// would build the tokenizer anew, from `tokenizer.model`.
fn check_prefix_space(bytes: &[u8], files: &TokenizerFiles) -> tokenizers::Result<()> {
    let (Rules::Four, Class::Llama, Some(has_prefix)) =
        (files.rules, files.class, files.add_prefix_space)
    else {
        return Ok(());
    };
    let is_legacy = files.legacy.unwrap_or(true);
    let (normalizer, pre_tokenizer) = if is_legacy {
        (sentence_piece::normalizer(has_prefix), Value::Null)
    } else {
        let scheme = if has_prefix { "first" } else { "never" };
        (Value::Null, metaspace(scheme))
    };
    let tokenizer: Value = serde_json::from_slice(bytes)?;
    if tokenizer["normalizer"] == normalizer
        && tokenizer["pre_tokenizer"] == pre_tokenizer
        && tokenizer["decoder"] == sentence_piece::decoder(has_prefix)
    {
        return Ok(());
    }
    Err(format!(
        "tokenizer_config.json asks with \"add_prefix_space\": {has_prefix} for other steps than it has, which \
         transformers builds from tokenizer.model: save the tokenizer with transformers, or set \"add_prefix_space\" \
         to null"
    )
    .into())
}

fn metaspace(scheme: &str) -> Value {
    json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": false})
}

/// Lists the tokens that transformers adds on loading, with the flags that it gives them.
fn tokens_to_add(
    inner: &Tokenizer,
    files: &TokenizerFiles,
    added: &BTreeMap<u32, AddedToken>,
    padding: Option<String>,
) -> Vec<AddedToken> {
    let known = inner.get_added_tokens_decoder();
    let mut tokens: Vec<AddedToken> = added.values().cloned().collect();
    let is_listed = |text: &str| {
        known
            .values()
            .chain(added.values())
            .any(|token| token.content == text)
    };
    let described = |text: &str| added.values().find(|token| token.content == text);
    let is_named = |text: &str| {
        files
            .specials
            .named
            .iter()
            .any(|(_, token)| token.text() == text)
    };

    let mut specials: Vec<SpecialToken> = files
        .specials
        .in_order(files.rules)
        .into_iter()
        .cloned()
        .collect();
    if !files.special_tokens.contains_key("pad_token") {
        specials.extend(padding.map(SpecialToken::Text));
    }
    let mut seen: Vec<String> = Vec::new();
    for special in &specials {
        let text = special.text();
        if seen.iter().any(|other| other == text) {
            continue;
        }
        seen.push(text.to_owned());
        let token = match special {
            SpecialToken::Text(text) if is_listed(text) => continue,
            SpecialToken::Text(text) => AddedToken::from(text.clone(), true),
            SpecialToken::Flagged(_) if files.rules == Rules::Five && is_listed(text) => continue,
            SpecialToken::Flagged(token) if is_named(text) => {
                described(text).unwrap_or(token).clone()
            }
            SpecialToken::Flagged(token) => token.clone(),
        };
        if !tokens.contains(&token) {
            tokens.push(token);
        }
    }
    for token in &mut tokens {
        let is_special = match files.rules {
            Rules::Four => seen.contains(&token.content),
            Rules::Five => is_named(&token.content),
        };
        token.special |= is_special;
    }
    if files.rules == Rules::Five && files.class == Class::Qwen2 {
        tokens.extend(seen.into_iter().map(|text| AddedToken::from(text, true)));
    }
    tokens
}

/// Makes the tokenizers that classes of transformers 5 build themselves: the vocabulary, the merges and the
/// post-processor are those of `tokenizer.json`, everything else is the class's.
fn rebuilt(bytes: &[u8], files: &TokenizerFiles) -> tokenizers::Result<Option<Tokenizer>> {
    if files.rules == Rules::Four || files.class == Class::Generic {
        return Ok(None);
    }
    let mut tokenizer: Value = serde_json::from_slice(bytes)?;
    let byte_level = |add_prefix_space: bool, use_regex: bool| json!({"type": "ByteLevel", "add_prefix_space": add_prefix_space, "trim_offsets": true, "use_regex": use_regex});
    let prefix = files.add_prefix_space;
    let (normalizer, pre_tokenizer, decoder) = match files.class {
        Class::Gpt2 => (
            Value::Null,
            byte_level(prefix.unwrap_or(false), true),
            byte_level(true, true),
        ),
        Class::Qwen2 => {
            const PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
            let split = json!({"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false});
            let steps = [split, byte_level(prefix.unwrap_or(false), false)];
            (
                json!({"type": "NFC"}),
                json!({"type": "Sequence", "pretokenizers": steps}),
                byte_level(true, true),
            )
        }
        _ => {
            let has_prefix = prefix.unwrap_or(true);
            let scheme = match (has_prefix, files.class, files.legacy.unwrap_or(false)) {
                (false, ..) => "never",
                (true, Class::CodeLlama, _) | (true, _, false) => "first",
                (true, _, true) => "always",
            };
            (
                Value::Null,
                metaspace(scheme),
                sentence_piece::decoder(has_prefix || files.class == Class::CodeLlama),
            )
        }
    };
    let is_llama = matches!(files.class, Class::Llama | Class::CodeLlama);
    let unk = match files.class {
        Class::CodeLlama => files.special("unk_token").map(str::to_owned),
        _ => None,
    };
    let empty = (!is_llama).then_some("");
    let model = json!({
        "type": "BPE", "dropout": null, "unk_token": unk,
        "continuing_subword_prefix": empty, "end_of_word_suffix": empty,
        "fuse_unk": is_llama, "byte_fallback": is_llama, "ignore_merges": false,
        "vocab": tokenizer["model"]["vocab"].take(), "merges": tokenizer["model"]["merges"].take(),
    });
    if let Some(unk) = unk
        && model["vocab"].get(&unk).is_none()
    {
        return Err(format!("its vocabulary lacks the class's unk_token {unk:?}").into());
    }
    tokenizer["model"] = model;
    tokenizer["normalizer"] = normalizer;
    tokenizer["pre_tokenizer"] = pre_tokenizer;
    tokenizer["decoder"] = decoder;
    tokenizer["added_tokens"] = json!([]);
    Ok(Some(Tokenizer::from_bytes(serde_json::to_vec(
        &tokenizer,
    )?)?))
}

/// Builds the post-processor that puts a BOS and an EOS around a text.
pub(super) fn edge_template(
    inner: &Tokenizer,
    edges: &EdgeTokens,
) -> tokenizers::Result<PostProcessorWrapper> {
    let mut special_tokens = Map::new();
    let mut piece = |token: &Option<String>, type_id: u32| {
        token.as_ref().map(|text| {
            let ids = Vec::from_iter(inner.token_to_id(text));
            let token = json!({ "id": text, "ids": ids, "tokens": [text] });
            special_tokens.insert(text.clone(), token);
            json!({ "SpecialToken": { "id": text, "type_id": type_id } })
        })
    };
    let mut side = |name: &str, type_id: u32| -> Vec<Value> {
        let text = json!({ "Sequence": { "id": name, "type_id": type_id } });
        let (bos, eos) = (piece(&edges.bos, type_id), piece(&edges.eos, type_id));
        bos.into_iter().chain([text]).chain(eos).collect()
    };
    let single = side("A", 0);
    let pair = [side("A", 0), side("B", 1)].concat();
    Ok(serde_json::from_value(json!({
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": special_tokens,
    }))?)
}
