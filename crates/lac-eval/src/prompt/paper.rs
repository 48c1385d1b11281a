//! The prompts of the paper's released code. The indents, and the empty lines at both ends, are
//! part of them.

use super::{OptionKind, Question, Shown, letter_options, lettered, user, word_options};
use crate::item::Content;
use crate::settings::{Asking, Quirk};

pub(super) fn question(shown: &Shown<'_>, asking: &Asking) -> Question {
    let choices = shown.choices();
    match &shown.item.content {
        Content::Choices { question, .. } => {
            let options = lettered(&choices);
            let prompt = user(format!(
                "\n    Question:\n    {question}\n\n    Options:\n    {options}\n\n    Output \
                 format:\n    [Option]\n\n    "
            ));
            shown.with_prompt(prompt, letter_options(&choices), OptionKind::Letters)
        }
        Content::YesNo {
            passage, question, ..
        } => {
            let heading = if asking.has(Quirk::QuestionUnderOptions) {
                "Options:"
            } else {
                "Question:"
            };
            let prompt = user(format!(
                "\n    Respond to the given question based on the passage with True or False.\n    \
                 Passage:\n    {passage}\n\n    {heading}\n    {question}\n\n    Output Format:\n    \
                 [True/False]\n    "
            ));
            shown.with_prompt(prompt, word_options("False", "True"), OptionKind::NoYes)
        }
        Content::Scripted { .. } => super::harness::scripted(shown),
    }
}
