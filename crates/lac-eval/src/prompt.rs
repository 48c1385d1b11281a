//! Questions in the words of a protocol.

mod harness;
mod order;
mod paper;
mod plain;

pub use order::OptionOrders;

use crate::data::DataSet;
use crate::error::{Error, Result};
use crate::item::{Content, Item};
use crate::settings::{Asking, Protocol};
use lac_core::Turn;

/// A question as it is put to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The prompt.
    pub prompt: Prompt,
    /// What is compared or looked for.
    pub options: Vec<QuestionOption>,
    /// Index of the right option.
    pub answer: usize,
    /// For options that are shown in another order than the file's: the file's index of each.
    pub order: Option<Vec<usize>>,
    /// Whether the options are yes and no.
    pub kind: OptionKind,
}

/// What the options are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// Lettered choices.
    Letters,
    /// No and yes, in this order.
    NoYes,
}

/// A prompt before it is tokenised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A text that the model continues.
    Text(String),
    /// A chat that the model answers.
    Chat(Vec<Turn>),
    /// A text per option: prompts that another program wrote.
    PerOption(Vec<String>),
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionOption {
    /// What follows the prompt if this is the answer: scored under lm-eval. Without the delimiter.
    pub continuation: String,
    /// What the option says.
    pub text: String,
}

/// Puts an item into the words of a protocol.
///
/// # Errors
/// [`Error::Invalid`] when examples are asked for that the data set does not have.
pub fn question(
    item: &Item,
    data: &DataSet,
    orders: &OptionOrders,
    asking: &Asking,
) -> Result<Question> {
    let shown = Shown::new(item, orders);
    match asking.protocol {
        Protocol::Paper => Ok(paper::question(&shown, asking)),
        Protocol::Generative => Ok(plain::question(&shown, asking)),
        Protocol::LmEval => {
            let examples = examples(item, data, asking.few_shot)?;
            Ok(harness::question(&shown, &examples, asking))
        }
    }
}

fn examples<'a>(item: &Item, data: &'a DataSet, n: usize) -> Result<Vec<Shown<'a>>> {
    let known = data.examples.get(&item.subject).map_or(&[][..], |all| all);
    if known.len() < n {
        return Err(Error::Invalid {
            field: "few-shot",
            value: n.to_string(),
            expected: format!(
                "at most {}: so many examples of {} are there (MMLU's dev split has to lie beside \
                 its test split)",
                known.len(),
                item.subject
            ),
        });
    }
    Ok(known[..n].iter().map(Shown::as_in_file).collect())
}

/// An item whose options have an order.
#[derive(Clone, Debug)]
pub(crate) struct Shown<'a> {
    pub(crate) item: &'a Item,
    pub(crate) order: Option<Vec<usize>>,
}

impl<'a> Shown<'a> {
    fn new(item: &'a Item, orders: &OptionOrders) -> Self {
        Self {
            item,
            order: orders.of(item),
        }
    }

    fn as_in_file(item: &'a Item) -> Self {
        Self { item, order: None }
    }

    /// The choices in the order they are shown; none for other contents.
    fn choices(&self) -> Vec<&'a str> {
        let Content::Choices { choices, .. } = &self.item.content else {
            return Vec::new();
        };
        match &self.order {
            None => choices.iter().map(String::as_str).collect(),
            Some(order) => order.iter().map(|&i| choices[i].as_str()).collect(),
        }
    }

    /// Index of the right option among those shown.
    fn answer(&self) -> usize {
        match &self.item.content {
            Content::Choices { answer, .. } => match &self.order {
                None => *answer,
                Some(order) => order.iter().position(|i| i == answer).unwrap_or(*answer),
            },
            Content::YesNo { answer, .. } => usize::from(*answer),
            Content::Scripted { answer, .. } => *answer,
        }
    }

    fn with_prompt(
        &self,
        prompt: Prompt,
        options: Vec<QuestionOption>,
        kind: OptionKind,
    ) -> Question {
        Question {
            prompt,
            options,
            answer: self.answer(),
            order: self.order.clone(),
            kind,
        }
    }
}

/// The letters of the options.
pub(crate) const LETTERS: [char; 26] = [
    'A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'I', 'J', 'K', 'L', 'M', 'N', 'O', 'P', 'Q', 'R', 'S',
    'T', 'U', 'V', 'W', 'X', 'Y', 'Z',
];

/// `A. first\nB. second…`
fn lettered(choices: &[&str]) -> String {
    let lines: Vec<String> = LETTERS
        .iter()
        .zip(choices)
        .map(|(letter, choice)| format!("{letter}. {choice}"))
        .collect();
    lines.join("\n")
}

/// Options that are answered by their letter.
fn letter_options(choices: &[&str]) -> Vec<QuestionOption> {
    LETTERS
        .iter()
        .zip(choices)
        .map(|(letter, choice)| QuestionOption {
            continuation: letter.to_string(),
            text: (*choice).to_owned(),
        })
        .collect()
}

fn word_options(no: &str, yes: &str) -> Vec<QuestionOption> {
    [no, yes]
        .map(|word| QuestionOption {
            continuation: word.to_owned(),
            text: word.to_owned(),
        })
        .to_vec()
}

fn user(content: String) -> Prompt {
    Prompt::Chat(vec![Turn {
        role: "user",
        content,
    }])
}

#[cfg(test)]
mod tests;
