//! MMLU, GPQA and BoolQ for any model that implements lac-core's traits: read, asked, scored,
//! taken up again after an interruption, and reported.
//!
//! - [`DataSet`] reads the files that users have on disk and names every question by a hash.
//! - [`Asking`] says how questions are put: in the words of a [`Protocol`]. [`requests`] makes
//!   token ids of them, through a
//!   [`TextModel`](lac_core::TextModel).
//! - [`Lane`] says what is done with the layers; several α can share a pass.
//! - [`evaluate`] runs what a [`ResultLog`] has no result for yet, and appends to it.
//! - [`Report`] makes tables: accuracy beside usage, executed layers and time, which are
//!   different numbers; [`Comparison`] says whether a difference is real.
//!
//! Results of different protocols are different measurements and never share a table.
//!
//! ```
//! use lac_eval::{Comparison, chosen_option, said_yes};
//!
//! // A text chooses an option, or says nothing.
//! let options = ["Paris", "Rome", "Oslo", "Bern"];
//! assert_eq!(chosen_option("The correct answer is (C).", &options), Some(2));
//! assert_eq!(said_yes("No, it does not."), Some(false));
//!
//! // Two runs over 20 questions; the second gets five more of them right and loses none.
//! let pairs: Vec<_> = (0..20).map(|i| (Some(usize::from(i >= 5)), Some(1), 1)).collect();
//! let seen = Comparison::new(&pairs).expect("there are pairs");
//! assert_eq!(seen.difference(), 0.25);
//! // That can be chance: such a split has a probability of 1/16.
//! assert_eq!(seen.p_value, 0.0625);
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use answer::{chosen_option, said_yes};
pub use data::{DataFile, DataId, DataSet, Split, cached_dataset, category};
pub use error::{Error, Result};
pub use exact_match::{ExactMatch, Exercise, exact_match};
pub use item::{Benchmark, Content, Item, ItemId, Selection, Shard};
pub use lane::Lane;
pub use log::{ResultLog, Results};
pub use logged::LoggedComparison;
pub use merge::merge;
pub use prompt::{OptionKind, OptionOrders, Prompt, Question, QuestionOption, question};
pub use record::Record;
pub use report::{Format, PhaseLayers, Report, Row, Score, Subjects, Table, compare, render};
pub use request::{Feed, Request, ScoredOption, requests};
pub use row_usage::{Drafts, ItemUsage, PhaseCount};
pub use runner::{Evaluation, Progress, RunConfig, StoredTexts, evaluate};
pub use settings::{
    Asking, HarnessTask, ModelId, Neighbours, Passages, Protocol, Quirk, SETTINGS_VERSION,
    Settings, Skipping,
};
pub use statistics::{
    Comparison, N_RESAMPLES, Pair, mcnemar, pooled_standard_error, standard_error,
};

mod answer;
mod data;
mod error;
mod exact_match;
mod excerpt;
mod item;
mod lane;
mod log;
mod logged;
mod merge;
mod prompt;
mod record;
mod report;
mod request;
mod row_usage;
mod runner;
mod score;
mod settings;
mod statistics;
#[cfg(test)]
mod test_model;
mod write;
