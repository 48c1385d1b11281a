//! Reading files of a model folder. They were downloaded and are not trusted.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens a regular file. A downloaded folder can hold a link to a pipe or a device, and reading either might never end.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    File::open(path)
}

/// Returns whether the folder has an entry of that name, even a link that leads nowhere. The error is then about the
/// link, and not about a missing file.
pub(crate) fn is_there(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok()
}

pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a text, without the byte order mark that some editors put before it.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    let n_mark = text.len() - without_byte_order_mark(&text).len();
    text.drain(..n_mark);
    Ok(text)
}

pub(crate) fn without_byte_order_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Returns the beginning of a value from a file, for errors: the value may have megabytes.
pub(crate) fn excerpt(value: &str) -> String {
    const MAX_CHARS: usize = 120;
    match value.char_indices().nth(MAX_CHARS) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &value[..end], value.len()),
    }
}
