//! MMLU, GPQA and BoolQ for any model that implements lac-core's traits. Benchmarks are read from
//! files, put into words, scored and reported; an interrupted run goes on where it ended.
//!
//! - [`DataSet`] reads the files that users have on disk and names every question by a hash.
//! - [`PromptSettings`] says how questions are asked, in the words of a [`Protocol`].
//!   [`requests`] makes token ids of them with a [`TextModel`](lac_core::text_model::TextModel).
//! - [`PolicyRun`] is a policy that the questions are answered under; several α can share a pass.
//! - [`evaluate`] answers the questions that a [`ResultLog`] has no result for, and appends to it.
//! - [`EvalReport`] makes tables of accuracy beside usage, executed layers and time, which are
//!   different numbers. [`PairedComparison`](statistics::PairedComparison) says whether a
//!   difference is more than chance.
//! - [`perplexity`](mod@perplexity) scores a text of any kind, and says how far a policy's predictions are from the full
//!   model's.
//!
//! Results of different protocols are different measurements, and no table holds both.
//!
//! A new benchmark is one file and one row of a table: see [`benchmark`].
//!
//! ```
//! use lac_eval::answer::{chosen_option, said_yes};
//! use lac_eval::statistics::PairedComparison;
//!
//! // The option that a text chooses; `None` if it chooses none of them.
//! let options = ["Paris", "Rome", "Oslo", "Bern"];
//! assert_eq!(chosen_option("The correct answer is (C).", &options), Some(2));
//! assert_eq!(said_yes("No, it does not."), Some(false));
//!
//! // Two runs over 20 questions; the second gets five more of them right and loses none.
//! let pairs: Vec<_> = (0..20).map(|i| (Some(usize::from(i >= 5)), Some(1), 1)).collect();
//! let comparison = PairedComparison::new(&pairs).expect("there are pairs");
//! assert_eq!(comparison.difference(), 0.25);
//! // That can be chance: such a split has a probability of 1/16.
//! assert_eq!(comparison.p_value, 0.0625);
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use benchmark::{Benchmark, HarnessTask};
pub use data_set::DataSet;
pub use encode::requests;
pub use error::{Error, Result};
pub use policy_run::PolicyRun;
pub use policy_settings::PolicySettings;
pub use prompt_settings::PromptSettings;
pub use protocol::Protocol;
pub use report::EvalReport;
pub use request::Request;
pub use result_log::{ResultLog, Results};
pub use runner::{Evaluation, RunConfig, evaluate};
pub use selection::ItemSelection;
pub use settings::{ModelId, Settings};

pub mod answer;
pub mod benchmark;
pub mod exact_match;
pub mod perplexity;
pub mod released_code;
pub mod report;
pub mod settings;
pub mod statistics;

/// Questions as they are read from files, and which of them are asked.
pub mod data {
    pub use crate::benchmark::spec::{DataFile, Split};
    pub use crate::data_set::{DataId, DataSet};
    pub use crate::hub::cached_dataset;
    pub use crate::item::{Content, Item, ItemId, Logged};
    pub use crate::judgement::Judgement;
    pub use crate::selection::{ItemSelection, Shard};
}

/// Questions in words and as token ids.
pub mod prompt {
    pub use crate::encode::requests;
    pub use crate::option_order::OptionOrders;
    pub use crate::question::{OptionKind, Prompt, Question, QuestionOption};
    pub use crate::request::{Feed, Request, ScoredOption};
    pub use crate::wording::question;
}

/// Log-likelihoods of texts that are no benchmark's.
pub mod score_texts {
    pub use crate::likelihood::{LogLikelihood, log_likelihoods};
    pub use crate::pair::PairError;
    pub use crate::request::ScoredOption;
}

/// Runs: questions in, results out.
pub mod run {
    pub use crate::benchmark::spec::StoredTexts;
    pub use crate::policy_run::PolicyRun;
    pub use crate::runner::{Evaluation, Progress, RunConfig, evaluate};
}

/// Results: a record for each question and variant, and the files that hold them.
pub mod results {
    pub use crate::harness_log::HarnessLogComparison;
    pub use crate::item_usage::{Drafts, ItemUsage, PhaseCount, add_usage};
    pub use crate::merge::merge;
    pub use crate::record::Record;
    pub use crate::result_log::{ResultLog, Results};
}

mod data_set;
mod encode;
mod error;
mod excerpt;
mod generate;
mod harness_log;
mod hub;
mod item;
mod item_usage;
mod judgement;
mod likelihood;
mod merge;
mod option_order;
mod pair;
mod policy_run;
mod policy_settings;
mod prompt_settings;
mod protocol;
mod question;
mod record;
mod request;
mod result_log;
mod runner;
mod score;
mod selection;
mod short_hash;
mod shown_texts;
mod table;
#[cfg(test)]
mod test_model;
mod wording;
mod words;
