//! A context and its continuation as token ids, by the harness's rules.

use lac_core::BoxError;
use lac_core::text_model::{AddSpecialTokens, TextModel};

use crate::request::ScoredOption;

/// Why a context and its continuation cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairError {
    /// The tokenizer failed.
    #[error(transparent)]
    Tokenizer(BoxError),
    /// The context has no token, and there is none to stand for it.
    #[error("a context is empty, and the tokenizer has neither BOS nor EOS to stand for it")]
    NoStartToken,
    /// The context has no token.
    #[error("the context holds no token")]
    EmptyContext,
    /// The continuation has no token of its own.
    #[error("{text:?} adds no token to its context")]
    EmptyContinuation {
        /// The continuation's text; empty where it was given as ids.
        text: String,
    },
    /// The continuation does not fit the model.
    #[error("an option has {n_tokens} tokens, the model's context holds {max_context}")]
    TooLong {
        /// Number of tokens of the continuation.
        n_tokens: usize,
        /// Number of tokens that the context holds.
        max_context: usize,
    },
}

impl ScoredOption {
    /// Tokenises a context and its continuation as lm-evaluation-harness does: spaces at the context's end move to the
    /// continuation, both are tokenised as one text, and the tokens after as many as the context has by itself are the
    /// continuation. An empty context is the token that begins a text; where the continuation begins with that token
    /// itself, the rest is scored. A context that is too long for a model of `max_context` positions loses its beginning.
    ///
    /// # Errors
    /// [`PairError`]: nothing is left to score, or it does not fit.
    pub fn of_texts(
        context: &str,
        continuation: &str,
        special: AddSpecialTokens,
        text: &dyn TextModel,
        max_context: usize,
    ) -> Result<Self, PairError> {
        let encode = |words: &str, special| text.encode(words, special);
        if context.is_empty() {
            let start = text.start_token().ok_or(PairError::NoStartToken)?;
            let mut ids =
                encode(continuation, AddSpecialTokens::Never).map_err(PairError::Tokenizer)?;
            if ids.first() == Some(&start) {
                ids.remove(0);
            }
            return Self::fitting(vec![start], ids, continuation, max_context);
        }
        let kept = context.trim_end();
        let moved = format!("{}{continuation}", &context[kept.len()..]);
        // The harness lets the tokenizer add its special tokens to rendered chats too, unless they
        // begin with BOS.
        let special = match special {
            AddSpecialTokens::Never => AddSpecialTokens::Once,
            other => other,
        };
        let joined = encode(&format!("{kept}{moved}"), special).map_err(PairError::Tokenizer)?;
        let context = encode(kept, special).map_err(PairError::Tokenizer)?;
        let continuation = joined.get(context.len()..).unwrap_or_default().to_vec();
        Self::fitting(context, continuation, &moved, max_context)
    }

    /// Takes a context and a continuation of token ids. A context that is too long loses its beginning.
    ///
    /// # Errors
    /// [`PairError`]: one of them is empty, or the continuation does not fit.
    pub fn of_ids(
        context: Vec<u32>,
        continuation: Vec<u32>,
        max_context: usize,
    ) -> Result<Self, PairError> {
        Self::fitting(context, continuation, "", max_context)
    }

    fn fitting(
        mut context: Vec<u32>,
        continuation: Vec<u32>,
        text: &str,
        max_context: usize,
    ) -> Result<Self, PairError> {
        if context.is_empty() {
            return Err(PairError::EmptyContext);
        }
        if continuation.is_empty() {
            let text = text.to_owned();
            return Err(PairError::EmptyContinuation { text });
        }
        if continuation.len() >= max_context {
            return Err(PairError::TooLong {
                n_tokens: continuation.len(),
                max_context,
            });
        }
        // The last token of the continuation is not fed.
        let n_fed = context.len() + continuation.len() - 1;
        context.drain(..n_fed.saturating_sub(max_context));
        Ok(Self {
            context,
            continuation,
        })
    }
}
