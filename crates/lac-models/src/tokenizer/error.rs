//! Why a tokenizer cannot be loaded or used.

use std::io;
use std::path::PathBuf;

use lac_core::BoxError;

use crate::chat_template::ChatError;

/// Why a tokenizer cannot be loaded or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file exists but cannot be read, or `tokenizer.json` is missing.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A file is not JSON, or has a field of another type.
    #[error("{} is malformed", file.display())]
    Json {
        /// The file.
        file: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// `tokenizer.json` does not describe a tokenizer.
    #[error("{} is not a valid tokenizer", file.display())]
    Tokenizer {
        /// The file.
        file: PathBuf,
        /// The tokenizer library's reason.
        source: BoxError,
    },
    /// A file contradicts itself or the others.
    #[error("{}: {message}", file.display())]
    Inconsistent {
        /// The file.
        file: PathBuf,
        /// The contradiction.
        message: String,
    },
    /// A text could not be encoded.
    #[error("cannot encode the text")]
    Encode(#[source] BoxError),
    /// Ids could not be decoded.
    #[error("cannot decode the token ids")]
    Decode(#[source] BoxError),
    /// A conversation was given to a checkpoint without a chat template.
    #[error("{} has no chat template", folder.display())]
    NoChatTemplate {
        /// The checkpoint's folder or file.
        folder: PathBuf,
    },
    /// The chat template failed.
    #[error(transparent)]
    Chat(#[from] ChatError),
}
