//! Text to token ids and back, as transformers does it.
//!
//! [`Tokenizer`] wraps the `tokenizers` crate and adds what the other files of a checkpoint say: special tokens, the
//! rules of a tokenizer class, the chat template. [`TextStream`] decodes ids that arrive one by one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use lac_core::text_model::ChatMessage;
use serde_json::{Map, Value};
use tokenizers::Decoder as _;

use crate::chat_template::{ChatOptions, ChatTemplate};

mod added_tokens;
mod backend;
mod class;
mod cleanup;
mod configs;
mod error;
mod files;
mod foreign;
mod guard;
mod mistral_pattern;
mod optional_file;
pub(crate) mod sentence_piece;
mod stop_tokens;
mod stream;
mod template_files;
mod text_settings;
mod turn_end;

use class::Rules;
pub use error::TokenizerError;
use files::TokenizerFiles;
use guard::{catch_panic, check_growth};
pub use lac_core::text_model::AddSpecialTokens;
pub use stop_tokens::StopTokens;
pub use stream::TextStream;
pub use template_files::{TEMPLATE_FILES, TEMPLATE_FOLDER, TEMPLATE_SUFFIX};
pub(crate) use text_settings::TextSettings;

pub(crate) use configs::EdgeTokens;

/// The tokenizer of a checkpoint.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The folder, or the file, that it was read from.
    path: PathBuf,
    special_tokens: Map<String, Value>,
    special_ids: HashSet<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    pad: Option<u32>,
    stop_tokens: StopTokens,
    stop_ids: Vec<u32>,
    spaces: Spaces,
    rules: Rules,
    chat_template: Option<ChatTemplate>,
}

/// What a tokenizer is made of that was read from one file.
#[derive(Debug)]
pub(crate) struct TokenizerParts {
    /// The library's tokenizer, which puts nothing around a text.
    pub(crate) inner: tokenizers::Tokenizer,
    /// The file.
    pub(crate) path: PathBuf,
    /// Variables of templates: `bos_token`, `eos_token` and others.
    pub(crate) special_tokens: Map<String, Value>,
    pub(crate) bos: Option<u32>,
    pub(crate) eos: Option<u32>,
    pub(crate) pad: Option<u32>,
    /// What is put around a text.
    pub(crate) edge_tokens: EdgeTokens,
    pub(crate) stop_tokens: StopTokens,
    pub(crate) chat_template: Option<ChatTemplate>,
}

