//! What evaluation asks of a tokenizer. Like models, tokenizers live outside this crate.

use crate::error::BoxError;

/// Who adds the tokens that begin a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Markers {
    /// The tokenizer, as it does for plain text; never a second one where the text has one.
    Tokenizer,
    /// The chat template, which has written them into the text.
    Written,
    /// The tokenizer, in addition to those that a chat template has written. The paper's released code does so.
    Doubled,
}

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: &'static str,
    /// The text of the turn.
    pub content: String,
}

/// A tokenizer with its chat template, as far as evaluation needs it.
///
/// The same text has to give the same ids on every call and on every day: a template that writes the date has to be
/// given a fixed one. An error of any method ends the evaluation, which reports it with the question at hand.
pub trait TextModel {
    /// Returns the token ids of a text. Called several times for each question, for its context and its options.
    ///
    /// # Errors
    /// Whatever the tokenizer reports.
    fn encode(&self, text: &str, markers: Markers) -> Result<Vec<u32>, BoxError>;

    /// Returns the text of token ids, without special tokens. Called for each generated answer.
    ///
    /// # Errors
    /// Whatever the tokenizer reports.
    fn decode(&self, ids: &[u32]) -> Result<String, BoxError>;

    /// Returns whether the model has a chat template. Called before questions are put into words: without one,
    /// [`render_chat`](Self::render_chat) is not called.
    fn has_chat_template(&self) -> bool;

    /// Returns the text of a chat in the model's format, up to where the model's next answer begins. Called once for each
    /// question that is asked as a chat.
    ///
    /// # Errors
    /// Whatever the template reports, or that the model has no template.
    fn render_chat(&self, turns: &[Turn]) -> Result<String, BoxError>;

    /// Returns the tokens that end an answer. Called before answers are generated.
    fn stop_tokens(&self) -> &[u32];

    /// Returns the token that fills up the shorter texts of a batch: the tokenizer's own, or the one that ends a text if it
    /// has none, as in the paper's released code. Called only where that code's treatment of padding is reproduced; `None`
    /// by default.
    fn pad_token(&self) -> Option<u32> {
        None
    }
}
