//! Text to token ids and back, as transformers does it.
//!
//! [`Tokenizer`] wraps the `tokenizers` crate and adds what lies around it in
//! a checkpoint: special tokens, what the tokenizer class implies, the chat
//! template, and text that arrives token by token ([`TextStream`]).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, PostProcessorWrapper, PreTokenizerWrapper};

use crate::chat_template::{ChatOptions, ChatTemplate, Message};

mod cleanup;
mod error;
mod files;
mod guard;
mod stream;
mod text_settings;

pub use error::TokenizerError;
use files::{Markers, TokenizerFiles};
use guard::{check_growth, unpanicked};
pub use stream::TextStream;
pub(crate) use text_settings::TextSettings;

/// The tokenizer of a checkpoint.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    folder: PathBuf,
    special_tokens: Map<String, Value>,
    special_ids: HashSet<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    stop_ids: Vec<u32>,
    spaces: Spaces,
    chat_template: Option<ChatTemplate>,
}

/// Whether encoding puts the tokenizer's markers (BOS, EOS) around a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokens {
    /// Add the markers that the tokenizer is configured to add.
    Add,
    /// Add none; special tokens written out in the text still count.
    Skip,
}

/// Whether decoding shows special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialTokensInText {
    /// Special tokens appear by their names.
    Keep,
    /// Special tokens are left out.
    Skip,
}

/// A conversation as the model sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedChat {
    /// The rendered text.
    pub text: String,
    /// Its ids.
    pub ids: Vec<u32>,
}

/// Where a prompt comes from, which decides who is in charge of its BOS token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    /// Plain text: the tokenizer adds its markers, but never a second BOS.
    Raw,
    /// Text from a chat template, which has written every marker itself.
    Rendered,
}

/// Whether decoding removes the spaces before punctuation.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spaces {
    AsDecoded,
    CleanUp,
}

impl Tokenizer {
    /// Loads the tokenizer of a folder in Hugging Face layout.
    ///
    /// `tokenizer.json` is required. `tokenizer_config.json`,
    /// `special_tokens_map.json`, `chat_template.jinja`, `chat_template.json`,
    /// `generation_config.json` and `config.json` are heeded if they exist.
    ///
    /// # Errors
    /// Every error names the file at fault; a missing optional file is none.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let file = folder.join("tokenizer.json");
        let bytes = crate::file::read(&file).map_err(|source| {
            let file = file.clone();
            TokenizerError::Read { file, source }
        })?;
        let files = TokenizerFiles::read(folder)?;
        let inner = unpanicked(|| {
            tokenizers::Tokenizer::from_bytes(bytes).and_then(|inner| configure(inner, &files))
        })
        .map_err(|source| TokenizerError::Tokenizer {
            file: file.clone(),
            source,
        })?;
        check_growth(&inner).map_err(|message| TokenizerError::Inconsistent { file, message })?;

