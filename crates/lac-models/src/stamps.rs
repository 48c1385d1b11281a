//! Notices whether a file of a model folder was changed while the model was loaded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::file;
use crate::model_files::is_small_file;
use crate::tokenizer::TEMPLATE_FOLDER;

/// Returns the files of a folder that decide a model's results. A folder that cannot be listed has no such files.
fn model_files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = |folder: &Path| file::paths_in(folder).into_iter().flatten().flatten();
    let files = entries(folder).filter(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(".safetensors") || is_small_file(&name)
    });
    files.chain(entries(&folder.join(TEMPLATE_FOLDER)))
}

/// Sizes, times and numbers of a model's files: enough to notice that one was replaced or written to.
#[derive(Clone, Debug)]
pub(crate) struct Stamps {
    place: Place,
    files: BTreeMap<PathBuf, Stamp>,
}

/// Where a model's files are.
#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Files(Vec<PathBuf>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    len: u64,
    modified: Option<SystemTime>,
    /// Device and inode of the file, on systems that have them.
    file: Option<(u64, u64)>,
}

impl Stamps {
    /// Notes those of a folder's files that decide a model's results.
    pub(crate) fn of(folder: &Path) -> Self {
        Self::of_place(Place::Folder(folder.to_owned()))
    }

    /// Notes these files.
    pub(crate) fn of_files(paths: Vec<PathBuf>) -> Self {
        Self::of_place(Place::Files(paths))
    }

    fn of_place(place: Place) -> Self {
        let paths: Vec<PathBuf> = match &place {
            Place::Folder(folder) => model_files(folder).collect(),
            Place::Files(paths) => paths.clone(),
        };
        let stamps = paths.into_iter().filter_map(|path| {
            let stamp = Stamp::of(&path)?;
            Some((path, stamp))
        });
        Self {
            files: stamps.collect(),
            place,
        }
    }

    /// Returns a file that has changed since.
    pub(crate) fn changed(&self) -> Option<PathBuf> {
        let now = Self::of_place(self.place.clone());
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
}
