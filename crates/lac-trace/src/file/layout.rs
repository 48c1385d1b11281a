//! Where a trace's parts lie: the folder beside its file, the names in it, and who may write into it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lac_files::{FolderLock, is_leftover};

use crate::error::{Error, Result};

/// Appended to the name of a trace's file, gives the name of the folder of its parts.
const PARTS_SUFFIX: &str = ".parts";
/// How the names of parts begin and end; the number between them gives the order.
const PART_PREFIX: &str = "part-";
const PART_SUFFIX: &str = ".parquet";

/// Returns the folder of a trace's parts.
pub(super) fn parts_folder(trace: &Path) -> PathBuf {
    let mut folder = trace.as_os_str().to_owned();
    folder.push(PARTS_SUFFIX);
    PathBuf::from(folder)
}

/// Returns the path of a part.
pub(super) fn part_path(folder: &Path, part_idx: usize) -> PathBuf {
    folder.join(format!("{PART_PREFIX}{part_idx:06}{PART_SUFFIX}"))
}

/// Lists the finished parts in a folder, in their order.
///
/// # Errors
/// [`Error::NotATrace`] if there is no part; any error of the operating system.
pub(super) fn parts_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut parts: Vec<PathBuf> = names_in(folder)?
        .into_iter()
        .filter(|name| name.starts_with(PART_PREFIX) && name.ends_with(PART_SUFFIX))
        .map(|name| folder.join(name))
        .collect();
    if parts.is_empty() {
        return Err(Error::not_a_trace(
            folder,
            "a folder without part-*.parquet in it",
        ));
    }
    parts.sort();
    Ok(parts)
}

/// Creates the folder if it does not exist, and locks it for one writer.
pub(super) fn lock_parts(folder: &Path) -> Result<FolderLock> {
    /// How often the folder is created again if the run before removes it at its end.
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        match std::fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(Error::io("create", folder)(error)),
        }
        match FolderLock::take(folder) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("record into", folder)(error)),
        }
    }
    Err(Error::io("record into", folder)(ErrorKind::NotFound.into()))
}

/// Returns whether the folder holds anything that an earlier run recorded. A lock and files that were not finished when
/// their process was killed do not count. Nothing is changed.
pub(super) fn has_parts(folder: &Path) -> Result<bool> {
    let is_kept = |name: &String| name != FolderLock::FILE_NAME && !is_leftover(name);
    Ok(names_in(folder)?.iter().any(is_kept))
}

/// Removes files that were not finished when their process was killed. The caller holds the folder's lock.
pub(super) fn remove_unfinished_files(folder: &Path) -> Result<()> {
    for name in names_in(folder)?.iter().filter(|name| is_leftover(name)) {
        let path = folder.join(name);
        std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    entries
        .map(|entry| {
            let entry = entry.map_err(Error::io("read", folder))?;
            Ok(entry.file_name().to_string_lossy().into_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn asking_for_parts_removes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = folder.path().join(".lac-1234.tmp");
        std::fs::write(&unfinished, "half").unwrap();
        assert!(!has_parts(folder.path()).unwrap());
        assert!(unfinished.exists());

        let part = part_path(folder.path(), 0);
        std::fs::write(&part, "part").unwrap();
        assert!(has_parts(folder.path()).unwrap());
        remove_unfinished_files(folder.path()).unwrap();
        assert!(!unfinished.exists());
        assert_eq!(parts_in(folder.path()).unwrap(), [part]);
    }
}