/// Whether a decoded text shows special tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodedSpecialTokens {
    /// They appear by their names.
    Keep,
    /// They are left out.
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
    /// `special_tokens_map.json`, `added_tokens.json`, `chat_template.jinja`, `chat_template.json`,
    /// `generation_config.json` and `config.json` are read where they exist.
    ///
    /// # Errors
    /// Names the file at fault. An optional file may be missing, but not malformed.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let file = folder.join("tokenizer.json");
        let bytes = crate::file::read_json_bytes(&file).map_err(|source| {
            if let Some(message) = foreign::describe(folder)
                && source.kind() == std::io::ErrorKind::NotFound
            {
                let file = folder.to_owned();
                return TokenizerError::Inconsistent { file, message };
            }
            let file = file.clone();
            TokenizerError::Read { file, source }
        })?;
        let mut files = TokenizerFiles::read(folder)?;
        let backend::Built {
            inner,
            misplaced,
            pad,
        } = catch_panic(|| backend::build(&bytes, &files)).map_err(|source| {
            let file = file.clone();
            TokenizerError::Tokenizer { file, source }
        })?;
        if let Some(misplaced) = misplaced {
            return Err(misplaced_token(folder, &files, &misplaced));
        }
        if let Some(pad) = pad {
            let tokens = &mut files.special_tokens;
            tokens.entry("pad_token").or_insert(Value::String(pad));
        }
        check_growth(&inner).map_err(|message| TokenizerError::Inconsistent { file, message })?;

        let id = |name| files.special(name).and_then(|text| inner.token_to_id(text));
        let (bos, eos) = (id("bos_token"), id("eos_token"));
        let pad = id("pad_token");
        let tokenizer = Self {
            path: folder.to_owned(),
            rules: files.rules,
            special_tokens: files.special_tokens,
            special_ids: special_ids(&inner),
            bos,
            eos,
            pad,
            stop_ids: Vec::new(),
            stop_tokens: files.stop_tokens,
            spaces: if files.clean_up_spaces {
                Spaces::CleanUp
            } else {
                Spaces::AsDecoded
            },
            chat_template: files.chat_template,
            inner,
        };
        Ok(tokenizer.with_ends())
    }

    /// Makes a tokenizer of what a file says that is no folder.
    ///
    /// # Errors
    /// Parts that the library cannot join, or with which texts would fill the memory.
    pub(crate) fn of_parts(parts: TokenizerParts) -> Result<Self, TokenizerError> {
        let TokenizerParts {
            mut inner,
            path,
            special_tokens,
            bos,
            eos,
            pad,
            edge_tokens,
            stop_tokens,
            chat_template,
        } = parts;
        let file = || path.clone();
        if edge_tokens.bos.is_some() || edge_tokens.eos.is_some() {
            let edges = catch_panic(|| backend::edge_template(&inner, &edge_tokens));
            let edges = edges.map_err(|source| TokenizerError::Tokenizer {
                file: file(),
                source,
            })?;
            inner.with_post_processor(Some(edges));
        }
        check_growth(&inner).map_err(|message| TokenizerError::Inconsistent {
            file: file(),
            message,
        })?;
        let tokenizer = Self {
            special_ids: special_ids(&inner),
            path,
            rules: Rules::Four,
            special_tokens,
            bos,
            eos,
            pad,
            stop_ids: Vec::new(),
            stop_tokens,
            spaces: Spaces::AsDecoded,
            chat_template,
            inner,
        };
        Ok(tokenizer.with_ends())
    }

    /// Adds the tokenizer's and the template's words on what ends a text to those of the files.
    fn with_ends(mut self) -> Self {
        let template = self.chat_template.as_ref();
        self.stop_tokens.tokenizer = self.eos;
        self.stop_tokens.chat_template = template
            .and_then(|template| turn_end::turn_end(template, &self.special_tokens, &self.inner));
        self.stop_ids = self.stop_tokens.ids();
        self
    }

    /// Returns the library's tokenizer, in the form of `tokenizer.json`.
    pub(crate) fn to_json(&self) -> serde_json::Result<Value> {
        serde_json::to_value(&self.inner)
    }

    /// Returns the texts of the chat templates, each with its name; a single one has none.
    pub(crate) fn template_texts(&self) -> Vec<(Option<String>, String)> {
        let template = self.chat_template.as_ref();
        template.map_or(Vec::new(), ChatTemplate::texts)
    }

    /// Returns the ids of a text, with the special tokens around it that `special` asks for. transformers gives the ids
    /// of [`AddSpecialTokens::Always`] to plain text and those of [`AddSpecialTokens::Never`] to rendered chats.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] when the tokenizer's model cannot represent the text.
    pub fn encode(
        &self,
        text: &str,
        special: AddSpecialTokens,
    ) -> Result<Vec<u32>, TokenizerError> {
        let adds_any = match special {
            AddSpecialTokens::Once => return self.encode_with_one_bos(text),
            AddSpecialTokens::Never => false,
            AddSpecialTokens::Always => true,
        };
        catch_panic(|| self.inner.encode_fast(text, adds_any))
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(TokenizerError::Encode)
    }

    /// Encodes plain text; a BOS that the text begins with is not doubled, as transformers would.
    fn encode_with_one_bos(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        let mut ids = self.encode(text, AddSpecialTokens::Always)?;
        if let Some(bos) = self.bos
            && self
                .token("bos_token")
                .is_some_and(|token| text.starts_with(token))
            && let as_written = self.encode(text, AddSpecialTokens::Never)?
            && as_written.first() == Some(&bos)
            && ids.first() == Some(&bos)
            && ids[1..].starts_with(&as_written)
        {
            ids.remove(0);
        }
        Ok(ids)
    }

    /// Returns the text of ids. Ids outside the vocabulary are left out.
    ///
    /// # Errors
    /// [`TokenizerError::Decode`] when the tokenizer's decoder fails.
    pub fn decode(
        &self,
        ids: &[u32],
        special: DecodedSpecialTokens,
    ) -> Result<String, TokenizerError> {
        let text = self.decode_as_is(ids, special)?;
        Ok(match self.spaces {
            Spaces::AsDecoded => text,
            Spaces::CleanUp => cleanup::clean_up(&text),
        })
    }

    /// Returns the vocabulary's spelling of an id, such as `Ġthe` or `▁the`.
    pub fn id_to_piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns the vocabulary's spelling of ids. It is empty for an id outside the vocabulary, which models with a
    /// padded embedding can produce.
    pub fn pieces(&self, ids: &[u32]) -> Vec<String> {
        ids.iter()
            .map(|&id| self.id_to_piece(id).unwrap_or_default())
            .collect()
    }

    /// Returns the id of a vocabulary entry, special or not.
    pub fn piece_to_id(&self, piece: &str) -> Option<u32> {
        self.inner.token_to_id(piece)
    }

    /// Returns the id that begins a text, if the checkpoint has one.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// Returns the id that ends a text, if the checkpoint has one.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    /// Returns the id that fills up shorter texts of a batch, if the checkpoint has one.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad
    }

    /// Returns all ids that end a generation: those of `generation_config.json` and `config.json`, the tokenizer's EOS
    /// token, and the token with which the chat template ends an answer.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// Returns who calls which of the [`stop_ids`](Self::stop_ids) the end of a text.
    pub fn stop_tokens(&self) -> &StopTokens {
        &self.stop_tokens
    }

    /// Returns whether an id is a special token, which [`DecodedSpecialTokens::Skip`] leaves out.
    pub fn is_special(&self, id: u32) -> bool {
        self.special_ids.contains(&id)
    }

    /// Returns the number of vocabulary entries, added tokens included. A model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Returns the largest id of a vocabulary entry, added tokens included; `None` for an empty vocabulary. Where it is
    /// not below the number of rows of the model's embedding, the model has no vector for some token.
    pub fn largest_id(&self) -> Option<u32> {
        self.inner.get_vocab(true).into_values().max()
    }

    /// Returns whether the checkpoint describes a chat format.
    pub fn has_chat_template(&self) -> bool {
        self.chat_template.is_some()
    }

    /// Renders a conversation in the checkpoint's chat format.
    ///
    /// # Errors
    /// [`TokenizerError::NoChatTemplate`] if the checkpoint has no template, and [`TokenizerError::Chat`] if the
    /// template cannot render these messages.
    pub fn render_chat(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<String, TokenizerError> {
        let template = self.chat_template.as_ref().ok_or_else(|| {
            let folder = self.path.clone();
            TokenizerError::NoChatTemplate { folder }
        })?;
        Ok(template.render(messages, &self.special_tokens, options)?)
    }

    /// Renders a conversation in the checkpoint's chat format and encodes the text.
    ///
    /// # Errors
    /// Those of [`render_chat`](Self::render_chat) and [`encode`](Self::encode).
    pub fn encode_chat(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<EncodedChat, TokenizerError> {
        let text = self.render_chat(messages, options)?;
        let ids = self.encode(&text, AddSpecialTokens::Never)?;
        Ok(EncodedChat { text, ids })
    }

    fn token(&self, name: &str) -> Option<&str> {
        self.special_tokens.get(name).and_then(Value::as_str)
    }

    fn decode_as_is(
        &self,
        ids: &[u32],
        special: DecodedSpecialTokens,
    ) -> Result<String, TokenizerError> {
        // Some decoders of the library panic if no token is left to decode.
        if ids
            .iter()
            .all(|&id| self.shown_token(id, special).is_none())
        {
            return Ok(String::new());
        }
        let tokens = ids.iter().filter_map(|&id| self.shown_token(id, special));
        catch_panic(|| match self.inner.get_decoder() {
            Some(decoder) => decoder.decode(tokens.collect()),
            None => Ok(tokens.collect::<Vec<_>>().join(" ")),
        })
        .map_err(TokenizerError::Decode)
    }

    /// Returns the token that the decoder is given for an id; `None` where the id is skipped or unknown.
    fn shown_token(&self, id: u32, special: DecodedSpecialTokens) -> Option<String> {
        if special == DecodedSpecialTokens::Skip && self.is_special(id) {
            return None;
        }
        let added = self.inner.get_added_vocabulary();
        // Version 5 decodes an added token in the form that the normalizer gives it, version 4 as it is written.
        if self.rules == Rules::Four
            && let Some(token) = added.get_added_tokens_decoder().get(&id)
        {
            return Some(token.content.clone());
        }
        added
            .simple_id_to_token(id)
            .or_else(|| self.inner.id_to_token(id))
    }
}

fn special_ids(inner: &tokenizers::Tokenizer) -> HashSet<u32> {
    let added = inner.get_added_vocabulary();
    let tokens = added.get_added_tokens_decoder().iter();
    tokens
        .filter(|(_, token)| added.is_special_token(&token.content))
        .map(|(id, _)| *id)
        .collect()
}

/// Says which token a file gives another id than the vocabulary does.
fn misplaced_token(
    folder: &Path,
    files: &TokenizerFiles,
    misplaced: &backend::Misplaced,
) -> TokenizerError {
    let (name, field) = match files.added_tokens_file {
        Some(configs::CONFIG) => (configs::CONFIG, "\"added_tokens_decoder\" gives "),
        Some(name) => (name, "it gives "),
        None => ("tokenizer.json", "\"added_tokens\" gives "),
    };
    let token = crate::file::excerpt(&misplaced.token);
    let given = misplaced
        .given
        .map_or("no id".to_owned(), |id| format!("the id {id}"));
    TokenizerError::Inconsistent {
        file: folder.join(name),
        message: format!(
            "{field}{token:?} the id {}, but with tokenizer.json it gets {given}: the ids of added tokens have to \
             follow the vocabulary's without a gap",
            misplaced.wanted
        ),
    }
}

#[cfg(test)]
mod tests;
