//! A question in words: its prompt, its options, and which of them is right.

use lac_core::text_model::ChatMessage;

use crate::item::{Content, Item};
use crate::judgement::Judgement;

/// A question as it is put to a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The prompt.
    pub prompt: Prompt,
    /// The options that are scored, or that are looked for in an answer.
    pub options: Vec<QuestionOption>,
    /// Index of the right option, the first of several.
    pub answer: usize,
    /// The other right options, where there are several.
    pub also_right: Vec<usize>,
    /// How an option is chosen by log-likelihoods.
    pub judgement: Judgement,
    /// For each option shown, its index in the file; `None` where the file's order is shown.
    pub order: Option<Vec<usize>>,
    /// Whether the options are lettered, or no and yes.
    pub kind: OptionKind,
}

/// How options are answered; it decides how an answer is looked for in a generated text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// Lettered choices: [`chosen_option`](crate::answer::chosen_option) looks for the answer.
    Letters,
    /// No and yes, in this order: [`said_yes`](crate::answer::said_yes) looks for the answer.
    NoYes,
}

/// A prompt before it is tokenised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// A text that the model continues.
    Text(String),
    /// A chat that the model answers.
    Chat(Vec<ChatMessage>),
    /// A text for each option: prompts that another program wrote.
    PerOption(Vec<String>),
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuestionOption {
    /// What follows the prompt if this is the answer, without the delimiter. Under lm-eval its
    /// log-likelihood is computed.
    pub continuation: String,
    /// What the option says.
    pub text: String,
}

/// The words of one item, with its options but without examples or a description.
pub(crate) struct ItemWords {
    pub(crate) text: String,
    pub(crate) options: Vec<QuestionOption>,
    pub(crate) kind: OptionKind,
}

/// An item and the order in which its options are shown.
#[derive(Clone, Debug)]
pub(crate) struct ShownItem<'a> {
    pub(crate) item: &'a Item,
    /// For each option shown, its index in the file; `None` for the file's order.
    pub(crate) order: Option<Vec<usize>>,
}

impl<'a> ShownItem<'a> {
    /// Shows the options in the file's order.
    pub(crate) fn as_in_file(item: &'a Item) -> Self {
        Self { item, order: None }
    }

    /// Returns the choices in the order in which they are shown; empty for other contents.
    pub(crate) fn choices(&self) -> Vec<&'a str> {
        let Content::Choices { choices, .. } = &self.item.content else {
            return Vec::new();
        };
        match &self.order {
            None => choices.iter().map(String::as_str).collect(),
            Some(order) => order.iter().map(|&i| choices[i].as_str()).collect(),
        }
    }

    /// Returns the index of the right option among those shown.
    pub(crate) fn answer(&self) -> usize {
        match &self.item.content {
            Content::Choices { answer, .. } => match &self.order {
                None => *answer,
                Some(order) => order.iter().position(|i| i == answer).unwrap_or(*answer),
            },
            Content::YesNo { answer, .. } => usize::from(*answer),
            Content::Scripted { answer, .. } => *answer,
        }
    }

    /// Makes the item a question with these words.
    pub(crate) fn with_prompt(
        &self,
        prompt: Prompt,
        options: Vec<QuestionOption>,
        kind: OptionKind,
    ) -> Question {
        let (also_right, judgement) = match &self.item.content {
            Content::Scripted {
                also_right,
                judgement,
                ..
            } => (also_right.clone(), *judgement),
            _ => (Vec::new(), Judgement::Highest),
        };
        Question {
            prompt,
            options,
            answer: self.answer(),
            also_right,
            judgement,
            order: self.order.clone(),
            kind,
        }
    }
}
