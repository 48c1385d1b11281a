//! The vocabulary in the metadata of a GGUF file, and what is said of its tokens.

use std::collections::HashMap;

use super::error::GgufError;
use super::metadata::Metadata;
use super::pre_tokenizer::{DEFAULT, PreTokenizer};
use crate::file::excerpt;

/// How texts become tokens.
#[derive(Clone, Copy, Debug)]
pub(super) enum TokenizerModel {
    /// Byte pairs of words, merged in the order of a list (`gpt2`).
    ByteLevel(PreTokenizer),
    /// SentencePiece: characters, merged by the scores of what they become; bytes where there is no token (`llama`).
    SentencePiece,
}

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    Normal,
    /// Stands for what no token is.
    Unknown,
    /// Steers the model: matched as a whole, and left out of decoded texts.
    Control,
    /// Text that is matched as a whole.
    UserDefined,
    Unused,
    /// A byte, `<0x0A>`.
    Byte,
}

/// A vocabulary, checked.
#[derive(Debug)]
pub(super) struct Vocabulary<'a> {
    pub(super) model: TokenizerModel,
    pub(super) tokens: Vec<String>,
    pub(super) ids: HashMap<String, u32>,
    pub(super) kinds: Vec<TokenKind>,
    /// Scores of the tokens; all 0 where the file has none.
    pub(super) scores: Vec<f32>,
    /// Pairs of tokens with a space between them.
    pub(super) merges: &'a [String],
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
    pub(super) unknown: Option<u32>,
    pub(super) padding: Option<u32>,
    /// Tokens that end a text or a turn, each once.
    pub(super) ends: Vec<u32>,
    pub(super) adds_bos: bool,
    pub(super) adds_eos: bool,
    /// Whether a text begins as if after a space.
    pub(super) adds_space: bool,
    /// Whether spaces behind special tokens are taken off.
    pub(super) strips_right: bool,
}

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const KINDS: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
pub(super) const MERGES: &str = "tokenizer.ggml.merges";
const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// Texts of tokens that end a text or a turn, whatever the file says of them: llama.cpp stops at these.
const END_TEXTS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<｜end▁of▁sentence｜>",
];

impl<'a> Vocabulary<'a> {
    /// Reads the vocabulary; `None` where the file has none.
    pub(super) fn read(metadata: &'a Metadata) -> Result<Option<Self>, GgufError> {
        let Some(model) = tokenizer_model(metadata)? else {
            return Ok(None);
        };
        let Some(texts) = metadata.texts(TOKENS)? else {
            return Err(metadata.missing(TOKENS, "an array of texts"));
        };
        let (tokens, ids) = tokens(metadata, texts)?;
        let mut kinds = kinds(metadata, tokens.len())?;
        let mut ends = Vec::new();
        let mut add_end = |id: u32, kinds: &mut Vec<TokenKind>| {
            if !ends.contains(&id) {
                ends.push(id);
            }
            kinds[id as usize] = TokenKind::Control;
        };
        let id = |name: &str, default: Option<u32>| {
            let key = format!("tokenizer.ggml.{name}_token_id");
            token_id(metadata, &key, tokens.len(), default)
        };
        let is_sentence_piece = matches!(model, TokenizerModel::SentencePiece);
        let default = |id: u32| (is_sentence_piece && (id as usize) < tokens.len()).then_some(id);
        let (bos, eos) = (id("bos", default(1))?, id("eos", default(2))?);
        let unknown = id("unknown", default(0))?;
        for end in [eos, id("eot", None)?, id("eom", None)?]
            .into_iter()
            .flatten()
        {
            add_end(end, &mut kinds);
        }
        for text in END_TEXTS {
            // Some vocabularies have this one as a tag of HTML.
            let is_end = |id: u32| *text != "</s>" || kinds[id as usize] == TokenKind::Control;
            if let Some(end) = ids.get(*text).copied().filter(|&id| is_end(id)) {
                add_end(end, &mut kinds);
            }
        }
        let has_default_bos = match model {
            TokenizerModel::ByteLevel(way) => way.adds_bos,
            TokenizerModel::SentencePiece => true,
        };
        let adds = |name: &str, token: Option<u32>, default: bool| {
            let key = format!("tokenizer.ggml.add_{name}_token");
            let adds = metadata.flag(&key)?.unwrap_or(default);
            if adds && token.is_none() {
                let id_key = format!("tokenizer.ggml.{name}_token_id");
                let expected =
                    format!("the id of the token that begins or ends a text, because of {key}");
                return Err(metadata.missing(&id_key, &expected));
            }
            Ok(adds)
        };
        let name = metadata.text("general.name")?.unwrap_or("").to_lowercase();
        Ok(Some(Self {
            scores: scores(metadata, tokens.len())?,
            merges: match (metadata.texts(MERGES)?, model) {
                (Some(merges), _) => merges,
                (None, TokenizerModel::SentencePiece) => &[],
                (None, TokenizerModel::ByteLevel(_)) => {
                    return Err(metadata.missing(MERGES, "an array of texts"));
                }
            },
            // A padding token is never read, so one that is not there harms nothing.
            padding: metadata
                .integer("tokenizer.ggml.padding_token_id")?
                .and_then(|id| u32::try_from(id).ok())
                .filter(|&id| (id as usize) < tokens.len()),
            adds_bos: adds("bos", bos, has_default_bos && bos.is_some())?,
            adds_eos: adds("eos", eos, false)?,
            adds_space: metadata
                .flag("tokenizer.ggml.add_space_prefix")?
                .unwrap_or(is_sentence_piece),
            // Phi-3's tokens are not told from others by what files say of them.
            strips_right: is_sentence_piece && (name.contains("phi-3") || name.contains("phi3")),
            model,
            tokens,
            ids,
            kinds,
            bos,
            eos,
            unknown,
            ends,
        }))
    }

