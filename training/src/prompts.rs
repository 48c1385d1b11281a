//! The wordings in which a benchmark question reaches the model.

use lac_demo::{Choice, LETTERS, YesNo};

/// How a question is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// The question, the lettered choices and `Answer:`.
    Plain,
    /// The prompts of the paper's released code.
    Reference,
    /// The prompts of lm-evaluation-harness.
    Harness,
}

impl Wording {
    /// All of them.
    pub const ALL: [Wording; 3] = [Wording::Plain, Wording::Reference, Wording::Harness];

    /// Returns the name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Wording::Plain => "plain",
            Wording::Reference => "reference",
            Wording::Harness => "harness",
        }
    }
}

/// Returns the prompt of a four-choice question.
pub fn choice_prompt(item: &Choice, wording: Wording) -> String {
    let options = item.lettered();
    let question = &item.question;
    match wording {
        Wording::Plain => item.prompt(),
        Wording::Reference => format!(
            "\n    Question:\n    {question}\n\n    Options:\n    {options}\n\n    Output format:\n    [Option]\n\n    "
        ),
        Wording::Harness => format!(
            "The following are multiple choice questions (with answers) about {}.\n\n{question}\n{options}\nAnswer:",
            item.subject.replace('_', " ")
        ),
    }
}

/// Returns the prompt that lm-evaluation-harness gives a GPQA question.
pub fn gpqa_harness_prompt(item: &Choice) -> String {
    let options: Vec<String> = LETTERS
        .iter()
        .zip(&item.choices)
        .map(|(letter, choice)| format!("({letter}) {choice}"))
        .collect();
    format!(
        "What is the correct answer to this question:{}\nChoices:\n{}\nAnswer:",
        item.question,
        options.join("\n")
    )
}

/// Returns the prompt of a yes-or-no question.
pub fn yes_no_prompt(item: &YesNo, wording: Wording) -> String {
    let (passage, question) = (&item.passage, &item.question);
    match wording {
        Wording::Plain | Wording::Harness => item.prompt(),
        Wording::Reference => format!(
            "\n    Respond to the given question based on the passage with True or False.\n    Passage:\n    {passage}\n\n    Options:\n    {question}\n\n    Output Format:\n    [True/False]\n    "
        ),
    }
}

/// Returns the word that answers a yes-or-no question in a wording.
pub fn yes_no_word(answer: bool, wording: Wording) -> &'static str {
    match (wording, answer) {
        (Wording::Reference, true) => "True",
        (Wording::Reference, false) => "False",
        (_, true) => "yes",
        (_, false) => "no",
    }
}
