//! Finds the data files of a folder.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Lists the files of a folder whose names end with `end`, sorted by name. A folder that does not
/// exist has none.
pub(crate) fn files_ending(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let read = |source| Error::Read {
        file: folder.to_owned(),
        source,
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.to_string_lossy().ends_with(end) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Lists the Parquet files of one split: `test.parquet`, `test-00000-of-00001.parquet` and so on.
pub(crate) fn parquet_files(folder: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let mut files = files_ending(folder, ".parquet")?;
    files.retain(|file| {
        let name = file.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| {
            name.strip_prefix(split)
                .is_some_and(|rest| rest.starts_with('-') || rest == ".parquet")
        })
    });
    Ok(files)
}
