//! Reading files of a model folder. They were downloaded and are not trusted.

mod foreign;

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use foreign::{HEAD_BYTES, recognise};

/// Opens a regular file that is what its name says. A downloaded folder can hold a link to a pipe or a device, and
/// reading either might never end; and what was downloaded may be a pointer to the file, or a page that says why it is
/// not to be had.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut file = File::open(path)?;
    let mut head = Vec::with_capacity(HEAD_BYTES);
    (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    file.rewind()?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match recognise(&head, &name) {
        None => Ok(file),
        Some(text) => Err(io::Error::new(io::ErrorKind::InvalidData, text)),
    }
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

pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// Returns the beginning of a value from a file, for errors: the value may have megabytes.
pub(crate) fn excerpt(value: &str) -> String {
    const MAX_CHARS: usize = 120;
    match value.char_indices().nth(MAX_CHARS) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &value[..end], value.len()),
    }
}
