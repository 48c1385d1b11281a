//! What evaluation asks of a tokenizer. As models do, tokenizers live outside this crate.

use crate::error::BoxError;

/// Who adds the tokens that begin a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Markers {
    /// The tokenizer, as it does for plain text; never a second one where the text has one.
    Tokenizer,
    /// Nobody: a chat template has written them.
    Written,
    /// The tokenizer, on top of those that a chat template has written. The paper's released code
    /// does so.
    Doubled,
}

/// One turn of a chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// `system`, `user` or `assistant`.
    pub role: &'static str,
    /// What is said.
    pub content: String,
}

/// A tokenizer with its chat template, as far as evaluation needs it. The same text has to give
/// the same ids tomorrow: templates that write the date are given a fixed one.
pub trait TextModel {
    /// The ids of a text.
    ///
    /// # Errors
    /// The tokenizer's own.
    fn encode(&self, text: &str, markers: Markers) -> Result<Vec<u32>, BoxError>;

    /// The text of ids, special tokens left out.
    ///
    /// # Errors
    /// The tokenizer's own.
    fn decode(&self, ids: &[u32]) -> Result<String, BoxError>;

    /// Whether the model has a chat format.
    fn has_chat_template(&self) -> bool;

    /// The text of a chat in the model's format, up to where its next answer begins.
    ///
    /// # Errors
    /// The template's own, or that there is none.
    fn render_chat(&self, turns: &[Turn]) -> Result<String, BoxError>;

    /// The tokens that end an answer.
    fn stop_tokens(&self) -> &[u32];

    /// The token that fills up shorter texts of a batch: the tokenizer's own, or the one that ends a text where it has
    /// none, as in the paper's released code. Needed only where its treatment of padding is reproduced.
    fn pad_token(&self) -> Option<u32> {
        None
    }
}
