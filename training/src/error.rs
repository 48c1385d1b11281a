//! What can go wrong while the data are made.

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be written or read.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// The tokenizer library refused.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A CSV record could not be written.
    #[error("cannot write a csv record")]
    Csv(#[from] csv::Error),
    /// A parquet file could not be written.
    #[error("cannot write a parquet file")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Columns did not fit together.
    #[error("cannot build a table")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// A JSON text could not be written or read.
    #[error("bad json")]
    Json(#[from] serde_json::Error),
}
