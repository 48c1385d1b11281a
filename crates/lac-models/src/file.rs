//! Reading files of a model folder. They were downloaded and are not trusted.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub(crate) use lac_files::FileForm;
use lac_files::{LineEnds, check_form, text_of};

use crate::memory::{self, Entry, MemoryFile};

/// A file that is open: on disk, or in memory.
#[derive(Debug)]
pub(crate) enum ModelFile {
    Disk(File),
    Memory(MemoryFile),
}

impl ModelFile {
    /// Returns the file's size in bytes.
    pub(crate) fn size(&self) -> io::Result<u64> {
        match self {
            Self::Disk(file) => Ok(file.metadata()?.len()),
            Self::Memory(file) => Ok(file.size()),
        }
    }

    /// Returns the file once more, to be read from its beginning.
    pub(crate) fn again(&self) -> io::Result<Self> {
        let mut again = match self {
            Self::Disk(file) => Self::Disk(file.try_clone()?),
            Self::Memory(file) => Self::Memory(file.clone()),
        };
        again.rewind()?;
        Ok(again)
    }

    /// Fills `bytes` from an offset of the file. Several threads may do so at the same time.
    pub(crate) fn read_exact_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Disk(file) => read_exact_at(file, offset, bytes),
            Self::Memory(file) => file.read_exact_at(offset, bytes),
        }
    }
}

impl Read for ModelFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Disk(file) => file.read(bytes),
            Self::Memory(file) => file.read(bytes),
        }
    }
}

impl Seek for ModelFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match self {
            Self::Disk(file) => file.seek(to),
            Self::Memory(file) => file.seek(to),
        }
    }
}

/// Opens a regular file that is what its name says. A downloaded folder can hold a link to a pipe or a device, and
/// reading either might never end; and what was downloaded may be a pointer to the file, or a page that says why it is
/// not to be had.
pub(crate) fn open(path: &Path) -> io::Result<ModelFile> {
    // A template may begin with any text.
    let form = match path.extension().and_then(|end| end.to_str()) {
        Some("jinja") => FileForm::FreeText,
        _ => FileForm::Data,
    };
    open_as(path, form)
}

/// Opens a regular file that should hold this.
pub(crate) fn open_as(path: &Path, form: FileForm) -> io::Result<ModelFile> {
    let mut file = match memory::entry(path) {
        Some(Entry::File(file)) => ModelFile::Memory(file),
        // No file system has such a path, and some say so in other words than that nothing is there.
        None if memory::is_in_memory(path) => return Err(io::ErrorKind::NotFound.into()),
        _ => ModelFile::Disk(open_on_disk(path)?),
    };
    check_form(&mut file, form)?;
    Ok(file)
}

fn open_on_disk(path: &Path) -> io::Result<File> {
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
    memory::entry(path).is_some() || std::fs::symlink_metadata(path).is_ok()
}

/// Returns whether there is a regular file.
pub(crate) fn is_file(path: &Path) -> bool {
    matches!(memory::entry(path), Some(Entry::File(_))) || path.is_file()
}

/// Returns whether there is a folder.
pub(crate) fn is_folder(path: &Path) -> bool {
    matches!(memory::entry(path), Some(Entry::Folder(_))) || path.is_dir()
}

/// Returns the paths of what is in a folder.
pub(crate) fn paths_in(
    folder: &Path,
) -> io::Result<impl Iterator<Item = io::Result<PathBuf>> + use<>> {
    let (in_memory, on_disk) = match memory::entry(folder) {
        None if memory::is_in_memory(folder) => return Err(io::ErrorKind::NotFound.into()),
        Some(Entry::Folder(paths)) => (paths, None),
        _ => (Vec::new(), Some(std::fs::read_dir(folder)?)),
    };
    let on_disk = on_disk.into_iter().flatten();
    let on_disk = on_disk.map(|entry| entry.map(|entry| entry.path()));
    Ok(in_memory.into_iter().map(Ok).chain(on_disk))
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
fn read_exact_at(file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, offset)
}

/// A file has a single position on these systems, so only one thread can read at a time.
#[cfg(not(unix))]
fn read_exact_at(mut file: &File, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
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
