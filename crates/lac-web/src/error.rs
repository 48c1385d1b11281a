//! Why the page cannot do what it was asked.

/// Why the page cannot do what it was asked, in words for the one who asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The files are no model that can be used.
    #[error("{0}")]
    Model(String),
    /// A file was cut off on its way, or another one came.
    #[error("{name} was announced with {announced} bytes, and {found} came")]
    CutOff {
        /// The file.
        name: String,
        /// Bytes that it should have.
        announced: u64,
        /// Bytes that came.
        found: u64,
    },
    /// There is not enough memory.
    #[error(
        "{what} needs {} MB of memory, which the browser does not give: a smaller model, or one that is quantised \
         (Q4_0, Q8_0), may fit",
        n_bytes.div_ceil(1_000_000)
    )]
    Memory {
        /// What needs it.
        what: String,
        /// How much.
        n_bytes: u64,
    },
    /// The prompt leaves no room.
    #[error(
        "the question has {n_tokens} tokens, and the model was made for {max_context} in all: ask a shorter one"
    )]
    TooLong {
        /// Tokens of the prompt.
        n_tokens: usize,
        /// Positions of the model.
        max_context: usize,
    },
    /// There is nothing to answer.
    #[error("the question is empty")]
    Empty,
    /// A setting that there is not.
    #[error("{setting} is {value}: expected {expected}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is expected.
        expected: &'static str,
    },
    /// A pass failed.
    #[error("{0}")]
    Run(String),
    /// An answer has ended, or an error ended it.
    #[error("the answer is over")]
    Over,
}

/// Returns an error's words with those of what caused it.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some errors repeat their cause's words.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

impl From<lac_core::Error> for Error {
    fn from(error: lac_core::Error) -> Self {
        Self::Run(words(&error))
    }
}

impl From<lac_trace::Error> for Error {
    fn from(error: lac_trace::Error) -> Self {
        Self::Run(words(&error))
    }
}
