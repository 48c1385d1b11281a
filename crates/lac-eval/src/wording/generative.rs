//! The prompts of the generative protocol: those of the harness without their description, as a
//! user's message.

use crate::item::Content;
use crate::prompt_settings::PromptSettings;
use crate::question::{Question, ShownItem};
use crate::words::{scripted, user, usual_words};

pub(super) fn question(shown: &ShownItem<'_>, settings: &PromptSettings) -> Question {
    if matches!(shown.item.content, Content::Scripted { .. }) {
        return scripted(shown);
    }
    let words = usual_words(shown, settings.passages);
    shown.with_prompt(user(words.text), words.options, words.kind)
}
