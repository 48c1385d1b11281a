//! Why a session cannot begin.

use std::io;

use lac_hub::HubError;
use lac_models::ModelError;
use lac_models::tokenizer::TokenizerError;

/// Why a model cannot be found, opened or loaded, or a prompt not be made. Settings are named as the command's flags.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// Neither a file nor a repository of that name was found.
    #[error("--model {model}: there is no such {what}")]
    NotFound {
        /// The name.
        model: String,
        /// `file` or `folder`.
        what: &'static str,
        /// What the hub's cache, or the hub, says.
        #[source]
        source: HubError,
    },
    /// A repository holds no such file.
    #[error("--model {model}: there is no such file: {reason}")]
    NoSuchFile {
        /// The name.
        model: String,
        /// What there is.
        reason: String,
    },
    /// A name on the hub is none.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// There is no room for the embedded model.
    #[error("--model demo: cannot make a temporary folder")]
    TemporaryFolder(#[source] io::Error),
    /// The embedded model cannot be unpacked.
    #[cfg(feature = "demo")]
    #[error("--model demo")]
    Demo(#[source] lac_demo::Error),
    /// This program was built without the embedded model.
    #[error("--model demo: this lac was compiled without demo; name a folder or a hub id")]
    NoDemo,
    /// There is no such device.
    #[error("{0}")]
    Device(String),
    /// The machine cannot hold the model.
    #[error("{0}")]
    Memory(String),
    /// A setting is out of its range.
    #[error("{flag} {value}: expected {expected}")]
    Setting {
        /// The flag.
        flag: &'static str,
        /// Its value.
        value: String,
        /// What is allowed.
        expected: &'static str,
    },
    /// A prompt has more tokens than the model's context.
    #[error("the prompt has {n_tokens} tokens, the model's context holds {max_context}")]
    PromptTooLong {
        /// Number of tokens.
        n_tokens: usize,
        /// Number of tokens that the context holds.
        max_context: usize,
    },
    /// A prompt has no token.
    #[error("the prompt is empty: it holds no token")]
    EmptyPrompt,
    /// The folder, its configuration or its tokenizer cannot be used.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The weights cannot be loaded.
    #[error("cannot load the model")]
    Load(#[source] ModelError),
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}
