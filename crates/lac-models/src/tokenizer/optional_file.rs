//! Files that a folder may lack.

use std::io;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::TokenizerError;

/// Reads a JSON file of a folder; `None` if there is no such file.
pub(super) fn read_json<T: DeserializeOwned>(
    folder: &Path,
    name: &str,
) -> Result<Option<T>, TokenizerError> {
    let file = folder.join(name);
    match read_text(&file)? {
        None => Ok(None),
        Some(text) => match serde_json::from_str(&text) {
            Ok(value) => Ok(Some(value)),
            Err(source) => Err(TokenizerError::Json { file, source }),
        },
    }
}

/// Reads a text; `None` if there is no such file.
pub(super) fn read_text(file: &Path) -> Result<Option<String>, TokenizerError> {
    match crate::file::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TokenizerError::Read {
            file: file.to_owned(),
            source,
        }),
    }
}
