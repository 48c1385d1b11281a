//! The prompts of lm-evaluation-harness (tasks as of August 2026): a description, solved
//! examples, the question. In a chat the description is the system's message, and the rest is one
//! message of the user.

use lac_core::text_model::ChatMessage;

use crate::item::Content;
use crate::prompt_settings::PromptSettings;
use crate::question::{Prompt, Question, ShownItem};
use crate::words::scripted;

/// Stands between examples.
const DELIMITER: &str = "\n\n";

pub(super) fn question(
    shown: &ShownItem<'_>,
    examples: &[ShownItem<'_>],
    settings: &PromptSettings,
) -> Question {
    if matches!(shown.item.content, Content::Scripted { .. }) {
        return scripted(shown);
    }
    let Some(task) = settings.task else {
        return scripted(shown);
    };
    let task = task.spec();
    let words = (task.words)(shown, settings.passages);
    let mut text = String::new();
    for example in examples {
        let words = (task.words)(example, settings.passages);
        let solution = &words.options[example.answer()].continuation;
        text.push_str(&format!("{} {solution}{DELIMITER}", words.text));
    }
    text.push_str(&words.text);
    let description = (task.description)(&shown.item.subject.replace('_', " "));
    let prompt = if settings.chat {
        let system = description.map(|content| ChatMessage::new("system", content));
        let user = ChatMessage::new("user", text);
        Prompt::Chat(system.into_iter().chain([user]).collect())
    } else {
        Prompt::Text(description.unwrap_or_default() + &text)
    };
    shown.with_prompt(prompt, words.options, words.kind)
}
