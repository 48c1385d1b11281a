//! The tokenizer of a GGUF file, made of its metadata.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tokenizers::models::bpe::BPE;
use tokenizers::{AddedToken, DecoderWrapper, NormalizerWrapper, PreTokenizerWrapper};

use super::error::GgufError;
use super::merges::{listed_merges, merges_of_scores};
use super::metadata::Metadata;
use super::vocabulary::{TokenKind, TokenizerModel, Vocabulary};
use crate::chat_template::{ChatTemplate, TemplateSource};
use crate::hash::FieldHasher;
use crate::tokenizer::{
    EdgeTokens, StopTokens, TextSettings, Tokenizer, TokenizerError, TokenizerParts, sentence_piece,
};

/// The key of the chat template; named ones have their name behind it.
const TEMPLATE: &str = "tokenizer.chat_template";

/// Makes the tokenizer, with its chat template.
///
/// # Errors
/// The metadata has no vocabulary, one of another kind, or one that contradicts itself.
pub(crate) fn gguf_tokenizer(metadata: &Metadata) -> Result<Tokenizer, GgufError> {
    let Some(vocabulary) = Vocabulary::read(metadata)? else {
        return Err(metadata.missing("tokenizer.ggml.model", "gpt2 or llama"));
    };
    let invalid = |source| {
        GgufError::Tokenizer(TokenizerError::Tokenizer {
            file: metadata.path().to_owned(),
            source,
        })
    };
    let merges = match vocabulary.model {
        TokenizerModel::ByteLevel(_) => listed_merges(metadata, &vocabulary)?,
        TokenizerModel::SentencePiece => merges_of_scores(metadata, &vocabulary)?,
    };
    let inner = library_tokenizer(&vocabulary, merges).map_err(invalid)?;
    let text = |id: Option<u32>| id.map(|id| vocabulary.token(id).to_owned());
    let parts = TokenizerParts {
        inner,
        path: metadata.path().to_owned(),
        special_tokens: special_tokens(&vocabulary),
        bos: vocabulary.bos,
        eos: vocabulary.eos,
        pad: vocabulary.padding,
        edge_tokens: EdgeTokens {
            bos: text(vocabulary.bos.filter(|_| vocabulary.adds_bos)),
            eos: text(vocabulary.eos.filter(|_| vocabulary.adds_eos)),
        },
        stop_tokens: StopTokens::of_metadata(vocabulary.ends.clone()),
        chat_template: chat_template(metadata)?,
    };
    Ok(Tokenizer::of_parts(parts)?)
}

/// Hashes what [`gguf_tokenizer`] makes its tokenizer of.
///
/// # Errors
/// Those of [`gguf_tokenizer`], but for a file without a vocabulary.
pub(super) fn text_settings(metadata: &Metadata) -> Result<TextSettings, GgufError> {
    let vocabulary = Vocabulary::read(metadata)?;
    let mut stop_tokens = Vec::new();
    if let Some(vocabulary) = &vocabulary {
        stop_tokens.clone_from(&vocabulary.ends);
        stop_tokens.sort_unstable();
    }
    Ok(TextSettings {
        tokenizer: vocabulary.as_ref().map(vocabulary_hash),
        chat_template: chat_template(metadata)?
            .as_ref()
            .map(TextSettings::of_template),
        stop_tokens,
    })
}

/// Hashes a vocabulary. The order of the fields is part of the hash.
fn vocabulary_hash(vocabulary: &Vocabulary<'_>) -> String {
    let Vocabulary {
        model,
        tokens,
        ids: _,
        kinds,
        scores,
        merges,
        bos,
        eos,
        unknown,
        padding: _,
        ends: _,
        adds_bos,
        adds_eos,
        adds_space,
        strips_right,
    } = vocabulary;
    let mut hasher = FieldHasher::default();
    hasher.field("gguf");
    match model {
        TokenizerModel::ByteLevel(way) => {
            hasher.field(way.steps().to_string());
            hasher.field(format!("{:?} {}", way.normalizer(), way.ignores_merges));
        }
        TokenizerModel::SentencePiece => hasher.field("sentencepiece"),
    }
    for (token, kind) in tokens.iter().zip(kinds) {
        hasher.field(token);
        hasher.field(format!("{kind:?}"));
    }
    for score in scores {
        hasher.field(score.to_le_bytes());
    }
    for merge in *merges {
        hasher.field(merge);
    }
    hasher.field(format!(
        "{bos:?} {eos:?} {unknown:?} {adds_bos} {adds_eos} {adds_space} {strips_right}"
    ));
    hasher.finish()
}

