//! What the table of benchmarks says of each one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use lac_core::named::{UnknownName, by_name};

use crate::error::Result;
use crate::item::Item;
use crate::protocol::Protocol;
use crate::question::{ItemWords, ShownItem};
use crate::words::Passages;

/// A benchmark: its files, and how it is asked and reported.
pub(crate) struct BenchmarkSpec {
    /// The name on the command line and in files.
    pub(crate) name: &'static str,
    /// Reads the questions of a split from a file or a folder.
    pub(crate) load: fn(&Path, Split) -> Result<Questions>,
    /// The order in which options are shown.
    pub(crate) option_order: OptionOrder,
    /// The protocols under which it can be asked.
    pub(crate) protocols: &'static [Protocol],
    /// What results hold besides numbers, unless a run says otherwise.
    pub(crate) stored_texts: StoredTexts,
    /// How the standard error over all questions is computed.
    pub(crate) standard_error: ErrorPooling,
    /// The category of a subject, for benchmarks whose subjects are grouped in reports.
    pub(crate) category: fn(&str) -> Option<&'static str>,
}

/// A task of lm-evaluation-harness.
pub(crate) struct HarnessTaskSpec {
    /// The name in files of results.
    pub(crate) name: &'static str,
    /// The name on the command line.
    pub(crate) flag: &'static str,
    /// What is scored, in a few words: the task's help on the command line.
    pub(crate) about: &'static str,
    /// Whether solved examples can be shown before the question.
    pub(crate) examples: SolvedExamples,
    /// The description before the examples, given the subject with spaces for underscores.
    pub(crate) description: fn(&str) -> Option<String>,
    /// Puts a question, or a solved example, into words.
    pub(crate) words: fn(&ShownItem<'_>, Passages) -> ItemWords,
}

/// The questions of a benchmark as they were read.
#[derive(Default)]
pub(crate) struct Questions {
    /// The questions.
    pub(crate) items: Vec<Item>,
    /// Solved examples by subject.
    pub(crate) examples: BTreeMap<String, Vec<Item>>,
    /// The files that the questions came from.
    pub(crate) files: Vec<DataFile>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// The file.
    pub path: PathBuf,
    /// Number of questions in it.
    pub n_rows: usize,
}

/// A split of a benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Split {
    /// The split that is reported: MMLU's test, BoolQ's validation, all of GPQA.
    #[default]
    Test,
    /// The split for tuning: MMLU's validation, BoolQ's train.
    Validation,
}

/// The order in which options are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OptionOrder {
    /// The order of the file.
    AsInFile,
    /// The file has no order: the right option takes each place equally often.
    Balanced,
}

/// How the standard error of a benchmark's accuracy is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorPooling {
    /// Over all questions together.
    Together,
    /// Pooled over subjects, each of which is a task of the harness.
    BySubject,
}

/// Whether a harness task has a fixed set of solved examples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SolvedExamples {
    /// The data set has some for every subject.
    PerSubject,
    /// It has no solved examples.
    Missing,
}

/// What is written to results besides numbers. GPQA's authors ask that its questions appear
/// nowhere in plain text, and an answer may repeat its question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredTexts {
    /// Neither prompts nor answers.
    Nothing,
    /// The generated answers.
    Answers,
    /// The generated answers and the prompts.
    PromptsAndAnswers,
}

impl StoredTexts {
    /// All variants.
    pub const ALL: &'static [StoredTexts] = &[
        StoredTexts::Nothing,
        StoredTexts::Answers,
        StoredTexts::PromptsAndAnswers,
    ];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            StoredTexts::Nothing => "nothing",
            StoredTexts::Answers => "answers",
            StoredTexts::PromptsAndAnswers => "prompts-and-answers",
        }
    }
}

impl FromStr for StoredTexts {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("store-texts", Self::ALL, Self::name, name)
    }
}

/// A benchmark's subjects have no categories.
pub(crate) fn no_category(_subject: &str) -> Option<&'static str> {
    None
}

/// A harness task has no description.
pub(crate) fn no_description(_subject: &str) -> Option<String> {
    None
}
