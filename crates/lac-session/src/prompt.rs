//! A prompt's tokens.

use lac_models::chat_template::Conversation;
use lac_models::tokenizer::EncodedChat;
use lac_models::{AddSpecialTokens, ChatMessage, ChatOptions, Tokenizer};

use crate::error::SessionError;

/// Whether a text goes through the chat template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Template {
    /// The text is a user's message, if the model has a template; otherwise it is taken as it is.
    Applied,
    /// The text is taken as it is.
    Bypassed,
}

impl Template {
    /// Returns a text as the source of a prompt.
    pub fn of(self, text: &str) -> PromptSource {
        PromptSource::Text {
            text: text.to_owned(),
            template: self,
        }
    }
}

/// What a prompt is made of.
#[derive(Clone, Debug, PartialEq)]
pub enum PromptSource {
    /// A text.
    Text {
        /// The text.
        text: String,
        /// Whether it goes through the chat template.
        template: Template,
    },
    /// Messages.
    Conversation(Box<Conversation>),
}

/// A prompt, rendered and tokenised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// The text that was tokenised; empty for ids given as they are.
    pub text: String,
    /// Its tokens, at least one.
    pub ids: Vec<u32>,
}

impl Prompt {
    /// Renders the chat template, where it is to be applied and the model has one, and tokenises.
    ///
    /// # Errors
    /// A template that refuses the messages, and a text without tokens.
    pub fn new(source: &PromptSource, tokenizer: &Tokenizer) -> Result<Self, SessionError> {
        let (messages, options) = match source {
            PromptSource::Text { text, template } => {
                if *template == Template::Bypassed || !tokenizer.has_chat_template() {
                    let ids = tokenizer.encode(text, AddSpecialTokens::Once)?;
                    let text = text.clone();
                    return Self { text, ids }.not_empty();
                }
                let messages = vec![ChatMessage::new("user", text)];
                (messages, ChatOptions::default())
            }
            PromptSource::Conversation(conversation) => {
                let Conversation {
                    messages,
                    tools,
                    documents,
                    extra,
                    ..
                } = conversation.as_ref().clone();
                let mut options = ChatOptions::default();
                options.tools = tools;
                options.documents = documents;
                options.extra = extra;
                (messages, options)
            }
        };
        let EncodedChat { text, ids } = tokenizer.encode_chat(&messages, &options)?;
        Self { text, ids }.not_empty()
    }

    /// Takes token ids as they are.
    ///
    /// # Errors
    /// [`SessionError::EmptyPrompt`] where there are none.
    pub fn of_ids(ids: Vec<u32>) -> Result<Self, SessionError> {
        let text = String::new();
        Self { text, ids }.not_empty()
    }

    /// Finds a prompt that is longer than the model's context.
    ///
    /// # Errors
    /// [`SessionError::PromptTooLong`].
    pub fn check_fits(&self, max_context: usize) -> Result<(), SessionError> {
        let n_tokens = self.ids.len();
        if n_tokens <= max_context {
            return Ok(());
        }
        Err(SessionError::PromptTooLong {
            n_tokens,
            max_context,
        })
    }

    /// Refuses a prompt without tokens, which no model can continue.
    fn not_empty(self) -> Result<Self, SessionError> {
        if self.ids.is_empty() {
            return Err(SessionError::EmptyPrompt);
        }
        Ok(self)
    }
}
