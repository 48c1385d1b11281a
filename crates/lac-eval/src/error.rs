//! Errors of reading, running and reporting benchmarks.

use std::path::PathBuf;

use lac_core::BoxError;

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error while a benchmark is read, run or reported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// No file was found that a benchmark can be read from.
    #[error("{}: {reason}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
        /// What was looked for.
        reason: String,
    },
    /// A file does not have the format that its name says.
    #[error("{}: {reason}", file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// A row of a data file cannot be used.
    #[error("{}, row {row}: {reason}", file.display())]
    Row {
        /// The file.
        file: PathBuf,
        /// The row, counted from 1, headers not counted.
        row: usize,
        /// What is wrong, and what is expected.
        reason: String,
    },
    /// A setting lies outside its range, or settings contradict each other.
    #[error("{field} is {value}, expected {expected}")]
    Invalid {
        /// Name of the setting.
        field: &'static str,
        /// The value as given.
        value: String,
        /// The expected value.
        expected: String,
    },
    /// The tokenizer or its chat template failed.
    #[error("cannot make the prompt of item {item}")]
    Prompt {
        /// The item's id.
        item: String,
        /// The tokenizer's own error.
        source: BoxError,
    },
    /// The model cannot take a prompt.
    #[error("item {item} ({subject}): {reason}")]
    Item {
        /// The item's id.
        item: String,
        /// Its subject.
        subject: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model failed.
    #[error("the model failed at item {item}")]
    Model {
        /// The id of the first item of the batch.
        item: String,
        /// The model's own error.
        source: lac_core::Error,
    },
    /// The model failed at a window of a text.
    #[error("the model failed at window {window} of the text")]
    Window {
        /// The window, counted from 1.
        window: usize,
        /// The model's own error.
        source: lac_core::Error,
    },
    /// A file of results was started with other settings.
    #[error("{} was started with other settings:\n{differences}", file.display())]
    OtherSettings {
        /// The file.
        file: PathBuf,
        /// One line per setting that differs.
        differences: String,
    },
    /// Another process writes to the file of results.
    #[error("cannot write {}", file.display())]
    Locked {
        /// The file.
        file: PathBuf,
        /// The process that holds the lock.
        source: lac_files::Busy,
    },
    /// A line of a file of results cannot be used.
    #[error("{}, line {line}: {reason}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// Results, or parts of a run, do not belong together.
    #[error("{0}")]
    Mismatch(String),
}
