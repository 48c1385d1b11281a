//! Receivers of tokens.

use crate::error::BoxError;

/// Returned by callbacks: continue or stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// Continue with the row, the search or the evaluation.
    Continue,
    /// Stop it here. What it has given so far is kept.
    Stop,
}

/// Receives tokens as they are chosen. For every row there are any number of calls of [`token`](Self::token), then one
/// of [`end`](Self::end).
pub trait TokenSink {
    /// Receives a row's next token. Called once for each token of a row, in their order, but not for a stop token. After
    /// [`Flow::Stop`] the token is kept and the row ends, with
    /// [`StopReason::Sink`](crate::generation::StopReason::Sink); other rows go on.
    ///
    /// # Errors
    /// An error ends the whole generation, which returns it as [`Error::Sink`](crate::Error::Sink).
    fn token(&mut self, row: usize, id: u32) -> Result<Flow, BoxError>;

    /// Ends a row. Called once for each row, after its last token, whatever has ended it; does nothing by default.
    ///
    /// # Errors
    /// An error ends the whole generation, as for [`token`](Self::token).
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