/// Makes the library's tokenizer, without the tokens around a text.
fn library_tokenizer(
    vocabulary: &Vocabulary<'_>,
    merges: Vec<(String, String)>,
) -> tokenizers::Result<tokenizers::Tokenizer> {
    let ids = vocabulary
        .ids
        .iter()
        .map(|(token, &id)| (token.clone(), id));
    let builder =
        BPE::builder().vocab_and_merges(ids.collect::<tokenizers::models::bpe::Vocab>(), merges);
    let mut tokenizer = match vocabulary.model {
        TokenizerModel::ByteLevel(way) => {
            let model = builder.ignore_merges(way.ignores_merges).build()?;
            let mut tokenizer = tokenizers::Tokenizer::new(model);
            if let Some(normalizer) = way.normalizer() {
                let normalizer: NormalizerWrapper = serde_json::from_value(normalizer)?;
                tokenizer.with_normalizer(Some(normalizer))?;
            }
            let steps: PreTokenizerWrapper = serde_json::from_value(way.steps())?;
            tokenizer.with_pre_tokenizer(Some(steps));
            let decoder = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
            tokenizer.with_decoder(Some(serde_json::from_value::<DecoderWrapper>(decoder)?));
            tokenizer
        }
        TokenizerModel::SentencePiece => {
            let mut builder = builder.byte_fallback(true).fuse_unk(true);
            if let Some(unknown) = vocabulary.unknown {
                builder = builder.unk_token(vocabulary.token(unknown).to_owned());
            }
            let mut tokenizer = tokenizers::Tokenizer::new(builder.build()?);
            let normalizer = sentence_piece::normalizer(vocabulary.adds_space);
            tokenizer.with_normalizer(Some(serde_json::from_value::<NormalizerWrapper>(
                normalizer,
            )?))?;
            let decoder = sentence_piece::decoder(vocabulary.adds_space);
            tokenizer.with_decoder(Some(serde_json::from_value::<DecoderWrapper>(decoder)?));
            tokenizer
        }
    };
    tokenizer.add_tokens(added_tokens(vocabulary))?;
    Ok(tokenizer)
}

/// Lists the tokens that are matched as a whole, before a text is cut.
fn added_tokens(vocabulary: &Vocabulary<'_>) -> Vec<AddedToken> {
    let tokens = vocabulary.tokens.iter().zip(&vocabulary.kinds);
    tokens
        .filter_map(|(token, kind)| {
            let is_special = match kind {
                TokenKind::Control | TokenKind::Unknown => true,
                TokenKind::UserDefined => false,
                TokenKind::Normal | TokenKind::Unused | TokenKind::Byte => return None,
            };
            let strips = vocabulary.strips_right
                && !["<unk>", "<s>", "<|endoftext|>"].contains(&token.as_str());
            let token = AddedToken::from(token.clone(), is_special).normalized(false);
            Some(token.rstrip(strips))
        })
        .collect()
}

/// Returns the variables that templates know the special tokens by.
fn special_tokens(vocabulary: &Vocabulary<'_>) -> Map<String, Value> {
    [
        ("bos_token", vocabulary.bos),
        ("eos_token", vocabulary.eos),
        ("unk_token", vocabulary.unknown),
        ("pad_token", vocabulary.padding),
    ]
    .into_iter()
    .filter_map(|(name, id)| Some((name.to_owned(), vocabulary.token(id?).into())))
    .collect()
}

fn chat_template(metadata: &Metadata) -> Result<Option<ChatTemplate>, GgufError> {
    let file = format!("{}, {TEMPLATE}", metadata.path().display());
    let default = metadata.text(TEMPLATE)?;
    let mut named = BTreeMap::new();
    for key in metadata.keys() {
        if let Some(name) = key
            .strip_prefix(TEMPLATE)
            .and_then(|rest| rest.strip_prefix('.'))
        {
            let text = metadata.text(key)?.unwrap_or_default();
            named.insert(name.to_owned(), text.to_owned());
        }
    }
    Ok(match (default, named.is_empty()) {
        (None, true) => None,
        (Some(text), true) => Some(ChatTemplate::new(
            file,
            TemplateSource::Single(text.to_owned()),
        )),
        (default, false) => {
            if let Some(text) = default {
                named.insert("default".to_owned(), text.to_owned());
            }
            Some(ChatTemplate::new(file, TemplateSource::Named(named)))
        }
    })
}
