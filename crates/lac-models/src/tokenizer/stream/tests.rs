use super::super::tests::{added_token, load, sentencepiece_json};
use super::*;
use crate::tokenizer::AddSpecialTokens;
use proptest::prelude::*;
use serde_json::{Map, json};

/// Byte-level BPE as in GPT-2, Qwen and Llama 3, with added tokens.
fn byte_level_json() -> Value {
    let mut vocab = Map::new();
    let mut n_shifted = 0;
    for byte in 0..=255_u32 {
        let is_printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..);
        let code = if is_printable { byte } else { 256 + n_shifted };
        n_shifted += u32::from(!is_printable);
        vocab.insert(char::from_u32(code).unwrap().to_string(), json!(byte));
    }
    vocab.insert("Ġn".to_owned(), json!(256));
    let added = [
        (257, "<|end|>", true),
        (258, "<tool>", false),
        (259, "é x", false),
    ];
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.map(added_token),
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": [["Ġ", "n"]],
        },
    })
}

fn with_decoder(decoder: Value) -> Value {
    let mut tokenizer = sentencepiece_json();
    tokenizer["decoder"] = decoder;
    tokenizer
}

fn tokenizer(json: Value, clean_up: bool) -> Tokenizer {
    let config = json!({ "clean_up_tokenization_spaces": clean_up });
    load(&[("tokenizer.json", json), ("tokenizer_config.json", config)]).unwrap()
}

/// Every kind of decoder, the last of which cannot be streamed.
fn tokenizers() -> Vec<Tokenizer> {
    let metaspace = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false });
    let word_piece = json!({ "type": "WordPiece", "prefix": "h", "cleanup": true });
    let suffix = json!({ "type": "BPEDecoder", "suffix": "i" });
    let strip = json!({ "type": "Sequence", "decoders": [
        { "type": "Fuse" }, { "type": "Strip", "content": "i", "start": 0, "stop": 1 },
    ]});
    let decoders = [metaspace, word_piece, suffix, Value::Null, strip];
    [byte_level_json(), sentencepiece_json()]
        .into_iter()
        .chain(decoders.map(with_decoder))
        .flat_map(|json| [tokenizer(json.clone(), false), tokenizer(json, true)])
        .collect()
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32], special: DecodedSpecialTokens) -> Vec<String> {
    let mut stream = tokenizer.stream(special);
    let mut chunks = Vec::new();
    for &id in ids {
        chunks.extend(stream.push(id).unwrap());
    }
    chunks.extend(stream.finish().unwrap());
    chunks
}

proptest! {
    #[test]
    fn chunks_make_up_the_whole(
        ids in prop::collection::vec(prop_oneof![0_u32..280, 257_u32..278, 190_u32..250], 0..24),
        skip: bool,
    ) {
        static TOKENIZERS: LazyLock<Vec<Tokenizer>> = LazyLock::new(tokenizers);
        let special = if skip { DecodedSpecialTokens::Skip } else { DecodedSpecialTokens::Keep };
        for tokenizer in TOKENIZERS.iter() {
            let whole = tokenizer.decode(&ids, special).unwrap();
            prop_assert_eq!(streamed(tokenizer, &ids, special).concat(), whole);
        }
    }

    #[test]
    fn valid_text_never_shows_a_replacement_character(text in "[a-zé日😀 ▁'.\n]{0,20}") {
        for json in [byte_level_json(), sentencepiece_json()] {
            let tokenizer = tokenizer(json, false);
            let ids = tokenizer.encode(&text, AddSpecialTokens::Never).unwrap();
            for chunk in streamed(&tokenizer, &ids, DecodedSpecialTokens::Skip) {
                prop_assert!(!chunk.contains('\u{fffd}'), "{:?}", chunk);
            }
        }
    }
}

#[test]
fn text_comes_as_soon_as_it_is_certain() {
    let check = |tokenizer: &Tokenizer, ids: &[u32], expected: &[Option<&str>]| {
        let mut stream = tokenizer.stream(DecodedSpecialTokens::Skip);
        let chunks: Vec<_> = ids.iter().map(|&id| stream.push(id).unwrap()).collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|chunk| chunk.map(str::to_owned))
            .collect();
        assert_eq!(chunks, expected, "{ids:?}");
    };
    let bytes = tokenizer(byte_level_json(), false);
    // é in two bytes, an end token, a stray byte that is known to be wrong.
    check(
        &bytes,
        &[0xc3, 0xa9, 257, 0x80, 0xe6, 0x41],
        &[
            None,
            Some("é"),
            None,
            Some("\u{fffd}"),
            None,
            Some("\u{fffd}A"),
        ],
    );

    let pieces = tokenizer(sentencepiece_json(), false);
    let id = |piece: &str| pieces.piece_to_id(piece).unwrap();
    let ids = [
        id("<s>"),
        id("▁hi"),
        id("▁hi"),
        id("<0xC3>"),
        id("<0xA9>"),
        id("!"),
    ];
    check(
        &pieces,
        &ids,
        &[None, Some("hi"), Some(" hi"), None, None, Some("é!")],
    );

    let clean = tokenizer(sentencepiece_json(), true);
    let ids = [id("▁hi"), id("▁"), id("."), id("h")];
    check(&clean, &ids, &[Some("hi"), None, None, Some(".h")]);
}

#[test]
fn a_long_stream_takes_linear_time() {
    // Invalid bytes for ever are the worst case of a stream that re-reads
    // what it holds back: a hundred thousand of them would take minutes.
    for json in [byte_level_json(), sentencepiece_json()] {
        let tokenizer = tokenizer(json, true);
        let start = std::time::Instant::now();
        let chunks = streamed(&tokenizer, &vec![0xc3; 100_000], DecodedSpecialTokens::Skip);
        assert_eq!(chunks.concat().chars().count(), 100_000);
        assert!(start.elapsed().as_secs() < 20);
    }
}
