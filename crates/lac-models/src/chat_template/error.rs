//! Why a conversation could not be rendered.

use std::io;

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The checkpoint names several templates, but no `default`.
    #[error("{file}: no template is named \"default\", only {}", names.join(", "))]
    NoDefault {
        /// Where the templates come from.
        file: String,
        /// Names of the templates that exist.
        names: Vec<String>,
    },
    /// The checkpoint has no template of the name that was asked for.
    #[error("{file}: no template is named {name:?}, only {}", names.join(", "))]
    NoSuchTemplate {
        /// Where the templates come from.
        file: String,
        /// The name that was asked for.
        name: String,
        /// Names of the templates that exist.
        names: Vec<String>,
    },
    /// What the checkpoint stores as its template cannot be read.
    #[error("{file}: {message}")]
    Malformed {
        /// Where the template comes from.
        file: String,
        /// What was found and what was expected.
        message: String,
    },
    /// The template itself called `raise_exception`, for instance because
    /// roles do not alternate as the model expects.
    #[error("{file}:{line}: the template rejects the conversation: {message}")]
    Rejected {
        /// Where the template comes from.
        file: String,
        /// Line of the template.
        line: usize,
        /// The template's message.
        message: String,
    },
    /// The template is not valid, or uses a value in a way that fails.
    #[error("{file}:{line}: {message}")]
    Template {
        /// Where the template comes from.
        file: String,
        /// Line of the template, 0 if unknown.
        line: usize,
        /// The engine's message.
        message: String,
    },
    /// The template ran longer than [`RenderLimits::steps`](super::RenderLimits::steps).
    #[error("{file}: rendering did not end within {steps} steps")]
    TooManySteps {
        /// Where the template comes from.
        file: String,
        /// The limit that was exceeded.
        steps: u64,
    },
    /// The template ran longer than [`RenderLimits::time`](super::RenderLimits::time).
    #[error("{file}: rendering did not end within {seconds} s")]
    TooSlow {
        /// Where the template comes from.
        file: String,
        /// The limit that was exceeded.
        seconds: f64,
    },
    /// The operating system gave no thread to render on.
    #[error("{file}: cannot start a thread to render the template")]
    NoThread {
        /// Where the template comes from.
        file: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// The text grew beyond [`RenderLimits::bytes`](super::RenderLimits::bytes).
    #[error("{file}: the rendered text exceeds {bytes} bytes")]
    TooLarge {
        /// Where the template comes from.
        file: String,
        /// The limit that was exceeded.
        bytes: usize,
    },
}
