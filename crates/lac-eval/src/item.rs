//! The questions of a benchmark, whatever file they came from.

use std::collections::HashMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// A benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Benchmark {
    /// Four choices, 57 subjects (Hendrycks et al. 2021).
    Mmlu,
    /// Four choices, questions for experts (Rein et al. 2023).
    Gpqa,
    /// Yes or no about a passage (Clark et al. 2019).
    Boolq,
    /// Prompts and continuations that lm-evaluation-harness wrote down.
    Samples,
}

impl Benchmark {
    /// The name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Benchmark::Mmlu => "mmlu",
            Benchmark::Gpqa => "gpqa",
            Benchmark::Boolq => "boolq",
            Benchmark::Samples => "samples",
        }
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A question's name: a hash of what it holds, the same on every machine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(String);

impl ItemId {
    /// The 16 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The hash as a number: for shards, orders and streams of random numbers.
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
    /// Its name.
    pub id: ItemId,
    /// Its place in the data set, counted from 0.
    pub row: usize,
    /// Subject (MMLU), domain (GPQA), task (samples); `boolq` for BoolQ.
    pub subject: String,
    /// What it asks.
    pub content: Content,
}

/// What a question asks.
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
        /// Index of the right option.
        answer: usize,
        /// The log-likelihoods that the other program found.
        expected: Vec<f64>,
    },
}

impl Content {
    fn hash_into(&self, hash: &mut Sha256) {
        let mut part = |text: &str| {
            // The length keeps neighbouring parts apart.
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        match self {
            Content::Choices {
                question,
                choices,
                answer,
            } => {
                part(question);
                choices.iter().for_each(|choice| part(choice));
                part(&answer.to_string());
            }
            Content::YesNo {
                passage,
                question,
                answer,
                ..
            } => {
                part(passage);
                part(question);
                part(&answer.to_string());
            }
            Content::Scripted {
                options, answer, ..
            } => {
                for (context, continuation) in options {
                    part(context);
                    part(continuation);
                }
                part(&answer.to_string());
            }
        }
    }
}

/// The first 16 hexadecimal digits of a SHA-256.
pub(crate) fn short_hash(hash: Sha256) -> String {
    hash.finalize()[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Names contents one after the other; a content that comes again gets a name of its own.
#[derive(Default)]
pub(crate) struct Namer {
    seen: HashMap<String, u64>,
    n_items: usize,
}

impl Namer {
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

/// Which questions are asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// These subjects only; all when empty.
    pub subjects: Vec<String>,
    /// At most this many questions: those with the smallest hashes, which is a random choice that
    /// is the same everywhere and that a larger limit only adds to.
    pub limit: Option<usize>,
    /// One part of several.
    pub shard: Option<Shard>,
}

/// One of `count` parts of a benchmark, by the questions' hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// The part, counted from 0.
    pub index: u64,
    /// The number of parts, at least 1.
    pub count: u64,
}

impl Selection {
    /// The questions that are asked, in the data set's order.
    ///
    /// # Errors
    /// A subject that no question has, and an impossible shard.
    pub fn of<'a>(&self, items: &'a [Item]) -> crate::Result<Vec<&'a Item>> {
        let invalid = |field, value: String, expected: String| crate::Error::Invalid {
            field,
            value,
            expected,
        };
        for subject in &self.subjects {
            if !items.iter().any(|item| item.subject == *subject) {
                let mut known: Vec<&str> = items.iter().map(|item| &*item.subject).collect();
                known.sort_unstable();
                known.dedup();
                let expected = format!("one of {}", known.join(", "));
                return Err(invalid("subject", subject.clone(), expected));
            }
        }
        let mut chosen: Vec<&Item> = items
            .iter()
            .filter(|item| self.subjects.is_empty() || self.subjects.contains(&item.subject))
            .collect();
        if let Some(limit) = self.limit {
            chosen.sort_by(|a, b| a.id.cmp(&b.id));
            chosen.truncate(limit);
            chosen.sort_by_key(|item| item.row);
        }
        if let Some(Shard { index, count }) = self.shard {
            if index >= count {
                let expected = "an index from 0 to the count less one, as in 0/4".to_owned();
                return Err(invalid("shard", format!("{index}/{count}"), expected));
            }
            chosen.retain(|item| item.id.number() % count == index);
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(n: usize) -> Vec<Item> {
        let mut namer = Namer::default();
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

    #[test]
    fn a_repeated_question_has_a_name_of_its_own() {
        let mut ids: Vec<ItemId> = items(60).into_iter().map(|item| item.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 60);
    }

    #[test]
    fn shards_part_the_questions_and_limits_grow() {
        let items = items(100);
        let shard = |index| Selection {
            shard: Some(Shard { index, count: 3 }),
            ..Selection::default()
        };
        let mut rows: Vec<usize> = (0..3)
            .flat_map(|index| shard(index).of(&items).unwrap())
            .map(|item| item.row)
            .collect();
        rows.sort_unstable();
        assert_eq!(rows, (0..100).collect::<Vec<_>>());

        let limited = |n| Selection {
            limit: Some(n),
            ..Selection::default()
        };
        let few = limited(10).of(&items).unwrap();
        let many = limited(40).of(&items).unwrap();
        assert_eq!(few.len(), 10);
        assert!(few.iter().all(|item| many.contains(item)));

        let error = shard(3).of(&items).unwrap_err().to_string();
        assert!(error.contains("3/3"), "{error}");
        let unknown = Selection {
            subjects: vec!["z".into()],
            ..Selection::default()
        };
        let error = unknown.of(&items).unwrap_err().to_string();
        assert!(error.contains("one of x, y"), "{error}");
    }
}
