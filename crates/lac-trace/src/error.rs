//! What can go wrong with the files of traces.

use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What can go wrong with the files of traces; every message names the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {doing} {}", path.display())]
    Io {
        /// What was being done, such as "read".
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's own words.
        #[source]
        source: std::io::Error,
    },

    /// The file is something else altogether.
    #[error("{} is not a trace: {found}", path.display())]
    NotATrace {
        /// The file or folder.
        path: PathBuf,
        /// What it seems to be.
        found: String,
    },

    /// The trace has a format that this version does not know.
    #[error(
        "{} is a trace of format version {found}, this version of lac reads {supported}: \
         a newer one is needed",
        path.display()
    )]
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The version that it names.
        found: String,
        /// The version that is read.
        supported: u32,
    },

    /// The file ends too early, or its bytes were changed.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },

    /// A field of the file's metadata is missing or makes no sense.
    #[error("{}: {key} is {found} in the metadata, expected {expected}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The field.
        key: &'static str,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: &'static str,
    },

    /// A column is missing, has another type, or holds something impossible.
    #[error("{}: column {column} {problem}", path.display())]
    Column {
        /// The file.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Traces that cannot be put together or held against each other.
    #[error("{left} and {right} do not belong together: {reason}")]
    Mismatch {
        /// One of them.
        left: String,
        /// The other.
        right: String,
        /// What differs.
        reason: String,
    },

    /// There is nothing to record: the policy does not gate.
    #[error("the policy {policy} measures nothing, so there is nothing to record")]
    NotGated {
        /// The policy's name.
        policy: String,
    },

    /// A pass does not fit the trace it is to be added to.
    #[error("a pass with {found} {what} in a trace with {expected}")]
    UnexpectedPass {
        /// What is counted.
        what: &'static str,
        /// How many the pass has.
        found: usize,
        /// How many it should have.
        expected: usize,
    },

    /// What an interrupted run left behind is in the way.
    #[error(
        "{} holds what an interrupted run had recorded: read it as it is, or move or remove it",
        path.display()
    )]
    InterruptedRun {
        /// The folder of parts.
        path: PathBuf,
    },

    /// What an interrupted run left behind is of another run than the one that was to go on with it.
    #[error(
        "{} holds what an interrupted run of other settings had recorded ({differences}): \
         read it as it is, or move or remove it",
        path.display()
    )]
    OtherRun {
        /// The folder of parts.
        path: PathBuf,
        /// What differs.
        differences: String,
    },

    /// The trace holds no token.
    #[error("{} holds no token", path.display())]
    Empty {
        /// The file or folder.
        path: PathBuf,
    },

    /// A choice that the trace does not offer.
    #[error("{}: {message}", path.display())]
    Choice {
        /// The file or folder.
        path: PathBuf,
        /// What is offered.
        message: String,
    },

    /// The hidden states of a layer were asked for that the model does not have.
    #[error("there is no layer {layer_idx} to keep hidden states of: layers count from 0 to {}", n_layers.saturating_sub(1))]
    UnknownLayer {
        /// The layer asked for.
        layer_idx: usize,
        /// Number of layers of the model.
        n_layers: usize,
    },

    /// A computation of a probe failed on the device.
    #[error("the device failed while reading what a probe saw: {reason}")]
    Device {
        /// The device's own words.
        reason: String,
    },

    /// A picture could not be drawn.
    #[error("cannot draw {}: {reason}", path.display())]
    Picture {
        /// The picture's file.
        path: PathBuf,
        /// The drawing library's own words.
        reason: String,
    },
}

impl Error {
    /// Returns a function for `map_err` that adds what was being done, and with which path.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }

    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn not_a_trace(path: &Path, found: impl Into<String>) -> Self {
        Self::NotATrace {
            path: path.to_owned(),
            found: found.into(),
        }
    }

    pub(crate) fn column(path: &Path, column: &str, problem: impl Into<String>) -> Self {
        Self::Column {
            path: path.to_owned(),
            column: column.to_owned(),
            problem: problem.into(),
        }
    }
}
