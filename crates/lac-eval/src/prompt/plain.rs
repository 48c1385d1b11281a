//! The prompts of the generative protocol: those of the harness without their description, as a
//! user's message.

use super::{OptionKind, Question, Shown, letter_options, lettered, user, word_options};
use crate::item::Content;
use crate::prompt::harness;
use crate::settings::Asking;

pub(super) fn question(shown: &Shown<'_>, asking: &Asking) -> Question {
    let choices = shown.choices();
    match &shown.item.content {
        Content::Choices { question, .. } => {
            let question = question.trim();
            let prompt = user(format!("{question}\n{}\nAnswer:", lettered(&choices)));
            shown.with_prompt(prompt, letter_options(&choices), OptionKind::Letters)
        }
        Content::YesNo { .. } => {
            let prompt = user(harness::yes_no(shown.item, asking));
            shown.with_prompt(prompt, word_options("no", "yes"), OptionKind::NoYes)
        }
        Content::Scripted { .. } => harness::scripted(shown),
    }
}
