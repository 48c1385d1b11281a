//! The token with which a chat template ends an answer.

use serde_json::{Map, Value};

use crate::chat_template::{ChatMessage, ChatOptions, ChatTemplate, RenderLimits};

/// What the answer says, so that its end is found in the rendered text.
const ANSWER: &str = "0123456789";

/// Renders a short chat and returns the added token that stands right behind the answer. `None` where something else
/// stands there, or where the template does not render such a chat.
pub(super) fn turn_end(
    template: &ChatTemplate,
    special_tokens: &Map<String, Value>,
    tokenizer: &tokenizers::Tokenizer,
) -> Option<u32> {
    // A tenth of what a prompt may take: far more than two messages do.
    let mut limits = RenderLimits::default();
    limits.steps /= 10;
    let mut options = ChatOptions::default().on_day(2024, 7, 26)?;
    options.add_generation_prompt = false;
    let messages = [
        ChatMessage::new("user", "Count."),
        ChatMessage::new("assistant", ANSWER),
    ];
    let text = template
        .clone()
        .with_limits(limits)
        .render(&messages, special_tokens, &options)
        .ok()?;
    let (_, after) = text.rsplit_once(ANSWER)?;
    let after = after.trim_start();
    tokenizer
        .get_added_tokens_decoder()
        .into_iter()
        .filter(|(_, token)| !token.content.trim().is_empty() && after.starts_with(&token.content))
        // The longest of those that begin alike.
        .max_by_key(|(_, token)| token.content.len())
        .map(|(id, _)| id)
}
