//! The questions of a benchmark, in one form for all files.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::judgement::Judgement;
use crate::short_hash::short_hash;

/// The id of a question: a hash of its contents, the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(String);

impl ItemId {
    /// Returns the 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the hash as a number, which decides shards, orders and seeds.
    pub fn number(&self) -> u64 {
        u64::from_str_radix(&self.0, 16).unwrap_or(0)
    }
}

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Its id.
    pub id: ItemId,
    /// Its place in the data set, counted from 0.
    pub row: usize,
    /// Subject (MMLU), domain (GPQA), task (samples); `boolq` for BoolQ.
    pub subject: String,
    /// The question with its options and its answer.
    pub content: Content,
}

/// A question with its options and its answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Content {
    /// A choice among several.
    Choices {
        /// The question.
        question: String,
        /// The choices in the file's order.
        choices: Vec<String>,
        /// Index of the right choice.
        answer: usize,
    },
    /// Yes or no about a passage.
    YesNo {
        /// The passage, as the file has it.
        passage: String,
        /// The passage's title, if the file has it apart.
        title: Option<String>,
        /// The question, lower case and without a question mark.
        question: String,
        /// Whether the answer is yes.
        answer: bool,
    },
    /// Contexts and continuations as another program wrote them.
    Scripted {
        /// A context and its continuation, per option.
        options: Vec<(String, String)>,
        /// Index of the right option, the first of several.
        answer: usize,
        /// The other right options, where there are several.
        also_right: Vec<usize>,
        /// How an option is chosen.
        judgement: Judgement,
        /// What the other program found.
        logged: Logged,
    },
}

/// What another program found of a question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logged {
    /// The log-likelihood of each option; empty if it was not logged.
    pub log_likelihoods: Vec<f64>,
    /// Whether each option is the greedy text; as many as log-likelihoods.
    pub greedy: Vec<bool>,
    /// The question's score, 0 or 1; tasks with a measure of their own log other numbers.
    pub score: Option<f64>,
}

impl Content {
    fn hash_into(&self, hash: &mut Sha256) {
        let mut add = |text: &str| {
            // The length keeps neighbouring texts apart.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        match self {
            Content::Choices {
                question,
                choices,
                answer,
            } => {
                add(question);
                choices.iter().for_each(|choice| add(choice));
                add(&answer.to_string());
            }
            Content::YesNo {
                passage,
                question,
                answer,
                ..
            } => {
                add(passage);
                add(question);
                add(&answer.to_string());
            }
            Content::Scripted {
                options,
                answer,
                also_right,
                judgement,
                ..
            } => {
                for (context, continuation) in options {
                    add(context);
                    add(continuation);
                }
                add(&answer.to_string());
                for option in also_right {
                    add(&option.to_string());
                }
                if *judgement == Judgement::Greedy {
                    add("greedy");
                }
            }
        }
    }
}

/// Gives ids to contents one after the other. A content that comes again gets an id of its own.
#[derive(Default)]
pub(crate) struct ItemNamer {
    seen: HashMap<String, u64>,
    n_items: usize,
}

impl ItemNamer {
    pub(crate) fn item(&mut self, subject: String, content: Content) -> Item {
        let mut hash = Sha256::new();
        hash.update(subject.as_bytes());
        hash.update([0]);
        content.hash_into(&mut hash);
        let repeated = hash.clone();
        let mut id = short_hash(hash);
        let n_before = self.seen.entry(id.clone()).or_insert(0);
        if *n_before > 0 {
            let mut hash = repeated;
            hash.update(n_before.to_le_bytes());
            id = short_hash(hash);
        }
        *n_before += 1;
        self.n_items += 1;
        Item {
            id: ItemId(id),
            row: self.n_items - 1,
            subject,
            content,
        }
    }
}

/// Makes this many items, every second one a repetition, of the subjects `x` and `y`.
#[cfg(test)]
pub(crate) fn made_up_items(n: usize) -> Vec<Item> {
    let mut namer = ItemNamer::default();
    (0..n)
        .map(|i| {
            let content = Content::Choices {
                question: format!("question {}", i / 2),
                choices: ["a", "b", "c", "d"].map(String::from).to_vec(),
                answer: 0,
            };
            namer.item(["x", "y"][i % 3 % 2].into(), content)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_question_has_a_name_of_its_own() {
        let mut ids: Vec<ItemId> = made_up_items(60).into_iter().map(|item| item.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 60);
    }
}
