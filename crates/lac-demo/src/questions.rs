//! Questions with their answers, and their prompts.

use serde::{Deserialize, Serialize};

/// The letters of the choices.
pub const LETTERS: [char; 4] = ['A', 'B', 'C', 'D'];

/// A question with four choices, one of them right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// The subject (MMLU-like) or domain (GPQA-like).
    pub subject: String,
    /// The question's text.
    pub question: String,
    /// The four choices in the order they are shown.
    pub choices: Vec<String>,
    /// The index of the right choice.
    pub answer: usize,
}

impl Choice {
    /// Returns the letter of the right choice, which is the expected answer.
    pub fn letter(&self) -> char {
        LETTERS[self.answer]
    }

    /// Returns the user's message: the question, the lettered choices, `Answer:`.
    pub fn prompt(&self) -> String {
        format!("{}\n{}\nAnswer:", self.question, self.lettered())
    }

    /// Returns the choices, one in a line: `A. cat`.
    pub fn lettered(&self) -> String {
        let lines: Vec<String> = LETTERS
            .iter()
            .zip(&self.choices)
            .map(|(letter, choice)| format!("{letter}. {choice}"))
            .collect();
        lines.join("\n")
    }
}

/// A passage with a yes-or-no question, in the fields of BoolQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct YesNo {
    /// The question in lower case and without a question mark.
    pub question: String,
    /// The passage's title.
    pub title: String,
    /// Whether the answer is yes.
    pub answer: bool,
    /// The text that answers the question.
    pub passage: String,
}

impl YesNo {
    /// Returns the expected answer, `yes` or `no`.
    pub fn word(&self) -> &'static str {
        if self.answer { "yes" } else { "no" }
    }

    /// Returns the user's message: the passage, the question, `Answer:`.
    pub fn prompt(&self) -> String {
        format!("{}\nQuestion: {}?\nAnswer:", self.passage, self.question)
    }
}
