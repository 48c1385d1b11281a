//! The prompts of the paper's released code. The indents, and the empty lines at both ends, are
//! part of them.

use crate::item::Content;
use crate::prompt_settings::PromptSettings;
use crate::question::{OptionKind, Question, ShownItem};
use crate::words::{letter_options, lettered, scripted, text_options, user};

pub(super) fn question(shown: &ShownItem<'_>, settings: &PromptSettings) -> Question {
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
            let heading = settings.quirks.yes_no_heading();
            let prompt = user(format!(
                "\n    Respond to the given question based on the passage with True or False.\n    \
                 Passage:\n    {passage}\n\n    {heading}\n    {question}\n\n    Output Format:\n    \
                 [True/False]\n    "
            ));
            let options = text_options(&["False", "True"]);
            shown.with_prompt(prompt, options, OptionKind::NoYes)
        }
        Content::Scripted { .. } => scripted(shown),
    }
}
