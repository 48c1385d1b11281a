//! A four-choice question as a document: its prompt, its letter, and what its places are to predict.

use lac_demo::{Choice, LETTERS};

use crate::chat_format::END_OF_TEXT;
use crate::document::{CLOSING, Document};
use crate::prompts::{Wording, choice_prompt};
use crate::questions::is_answered_without_choices;

/// Adds a four-choice question with its letter; the harness's prompt stands bare.
pub(crate) fn ask(doc: &mut Document, item: &Choice, wording: Wording) {
    doc.topic = item.subject.clone();
    let prompt = choice_prompt(item, wording);
    if wording == Wording::Harness {
        doc.add_marked(&prompt, &choice_marks(item, " "));
        doc.add(format!(" {}", item.letter()), 1.0);
        doc.add(END_OF_TEXT, CLOSING);
    } else {
        doc.marked_message(&prompt, &choice_marks(item, ""));
        doc.reply(&item.letter().to_string());
    }
}

/// Returns what the places of a question are to predict. The question's end: the right word, where the choices are not
/// needed to find it. Each choice: its letter if it is right, else the end of the line.
pub(crate) fn choice_marks(item: &Choice, space: &str) -> Vec<(String, String)> {
    let word = is_answered_without_choices(item).then(|| {
        (
            item.question.clone(),
            format!(" {}", item.choices[item.answer]),
        )
    });
    let letters = LETTERS
        .iter()
        .zip(&item.choices)
        .enumerate()
        .map(|(i, (letter, choice))| {
            let mark = if i == item.answer {
                format!("{space}{letter}")
            } else {
                "\n".into()
            };
            (format!("\n{letter}. {choice}"), mark)
        });
    word.into_iter().chain(letters).collect()
}
