//! The steps around a SentencePiece vocabulary, as `tokenizer.json` writes them: `▁` is a space, and bytes that no piece
//! has are pieces of their own.

use serde_json::{Value, json};

/// Returns the normaliser that writes spaces as SentencePiece does, with one in front of a text where `adds_space`.
pub(crate) fn normalizer(adds_space: bool) -> Value {
    let mut normalizers = Vec::new();
    if adds_space {
        normalizers.push(json!({"type": "Prepend", "prepend": "▁"}));
    }
    normalizers.push(json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"}));
    json!({"type": "Sequence", "normalizers": normalizers})
}

/// Returns the decoder that makes texts of pieces, without the space in front of a text where `adds_space`.
pub(crate) fn decoder(adds_space: bool) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if adds_space {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}