    pub(super) fn token(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }
}

fn tokenizer_model(metadata: &Metadata) -> Result<Option<TokenizerModel>, GgufError> {
    match metadata.text(MODEL)? {
        None | Some("none" | "no_vocab") => Ok(None),
        Some("llama") => Ok(Some(TokenizerModel::SentencePiece)),
        Some("gpt2") => {
            let name = metadata.text(PRE)?.unwrap_or(DEFAULT);
            match PreTokenizer::of_name(name) {
                Some(way) => Ok(Some(TokenizerModel::ByteLevel(way))),
                None => Err(metadata.invalid(PRE, &PreTokenizer::names())),
            }
        }
        Some(_) => Err(metadata.invalid(MODEL, "gpt2 or llama")),
    }
}

/// Returns the tokens and their ids. An empty token gets a text of its own, so that texts differ.
fn tokens(
    metadata: &Metadata,
    texts: &[String],
) -> Result<(Vec<String>, HashMap<String, u32>), GgufError> {
    if texts.is_empty() || u32::try_from(texts.len()).is_err() {
        return Err(metadata.invalid(TOKENS, "at least one text, and fewer than 2^32"));
    }
    let mut tokens = Vec::with_capacity(texts.len());
    let mut ids = HashMap::with_capacity(texts.len());
    for (id, text) in (0u32..).zip(texts) {
        let token = if text.is_empty() {
            format!("[EMPTY_{id}]")
        } else {
            text.clone()
        };
        if let Some(other) = ids.insert(token.clone(), id) {
            let problem = format!("has {:?} twice, as {other} and as {id}", excerpt(&token));
            return Err(metadata.error(TOKENS, problem));
        }
        tokens.push(token);
    }
    Ok((tokens, ids))
}

fn kinds(metadata: &Metadata, n_tokens: usize) -> Result<Vec<TokenKind>, GgufError> {
    let Some(numbers) = metadata.integers(KINDS)? else {
        return Ok(vec![TokenKind::Normal; n_tokens]);
    };
    if numbers.len() < n_tokens {
        return Err(metadata.invalid(KINDS, &format!("one for each of the {n_tokens} tokens")));
    }
    let kind = |number: &i64| match number {
        2 => TokenKind::Unknown,
        3 => TokenKind::Control,
        4 => TokenKind::UserDefined,
        5 => TokenKind::Unused,
        6 => TokenKind::Byte,
        _ => TokenKind::Normal,
    };
    Ok(numbers[..n_tokens].iter().map(kind).collect())
}

fn scores(metadata: &Metadata, n_tokens: usize) -> Result<Vec<f32>, GgufError> {
    let Some(mut scores) = metadata.numbers(SCORES)? else {
        return Ok(vec![0.0; n_tokens]);
    };
    if scores.len() < n_tokens {
        return Err(metadata.invalid(SCORES, &format!("one for each of the {n_tokens} tokens")));
    }
    scores.truncate(n_tokens);
    if let Some(id) = scores.iter().position(|score| score.is_nan()) {
        return Err(metadata.error(
            SCORES,
            format!("gives token {id} a score that is no number"),
        ));
    }
    Ok(scores)
}

fn token_id(
    metadata: &Metadata,
    key: &str,
    n_tokens: usize,
    default: Option<u32>,
) -> Result<Option<u32>, GgufError> {
    let Some(id) = metadata.integer(key)? else {
        return Ok(default);
    };
    match u32::try_from(id) {
        Ok(id) if (id as usize) < n_tokens => Ok(Some(id)),
        _ => Err(metadata.invalid(key, &format!("one of the {n_tokens} tokens"))),
    }
}
