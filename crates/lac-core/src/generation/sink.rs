//! Who receives tokens.

use crate::error::BoxError;

/// Whether what is under way goes on: a row after a token, a search or an evaluation after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It ends here.
    Stop,
}

/// Receives tokens as they are chosen.
pub trait TokenSink {
    /// Takes a row's next token and says whether the row goes on.
    ///
    /// # Errors
    /// Whatever keeps the token from being received; it ends the generation, as
    /// [`Error::Sink`](crate::Error::Sink).
    fn token(&mut self, row: usize, id: u32) -> Result<Flow, BoxError>;

    /// Called once for a row, after its last token.
    ///
    /// # Errors
    /// As for [`token`](Self::token).
    fn end(&mut self, row: usize) -> Result<(), BoxError> {
        let _ = row;
        Ok(())
    }
}

/// Receives nothing.
impl TokenSink for () {
    fn token(&mut self, _row: usize, _id: u32) -> Result<Flow, BoxError> {
        Ok(Flow::Continue)
    }
}
