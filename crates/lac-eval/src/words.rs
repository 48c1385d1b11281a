//! Writes the words that several prompts share.

use std::str::FromStr;

use lac_core::named::{UnknownName, by_name};
use lac_core::text_model::ChatMessage;
use serde::{Deserialize, Serialize};

use crate::item::{Content, Item};
use crate::question::{ItemWords, OptionKind, Prompt, Question, QuestionOption, ShownItem};

/// How passages begin in the prompts of yes-or-no questions, which are BoolQ's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Passages {
    /// As the file has them. The passages of SuperGLUE, which the harness uses, begin with the
    /// title.
    AsInFile,
    /// With `Title -- ` in front, which needs a file that has the titles in a column of their own.
    /// This gives the harness's prompts from Google's jsonl.
    WithTitle,
}

impl Passages {
    /// All variants.
    pub const ALL: &'static [Passages] = &[Passages::AsInFile, Passages::WithTitle];

    /// Returns the name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Passages::AsInFile => "as-in-file",
            Passages::WithTitle => "with-title",
        }
    }
}

impl FromStr for Passages {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("passages", Self::ALL, Self::name, name)
    }
}

/// The letters of the options.
pub(crate) const LETTERS: [char; 26] = [
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S',
    'T', 'U', 'V', 'W', 'X', 'Y', 'Z',
];

/// Writes `A. first\nB. second…`.
pub(crate) fn lettered(choices: &[&str]) -> String {
    let lines: Vec<String> = LETTERS
        .iter()
        .zip(choices)
        .map(|(letter, choice)| format!("{letter}. {choice}"))
        .collect();
    lines.join("\n")
}

/// Makes options that are answered by their letter.
pub(crate) fn letter_options(choices: &[&str]) -> Vec<QuestionOption> {
    LETTERS
        .iter()
        .zip(choices)
        .map(|(letter, choice)| QuestionOption {
            continuation: letter.to_string(),
            text: (*choice).to_owned(),
        })
        .collect()
}

/// Makes options that are answered by their own text.
pub(crate) fn text_options(texts: &[&str]) -> Vec<QuestionOption> {
    texts
        .iter()
        .map(|text| QuestionOption {
            continuation: (*text).to_owned(),
            text: (*text).to_owned(),
        })
        .collect()
}

/// Makes a chat of one message of the user.
pub(crate) fn user(content: String) -> Prompt {
    Prompt::Chat(vec![ChatMessage::new("user", content)])
}

/// Puts an item into the harness's usual words for contents of its kind.
pub(crate) fn usual_words(shown: &ShownItem<'_>, passages: Passages) -> ItemWords {
    match &shown.item.content {
        Content::Choices { question, .. } => {
            let choices = shown.choices();
            ItemWords {
                text: format!("{}\n{}\nAnswer:", question.trim(), lettered(&choices)),
                options: letter_options(&choices),
                kind: OptionKind::Letters,
            }
        }
        Content::YesNo { .. } | Content::Scripted { .. } => ItemWords {
            text: yes_no(shown.item, passages),
            options: text_options(&["no", "yes"]),
            kind: OptionKind::NoYes,
        },
    }
}

/// Writes the harness's words for a yes-or-no question; empty for other contents.
pub(crate) fn yes_no(item: &Item, passages: Passages) -> String {
    let Content::YesNo {
        passage,
        title,
        question,
        ..
    } = &item.content
    else {
        return String::new();
    };
    let title = match (passages, title) {
        (Passages::WithTitle, Some(title)) => format!("{title} -- "),
        _ => String::new(),
    };
    format!("{title}{passage}\nQuestion: {question}?\nAnswer:")
}

/// Takes contexts and continuations as they were written down. A continuation brings its own
/// delimiter.
pub(crate) fn scripted(shown: &ShownItem<'_>) -> Question {
    let options: &[(String, String)] = match &shown.item.content {
        Content::Scripted { options, .. } => options,
        _ => &[],
    };
    let prompt = Prompt::PerOption(options.iter().map(|(context, _)| context.clone()).collect());
    let options = options
        .iter()
        .map(|(_, continuation)| QuestionOption {
            continuation: continuation.clone(),
            text: continuation.trim_start().to_owned(),
        })
        .collect();
    shown.with_prompt(prompt, options, OptionKind::Letters)
}
