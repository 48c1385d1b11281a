//! What decides how texts become token ids and where they end, as fingerprints record it.

use std::io;
use std::path::Path;

use serde_json::json;

use super::class::Rules;
use super::configs::EdgeTokens;
use super::error::TokenizerError;
use super::files::TokenizerFiles;
use crate::chat_template::ChatTemplate;
use crate::file;
use crate::hash::FieldHasher;

/// Hashes of a folder's tokenizer and chat template, and its stop tokens.
pub(crate) struct TextSettings {
    /// The tokenizer's hash; `None` for a folder without `tokenizer.json`.
    pub(crate) tokenizer: Option<String>,
    /// The chat template's hash; `None` for a folder without one.
    pub(crate) chat_template: Option<String>,
    /// What `generation_config.json` and `config.json` name, ascending; the tokenizer and the chat template add theirs.
    pub(crate) stop_tokens: Vec<u32>,
}

impl TextSettings {
    /// Reads what [`Tokenizer::from_folder`](super::Tokenizer::from_folder) makes its tokenizer of. Settings that it
    /// ignores do not count.
    ///
    /// # Errors
    /// A file that cannot be read or is malformed.
    pub(crate) fn read(folder: &Path) -> Result<Self, TokenizerError> {
        let files = TokenizerFiles::read(folder)?;
        let stop_tokens = files.stop_tokens.of_both_configs();
        let path = folder.join("tokenizer.json");
        let tokenizer = match file::read_json_bytes(&path) {
            Ok(bytes) => Some(tokenizer_hash(&bytes, &files)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(source) => return Err(TokenizerError::Read { file: path, source }),
        };
        Ok(Self {
            tokenizer,
            chat_template: files.chat_template.as_ref().map(Self::of_template),
            stop_tokens,
        })
    }

    /// Hashes a chat template.
    pub(crate) fn of_template(template: &ChatTemplate) -> String {
        let mut hasher = FieldHasher::default();
        for part in template.parts() {
            hasher.field(part);
        }
        hasher.finish()
    }
}

/// Hashes `tokenizer.json` and everything that the files beside it change about it. The names in the JSON are part of
/// the hash: they have to stay.
fn tokenizer_hash(bytes: &[u8], files: &TokenizerFiles) -> String {
    let TokenizerFiles {
        rules,
        class,
        legacy,
        special_tokens,
        specials,
        added_tokens,
        added_tokens_file: _,
        edge_tokens,
        add_prefix_space,
        fixes_mistral_pattern,
        split_special_tokens,
        clean_up_spaces,
        chat_template: _,
        stop_tokens: _,
    } = files;
    let edge_tokens = edge_tokens
        .as_ref()
        .map(|EdgeTokens { bos, eos }| (bos, eos));
    let settings = json!({
        "special_tokens": special_tokens,
        "added_tokens": added_tokens,
        "markers": edge_tokens,
        "add_prefix_space": add_prefix_space,
        "split_special_tokens": split_special_tokens,
        "clean_up_spaces": clean_up_spaces,
    });
    let mut hasher = FieldHasher::default();
    hasher.field(bytes);
    hasher.field(settings.to_string());
    // What these say is in the settings above already for tokens without flags under the older rules, whose hashes
    // stay as they were.
    let flags = specials.flags();
    if *rules == Rules::Five || !flags.is_empty() {
        hasher.field(format!("{rules:?} {class:?} {legacy:?} {flags:?}"));
    }
    if *fixes_mistral_pattern {
        hasher.field("fix_mistral_regex");
    }
    hasher.finish()
}
