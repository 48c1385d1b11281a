//! Why a `config.json` cannot be used.

use std::path::PathBuf;

/// Why a `config.json` cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a JSON object.
    #[error("{} is not a JSON object: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The parser's message.
        reason: String,
    },
    /// A field is missing.
    #[error("{}: the field {field} is missing, expected {expected}", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is expected in its place.
        expected: &'static str,
    },
    /// A field has a value of the wrong kind or outside its range.
    #[error("{}: the field {field} is {value}, expected {expected}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The value in the file.
        value: String,
        /// What is expected in its place.
        expected: String,
    },
    /// A field asks for something that would change the result and is not supported.
    #[error("{}: the field {field} is {value}, which is not supported: {supported}", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// The value in the file.
        value: String,
        /// What is supported.
        supported: String,
    },
    /// Sizes that are possible one by one, but together make a model larger than any.
    #[error(
        "{}: {fields} together make {n_parameters} parameters, expected at most {MAX_PARAMETERS}",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The fields.
        fields: &'static str,
        /// Number of parameters.
        n_parameters: u64,
    },
}

/// More parameters than any model has. Their bytes can still be counted in 64 bits.
pub(super) const MAX_PARAMETERS: u64 = 1 << 50;
