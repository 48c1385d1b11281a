//! Text to token ids and back, as transformers does it.
//!
//! [`Tokenizer`] wraps the `tokenizers` crate and adds what the other files of a checkpoint say: special tokens, the
//! rules of a tokenizer class, the chat template. [`TextStream`] decodes ids that arrive one by one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use lac_core::text_model::ChatMessage;
use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, PostProcessorWrapper, PreTokenizerWrapper};

use crate::chat_template::{ChatOptions, ChatTemplate};

mod cleanup;
mod error;
mod files;
mod guard;
mod optional_file;
mod stop_tokens;
mod stream;
mod template_files;
mod text_settings;
mod turn_end;

pub use error::TokenizerError;
use files::{EdgeTokens, TokenizerFiles};
use guard::{catch_panic, check_growth};
pub use lac_core::text_model::AddSpecialTokens;
pub use stop_tokens::StopTokens;
pub use stream::TextStream;
pub use template_files::{TEMPLATE_FILES, TEMPLATE_FOLDER, TEMPLATE_SUFFIX};
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
    stop_tokens: StopTokens,
    stop_ids: Vec<u32>,
    spaces: Spaces,
    chat_template: Option<ChatTemplate>,
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
    /// `special_tokens_map.json`, `chat_template.jinja`, `chat_template.json`,
    /// `generation_config.json` and `config.json` are read where they exist.
    ///
    /// # Errors
    /// Names the file at fault. An optional file may be missing, but not malformed.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        let file = folder.join("tokenizer.json");
        let bytes = crate::file::read(&file).map_err(|source| {
            let file = file.clone();
            TokenizerError::Read { file, source }
        })?;
        let files = TokenizerFiles::read(folder)?;
        let inner = catch_panic(|| {
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
        let chat_template = files.chat_template;
        let turn_end = chat_template
            .as_ref()
            .and_then(|template| turn_end::turn_end(template, &files.special_tokens, &inner));
        let stop_tokens = StopTokens {
            tokenizer: eos,
            chat_template: turn_end,
            ..files.stop_tokens
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
            stop_ids: stop_tokens.ids(),
            stop_tokens,
            spaces: if files.clean_up_spaces {
                Spaces::CleanUp
            } else {
                Spaces::AsDecoded
            },
            chat_template,
            inner,
        })
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
            let folder = self.folder.clone();
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
        catch_panic(|| {
            self.inner
                .decode(ids, special == DecodedSpecialTokens::Skip)
        })
        .map_err(TokenizerError::Decode)
    }

    /// Returns the token that the decoder is given for an id; `None` where the id is skipped or unknown.
    fn shown_token(&self, id: u32, special: DecodedSpecialTokens) -> Option<String> {
        if special == DecodedSpecialTokens::Skip && self.is_special(id) {
            return None;
        }
        // An added token may be decoded in another form than it is shown in.
        let added = self.inner.get_added_vocabulary();
        added
            .simple_id_to_token(id)
            .or_else(|| self.inner.id_to_token(id))
    }
}

/// Changes a bare tokenizer as transformers does after loading it.
fn configure(
    mut inner: tokenizers::Tokenizer,
    files: &TokenizerFiles,
) -> tokenizers::Result<tokenizers::Tokenizer> {
    // A prompt is neither cut nor padded. The file may say otherwise, for training.
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
    if let Some(edges) = &files.edge_tokens {
        let post_processor = edge_template(&inner, edges)?;
        inner.with_post_processor(Some(post_processor));
    }
    Ok(inner)
}

/// Builds the post-processor that puts a BOS and an EOS around a text.
fn edge_template(
    inner: &tokenizers::Tokenizer,
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

#[cfg(test)]
mod tests;
