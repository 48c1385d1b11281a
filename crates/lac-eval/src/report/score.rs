//! The score of some questions: accuracy beside usage, executed layers and time.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::benchmark::Benchmark;
use crate::benchmark::spec::ErrorPooling;
use crate::item_usage::total_usage;
use crate::record::Record;
use crate::statistics::{pooled_standard_error, standard_error};

/// Accuracy beside usage, executed layers and time. Shares are percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Score {
    /// Number of questions answered so far.
    pub n: usize,
    /// Number of right answers.
    pub n_right: usize,
    /// Number of texts in which no answer was found. They count as wrong.
    pub n_no_answer: usize,
    /// Accuracy.
    pub accuracy: f64,
    /// The standard error of the accuracy. For MMLU as a whole and its categories it is that of the
    /// weighted average over subjects, as the harness computes it for groups of tasks.
    pub standard_error: Option<f64>,
    /// Accuracy by log-likelihood per character.
    pub accuracy_norm: Option<f64>,
    /// Accuracy by what a context adds to each log-likelihood, where the harness scored that (`acc_mutual_info`).
    pub accuracy_mutual_info: Option<f64>,
    /// Share of layers flagged active over the prompts' tokens (PP).
    pub usage_prompt: Option<f64>,
    /// Share of layers flagged active over the responses' tokens (RG).
    pub usage_response: Option<f64>,
    /// Number of layers run per pass over prompts.
    pub executed_prompt: Option<f64>,
    /// Number of layers run per pass over a response's token. For speculation it is the number per
    /// token of the response but the first.
    pub executed_response: Option<f64>,
    /// Time per question, in seconds.
    pub seconds_per_item: f64,
}

/// Returns the score of all questions of a benchmark.
pub(super) fn overall(benchmark: Benchmark, records: &[&Record]) -> Score {
    match benchmark.spec().standard_error {
        ErrorPooling::BySubject => pooled(records),
        ErrorPooling::Together => score(records),
    }
}

/// Returns the score of several subjects together. Questions count alike, so that subjects weigh by
/// their size; the standard error is pooled over subjects.
pub(super) fn pooled(records: &[&Record]) -> Score {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for record in records {
        let (n_right, n) = counts.entry(&record.subject).or_insert((0, 0));
        *n_right += usize::from(record.is_right());
        *n += 1;
    }
    let mut score = score(records);
    if counts.len() > 1 {
        let errors: Vec<(f64, usize)> = counts
            .into_values()
            .map(|(n_right, n)| (standard_error(n_right, n).unwrap_or(0.0), n))
            .collect();
        score.standard_error = pooled_standard_error(&errors).map(|error| 100.0 * error);
    }
    score
}

/// Returns the score of some questions.
pub(super) fn score(records: &[&Record]) -> Score {
    let n = records.len();
    let percent = |count: usize| 100.0 * count as f64 / n.max(1) as f64;
    let n_right = records.iter().filter(|record| record.is_right()).count();
    // A measure that some questions lack is none of all.
    let accuracy_by = |is_right: fn(&Record) -> Option<bool>| {
        let right: Vec<bool> = records
            .iter()
            .filter_map(|record| is_right(record))
            .collect();
        (right.len() == n && n > 0).then(|| percent(right.iter().filter(|right| **right).count()))
    };
    let usage = total_usage(records.iter().map(|record| &record.usage));
    let share = |share: Option<f64>| share.map(|share| 100.0 * share);
    Score {
        n,
        n_right,
        n_no_answer: records
            .iter()
            .filter(|record| record.predicted.is_none())
            .count(),
        accuracy: percent(n_right),
        standard_error: standard_error(n_right, n).map(|error| 100.0 * error),
        accuracy_norm: accuracy_by(Record::is_right_norm),
        accuracy_mutual_info: accuracy_by(Record::is_right_by_mutual_info),
        usage_prompt: share(usage.prompt.share()),
        usage_response: share(usage.response.share()),
        executed_prompt: usage.prompt.executed_per_pass(),
        executed_response: usage.response.executed_per_pass(),
        seconds_per_item: records.iter().map(|record| record.seconds).sum::<f64>()
            / n.max(1) as f64,
    }
}
