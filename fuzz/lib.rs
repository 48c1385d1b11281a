//! What the fuzz targets share: a folder for the file that is read.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A folder that one file is written into, again and again.
pub struct Folder {
    folder: TempDir,
}

impl Default for Folder {
    fn default() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        Self { folder }
    }
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Writes a file.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file in a temporary folder");
        path
    }
}

/// Insists that an error, where there is one, says something, and no more than a page of it.
pub fn check<T>(result: Result<T, impl std::error::Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let message = error.to_string();
            assert!((1..4000).contains(&message.len()), "{message}");
            None
        }
    }
}
