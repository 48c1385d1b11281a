//! What a user should hear of, and is no error.

use std::fmt;

/// What a user should hear of, and is no error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Something may not be as the user thinks.
    Warning(String),
    /// Something is worth knowing.
    Note(String),
}

/// Receives notices.
pub type Tell<'a> = dyn FnMut(Notice) + 'a;

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Warning(text) | Self::Note(text)) = self;
        f.write_str(text)
    }
}
