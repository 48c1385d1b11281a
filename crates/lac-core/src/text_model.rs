//! What evaluation needs of a tokenizer. As models do, tokenizers live outside this crate.

mod chat_message;

pub use chat_message::ChatMessage;

use crate::error::BoxError;

/// Which of its special tokens (BOS, EOS) a tokenizer puts around a text. Special tokens that are written out in the
/// text count in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddSpecialTokens {
    /// Those that it is configured to add, but no second BOS where the text begins with one. For plain text.
    Once,
    /// None. For text from a chat template, which has written them all.
    Never,
    /// Those that it is configured to add, also where the text begins with a BOS. transformers does so, and the paper's
    /// released code does so to rendered chats.
    Always,
}

/// A tokenizer with its chat template, as far as evaluation needs it.
///
/// An evaluation calls [`encode`](Self::encode) and [`render_chat`](Self::render_chat) once or a few times for each
/// question, before the model runs, and [`decode`](Self::decode) once for each answer that the model has written. The
/// first error ends the evaluation.
///
/// The same text has to give the same ids tomorrow: templates that write the date are given a fixed one.
pub trait TextModel {
    /// Returns the ids of a text. Called with a whole prompt, or with a context alone and then with the context and its
    /// continuation. The ids of an empty text are the special tokens.
    ///
    /// # Errors
    /// The tokenizer's own.
    fn encode(&self, text: &str, special: AddSpecialTokens) -> Result<Vec<u32>, BoxError>;

    /// Returns the text of ids, without special tokens. Called with the tokens of an answer.
    ///
    /// # Errors
    /// The tokenizer's own.
    fn decode(&self, ids: &[u32]) -> Result<String, BoxError>;

    /// Returns whether the model has a chat format. Where it has none, [`render_chat`](Self::render_chat) is not
    /// called, and the messages' texts are the prompt.
    fn has_chat_template(&self) -> bool;

    /// Returns the text of a chat in the model's format, up to where the next answer begins.
    ///
    /// # Errors
    /// The template's own, such as that it accepts no system message.
    fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, BoxError>;

    /// Returns the tokens that end an answer. They are the same at every call.
    fn stop_tokens(&self) -> &[u32];

    /// Returns the token that stands before a text without a context, so that its first token can be scored: the
    /// tokenizer's BOS, or its EOS where it has none, as in lm-evaluation-harness. Called once for each empty context;
    /// `None`, the default, is an error there.
    fn start_token(&self) -> Option<u32> {
        None
    }

    /// Returns the token that fills up shorter texts of a batch: the tokenizer's own, or the one that ends a text where
    /// it has none, as in the paper's released code. Called only where that code's padding is reproduced; `None`, the
    /// default, is an error there.
    fn pad_token(&self) -> Option<u32> {
        None
    }
}
