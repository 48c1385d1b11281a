//! A model's files in memory: for programs that have no files, such as a page in a browser.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// Files that lie in memory, under a path that no file on disk has. [`ModelFolder`](crate::ModelFolder) and
/// [`Tokenizer`](crate::Tokenizer) open that path, or one below it, as they open any other; it leads to the files for as
/// long as this value lives.
///
/// ```
/// use lac_models::{MemoryFolder, ModelFolder};
///
/// let config = br#"{"model_type": "qwen2", "vocab_size": 64, "hidden_size": 16, "intermediate_size": 32,
///     "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}"#;
/// let files = MemoryFolder::new([("config.json".to_owned(), config.to_vec())]);
/// let folder = ModelFolder::open(files.path())?;
/// assert_eq!(folder.config().decoder.n_layers, 4);
/// # Ok::<(), lac_models::ModelError>(())
/// ```
#[derive(Debug)]
pub struct MemoryFolder {
    number: u64,
    path: PathBuf,
}

impl MemoryFolder {
    /// Keeps files, each with its name. Of two files of one name the last one is kept.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let files = files
            .into_iter()
            .map(|(name, bytes)| (name, Arc::new(bytes)))
            .collect();
        let mut folders = FOLDERS.write().unwrap_or_else(PoisonError::into_inner);
        let number = folders.next;
        folders.next += 1;
        folders.files.insert(number, files);
        Self {
            number,
            path: PathBuf::from(format!("{PREFIX}{number}")),
        }
    }

    /// Returns the path of the folder; a file's is the folder's with its name.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for MemoryFolder {
    fn drop(&mut self) {
        let mut folders = FOLDERS.write().unwrap_or_else(PoisonError::into_inner);
        folders.files.remove(&self.number);
    }
}

/// How the path of a folder in memory begins. The character U+0000 is in no path of a file system.
const PREFIX: &str = "memory\0";

type Files = BTreeMap<String, Arc<Vec<u8>>>;

struct Folders {
    next: u64,
    files: BTreeMap<u64, Files>,
}

static FOLDERS: RwLock<Folders> = RwLock::new(Folders {
    next: 0,
    files: BTreeMap::new(),
});

/// What a path in memory leads to.
pub(crate) enum Entry {
    File(MemoryFile),
    /// A folder, with the paths of what is in it.
    Folder(Vec<PathBuf>),
}

/// Returns whether a path is one of a folder in memory, whether or not it leads to something.
pub(crate) fn is_in_memory(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.starts_with(PREFIX))
}

/// Returns what a path leads to; `None` where it is not one of a folder in memory, or leads nowhere.
pub(crate) fn entry(path: &Path) -> Option<Entry> {
    let place = path.to_str()?.strip_prefix(PREFIX)?;
    let (number, name) = place.split_once('/').unwrap_or((place, ""));
    let folders = FOLDERS.read().unwrap_or_else(PoisonError::into_inner);
    let files = folders.files.get(&number.parse().ok()?)?;
    if name.is_empty() {
        let root = PathBuf::from(format!("{PREFIX}{number}"));
        return Some(Entry::Folder(
            files.keys().map(|name| root.join(name)).collect(),
        ));
    }
    let bytes = files.get(name)?.clone();
    Some(Entry::File(MemoryFile { bytes, position: 0 }))
}

/// A file in memory, and the place up to which it was read.
#[derive(Clone)]
pub(crate) struct MemoryFile {
    bytes: Arc<Vec<u8>>,
    position: u64,
}

impl std::fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let n_bytes = self.bytes.len();
        write!(f, "MemoryFile({n_bytes} bytes, at {})", self.position)
    }
}

impl MemoryFile {
    pub(crate) fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn read_exact_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = start.checked_add(bytes.len()).map(|end| start..end);
        let found = range.and_then(|range| self.bytes.get(range));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Read for MemoryFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let start = self.position.min(self.size()) as usize;
        let n_read = (&self.bytes[start..]).read(bytes)?;
        self.position += n_read as u64;
        Ok(n_read)
    }
}

impl Seek for MemoryFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let to = match to {
            SeekFrom::Start(to) => Some(to),
            SeekFrom::End(by) => self.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = to.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file;

    #[test]
    fn a_path_leads_to_its_files_until_they_are_dropped() {
        let files = |text: &str| MemoryFolder::new([("a.txt".to_owned(), text.into())]);
        let (first, second) = (files("one"), files("two"));
        let path = second.path().join("a.txt");
        assert_eq!(file::read_to_string(&path).unwrap(), "two");
        assert!(file::is_file(&path) && !file::is_folder(&path));
        assert!(file::is_folder(first.path()));
        assert!(!file::is_there(&first.path().join("b.txt")));
        let paths = file::paths_in(second.path()).unwrap();
        let paths: Vec<PathBuf> = paths.map(Result::unwrap).collect();
        assert_eq!(paths, std::slice::from_ref(&path));
        drop(second);
        assert!(!file::is_there(&path));
        let gone = file::read_to_string(&path).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn bytes_beyond_the_end_are_an_error() {
        let files = MemoryFolder::new([("a.txt".to_owned(), b"0123456789".to_vec())]);
        let mut file = file::open(&files.path().join("a.txt")).unwrap();
        let mut bytes = [0; 4];
        file.read_exact_at(6, &mut bytes).unwrap();
        assert_eq!(&bytes, b"6789");
        let error = file.read_exact_at(7, &mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(file.read_exact_at(u64::MAX, &mut bytes).is_err());
        let mut rest = String::new();
        file.seek(SeekFrom::End(-2)).unwrap();
        file.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "89");
        let mut all = String::new();
        file.again().unwrap().read_to_string(&mut all).unwrap();
        assert_eq!(all, "0123456789");
    }
}