        let id = |name| files.special(name).and_then(|text| inner.token_to_id(text));
        let (bos, eos) = (id("bos_token"), id("eos_token"));
        let pad = id("pad_token");
        let stop_ids = match files.eos_ids.is_empty() {
            true => Vec::from_iter(eos),
            false => files.eos_ids,
        };
        let added = inner.get_added_vocabulary();
        let special_ids = added
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| added.is_special_token(&token.content))
            .map(|(id, _)| *id)
            .collect();
        Ok(Self {
            folder: folder.to_owned(),
            special_tokens: files.special_tokens,
            special_ids,
            bos,
            eos,
            pad,
            stop_ids,
            spaces: match files.clean_up_spaces {
                true => Spaces::CleanUp,
                false => Spaces::AsDecoded,
            },
            chat_template: files.chat_template,
            inner,
        })
    }

    /// The ids of a text.
    ///
    /// # Errors
    /// Fails if the model of the tokenizer cannot represent the text.
    pub fn encode(&self, text: &str, special: SpecialTokens) -> Result<Vec<u32>, TokenizerError> {
        unpanicked(|| self.inner.encode_fast(text, special == SpecialTokens::Add))
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(TokenizerError::Encode)
    }

    /// The ids of a text that a chat template has rendered: no markers are
    /// added, as in transformers' `apply_chat_template`.
    ///
    /// # Errors
    /// See [`encode`](Self::encode).
    pub fn encode_rendered(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        self.encode(text, SpecialTokens::Skip)
    }

    /// The ids of a prompt, with exactly the markers that belong there.
    ///
    /// A raw prompt that already starts with the BOS token does not get a
    /// second one, which transformers would add.
    ///
    /// # Errors
    /// See [`encode`](Self::encode).
    pub fn encode_prompt(&self, text: &str, kind: PromptKind) -> Result<Vec<u32>, TokenizerError> {
        if kind == PromptKind::Rendered {
            return self.encode_rendered(text);
        }
        let mut ids = self.encode(text, SpecialTokens::Add)?;
        if let Some(bos) = self.bos
            && self
                .token("bos_token")
                .is_some_and(|token| text.starts_with(token))
            && let as_written = self.encode(text, SpecialTokens::Skip)?
            && as_written.first() == Some(&bos)
            && ids.first() == Some(&bos)
            && ids[1..].starts_with(&as_written)
        {
            ids.remove(0);
        }
        Ok(ids)
    }

    /// The text of ids. Ids outside the vocabulary are left out.
    ///
    /// # Errors
    /// Fails if the tokenizer's decoder does.
    pub fn decode(
        &self,
        ids: &[u32],
        special: SpecialTokensInText,
    ) -> Result<String, TokenizerError> {
        let text = self.decode_as_is(ids, special)?;
        Ok(match self.spaces {
            Spaces::AsDecoded => text,
            Spaces::CleanUp => cleanup::clean_up(&text),
        })
    }

    /// A decoder for ids that arrive one by one.
    pub fn stream(&self, special: SpecialTokensInText) -> TextStream<'_> {
        TextStream::new(self, special)
    }

    /// The vocabulary's spelling of an id, such as `Ġthe` or `▁the`.
    pub fn id_to_piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The vocabulary's spelling of ids; empty for an id outside of it, which
    /// models with a padded embedding can produce.
    pub fn pieces(&self, ids: &[u32]) -> Vec<String> {
        ids.iter()
            .map(|&id| self.id_to_piece(id).unwrap_or_default())
            .collect()
    }

    /// The id of a vocabulary entry, special or not.
    pub fn piece_to_id(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// The id that begins a text, if the checkpoint has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The id that ends a text, if the checkpoint has one.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    /// The id that fills up shorter texts of a batch, if the checkpoint has one.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// All ids that end a generation: those of `generation_config.json`, else
    /// of `config.json`, else the tokenizer's EOS token.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Whether decoding may leave an id out as a special token.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Number of vocabulary entries, added tokens included. A model's
    /// embedding may have more rows than that.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether the checkpoint describes a chat format.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    /// The text of a conversation in the checkpoint's chat format.
    ///
    /// # Errors
    /// [`TokenizerError::NoChatTemplate`] if there is none, and
    /// [`TokenizerError::Chat`] if it cannot render these messages.
    pub fn render_chat(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<String, TokenizerError> {
        let template = self.chat_template.as_ref().ok_or_else(|| {
            let folder = self.folder.clone();
            TokenizerError::NoChatTemplate { folder }
        })?;
        Ok(template.render(messages, &self.special_tokens, options)?)
    }

    /// A conversation in the checkpoint's chat format, as text and as ids.
    ///
    /// # Errors
    /// As [`render_chat`](Self::render_chat) and [`encode`](Self::encode).
    pub fn encode_chat(
        &self,
        messages: &[Message],
        options: &ChatOptions,
    ) -> Result<EncodedChat, TokenizerError> {
        let text = self.render_chat(messages, options)?;
        let ids = self.encode_rendered(&text)?;
        Ok(EncodedChat { text, ids })
    }

    fn token(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).and_then(Value::as_str)
    }

    fn decode_as_is(
        &self,
        ids: &[u32],
        special: SpecialTokensInText,
    ) -> Result<String, TokenizerError> {
        // Some decoders of the library panic if no token is left to decode.
        if ids
            .iter()
            .all(|&id| self.shown_token(id, special).is_none())
        {
            return Ok(String::new());
        }
        unpanicked(|| self.inner.decode(ids, special == SpecialTokensInText::Skip))
            .map_err(TokenizerError::Decode)
    }

    /// The token that a decoder gets for an id, if it gets one.
    fn shown_token(&self, id: u32, special: SpecialTokensInText) -> Option<String> {
        if special == SpecialTokensInText::Skip && self.is_special(id) {
            return None;
        }
        // An added token may be decoded in another form than it is shown in.
        let added = self.inner.get_added_vocabulary();
        added
            .simple_id_to_token(id)
            .or_else(|| self.inner.id_to_token(id))
    }
}

/// Applies to a bare tokenizer what transformers applies after loading it.
fn configure(
    mut inner: tokenizers::Tokenizer,
    files: &TokenizerFiles,
) -> tokenizers::Result<tokenizers::Tokenizer> {
    // A prompt is neither cut nor padded, whatever the training setup was.
    inner.with_truncation(None)?;
    inner.with_padding(None);
    inner.set_encode_special_tokens(files.split_special_tokens);

    let known = inner.get_added_tokens_decoder();
    let mut added: Vec<AddedToken> = files
        .added_tokens
        .values()
        .filter(|token| !known.values().any(|other| other == *token))
        .cloned()
        .collect();
    for text in files.all_special() {
        let described = files.added_tokens.values().chain(known.values());
        let token = described
            .into_iter()
            .find(|token| token.content == text)
            .map_or_else(
                || AddedToken::from(text, true),
                |token| token.clone().special(true),
            );
        if !known.values().any(|other| *other == token) {
            added.push(token);
        }
    }
    inner.add_tokens(added)?;

    if let (Some(PreTokenizerWrapper::ByteLevel(byte_level)), Some(add_prefix_space)) =
        (inner.get_pre_tokenizer(), files.add_prefix_space)
    {
        let mut byte_level = *byte_level;
        byte_level.add_prefix_space = add_prefix_space;
        inner.with_pre_tokenizer(Some(byte_level));
    }
    if let Some(markers) = &files.markers {
        let post_processor = marker_template(&inner, markers)?;
        inner.with_post_processor(Some(post_processor));
    }
    Ok(inner)
}

/// The post-processor that puts markers around a text.
fn marker_template(
    inner: &tokenizers::Tokenizer,
    markers: &Markers,
) -> tokenizers::Result<PostProcessorWrapper> {
    let mut special_tokens = Map::new();
    let mut piece = |marker: &Option<String>, type_id: u32| {
        marker.as_ref().map(|text| {
            let ids = Vec::from_iter(inner.token_to_id(text));
            let token = json!({ "id": text, "ids": ids, "tokens": [text] });
            special_tokens.insert(text.clone(), token);
            json!({ "SpecialToken": { "id": text, "type_id": type_id } })
        })
    };
    let mut side = |name: &str, type_id: u32| -> Vec<Value> {
        let text = json!({ "Sequence": { "id": name, "type_id": type_id } });
        let (bos, eos) = (piece(&markers.bos, type_id), piece(&markers.eos, type_id));
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

#[cfg(test)]
mod tests;
