//! Errors of embedded files.

use std::path::PathBuf;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// An embedded file does not have the format that its name says.
    #[error("{file}, record {record}: {reason}")]
    Record {
        /// The embedded file.
        file: &'static str,
        /// The record, counted from 1.
        record: usize,
        /// What is wrong, and what is expected.
        reason: String,
    },
}
