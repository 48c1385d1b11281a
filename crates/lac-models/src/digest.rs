//! What a model folder is recognised by, without reading all of it.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

/// Places of a large file that are looked at, evenly spaced.
const N_PLACES: u64 = 64;

/// Bytes read at each place.
const PLACE_BYTES: u64 = 4096;

/// A hash of the configuration, of the tokenizer, and of every weight file's size and contents in
/// 64 places of 4 KiB, the first and the last among them: 16 hexadecimal digits. It tells one
/// fine-tuned model from another, and reads a quarter of a megabyte per file.
pub(crate) fn digest(folder: &Path) -> io::Result<String> {
    let files = model_files(folder)?;
    let mut hash = Sha256::new();
    for file in files {
        hash.update(file.file_name().unwrap_or_default().as_encoded_bytes());
        sample(&file, &mut hash)?;
    }
    let digits = hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(digits)
}

/// The files that make a model what it is, by name.
fn model_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<io::Result<_>>()?;
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".safetensors") || name == "config.json" || name == "tokenizer.json"
    });
    files.sort();
    Ok(files)
}

/// What the system says of the same files: enough to see that one was replaced or written to.
#[derive(Clone, Debug)]
pub(crate) struct Stamps {
    folder: PathBuf,
    files: BTreeMap<PathBuf, Stamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Device and number of the file, where files have one.
    file: Option<(u64, u64)>,
}

impl Stamps {
    pub(crate) fn of(folder: &Path) -> Self {
        let files = model_files(folder).unwrap_or_default().into_iter();
        Self {
            folder: folder.to_owned(),
            files: files
                .filter_map(|path| Some((path.clone(), Stamp::of(&path)?)))
                .collect(),
        }
    }

    /// A file that is not the one it was.
    pub(crate) fn changed(&self) -> Option<PathBuf> {
        let now = Self::of(&self.folder);
        let both = self.files.keys().chain(now.files.keys());
        let mut changed = both.filter(|path| self.files.get(*path) != now.files.get(*path));
        changed.next().cloned()
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        #[cfg(unix)]
        let file = {
            use std::os::unix::fs::MetadataExt;
            Some((metadata.dev(), metadata.ino()))
        };
        #[cfg(not(unix))]
        let file = None;
        Some(Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            file,
        })
    }
}

fn sample(path: &Path, hash: &mut Sha256) -> io::Result<()> {
    let mut file = crate::file::open(path)?;
    let size = file.metadata()?.len();
    hash.update(size.to_le_bytes());
    let last = size.saturating_sub(PLACE_BYTES);
    let whole = size <= N_PLACES * PLACE_BYTES;
    let places = if whole { 1 } else { N_PLACES };
    let length = if whole { size } else { PLACE_BYTES };
    let mut bytes = Vec::new();
    for place in 0..places {
        // In u128: the product may be larger than a file.
        let start = u128::from(last) * u128::from(place) / u128::from(N_PLACES - 1);
        file.seek(SeekFrom::Start(start as u64))?;
        bytes.clear();
        file.by_ref().take(length).read_to_end(&mut bytes)?;
        hash.update(&bytes);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_tell_that_a_file_was_replaced_or_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let weights = path("model.safetensors");
        std::fs::write(&weights, "aaaa").unwrap();
        let changed = |change: &dyn Fn()| {
            let stamps = Stamps::of(folder.path());
            assert_eq!(stamps.changed(), None);
            change();
            stamps.changed()
        };
        assert_eq!(changed(&|| std::fs::write(path("log"), "").unwrap()), None);
        let longer = || std::fs::write(&weights, "aaaaa").unwrap();
        assert_eq!(changed(&longer).as_ref(), Some(&weights));
        let replaced = || {
            std::fs::write(path("new"), "bbbbb").unwrap();
            std::fs::rename(path("new"), &weights).unwrap();
        };
        assert_eq!(changed(&replaced).as_ref(), Some(&weights));
        let removed = || std::fs::remove_file(&weights).unwrap();
        assert_eq!(changed(&removed).as_ref(), Some(&weights));
    }

    #[test]
    fn a_changed_file_is_another_model() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            digest(folder.path()).unwrap()
        };
        let first = write("config.json", b"{}");
        let mut weights = vec![7; 400_000];
        let second = write("model.safetensors", &weights);
        weights[399_999] = 8;
        let third = write("model.safetensors", &weights);
        let unrelated = write("README.md", b"text");
        assert!(first != second && second != third);
        assert_eq!(third, unrelated);
    }
}
