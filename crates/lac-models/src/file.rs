//! Reading files of a model folder. They were downloaded and are not trusted.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub(crate) use lac_files::FileForm;
use lac_files::{LineEnds, check_form, text_of};

/// Opens a regular file that is what its name says. A downloaded folder can hold a link to a pipe or a device, and
/// reading either might never end; and what was downloaded may be a pointer to the file, or a page that says why it is
/// not to be had.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // A template may begin with any text.
    let form = match path.extension().and_then(|end| end.to_str()) {
        Some("jinja") => FileForm::FreeText,
        _ => FileForm::Data,
    };
    open_as(path, form)
}

/// Opens a regular file that should hold this.
pub(crate) fn open_as(path: &Path, form: FileForm) -> io::Result<File> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut file = File::open(path)?;
    check_form(&mut file, form)?;
    Ok(file)
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

/// Reads a file of JSON, without a byte order mark.
pub(crate) fn read_json_bytes(path: &Path) -> io::Result<Vec<u8>> {
    text_of(read(path)?, LineEnds::AsWritten).map(String::into_bytes)
}

/// Reads a file of text, without a byte order mark and with every line end of other systems as `\n`: a template with
/// Windows line ends gives the ids of one without.
pub(crate) fn read_to_string(path: &Path) -> io::Result<String> {
    text_of(read(path)?, LineEnds::Newline)
}

/// Fills `bytes` from an offset of a file. Several threads may do so at the same time.
#[cfg(unix)]
pub(crate) fn read_exact_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// A file has a single position on these systems, so only one thread can read at a time.
#[cfg(not(unix))]
pub(crate) fn read_exact_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    use std::sync::{Mutex, PoisonError};

    static POSITION: Mutex<()> = Mutex::new(());
    let _alone = POSITION.lock().unwrap_or_else(PoisonError::into_inner);
    file.seek(SeekFrom::Start(offset))?;
    file.read_exact(bytes)
}

/// Returns the beginning of a value from a file, for errors: the value may have megabytes.
pub(crate) fn excerpt(value: &str) -> String {
    const MAX_CHARS: usize = 120;
    match value.char_indices().nth(MAX_CHARS) {
        None => value.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &value[..end], value.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_line_ends_of_other_systems() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("t.txt");
        let check = |bytes: &[u8], expected: &str| {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(read_to_string(&file).unwrap(), expected);
        };
        check("\u{feff}a\r\nb\rc\n".as_bytes(), "a\nb\nc\n");
        // Inside a text the mark is a character like any other.
        check("a\u{feff}b".as_bytes(), "a\u{feff}b");
        check(b"", "");
        std::fs::write(&file, [0xff, 0xfe, b'a', 0]).unwrap();
        assert!(
            read_to_string(&file)
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
        std::fs::write(&file, "\u{feff}{}").unwrap();
        assert_eq!(read_json_bytes(&file).unwrap(), b"{}");
    }
}
