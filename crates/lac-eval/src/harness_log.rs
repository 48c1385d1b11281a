//! This program's log-likelihoods compared with those that lm-evaluation-harness logged.

use std::collections::HashMap;

use crate::data_set::DataSet;
use crate::item::{Content, ItemId, Logged};
use crate::judgement::Judgement;
use crate::record::Record;

/// How far this program and the harness agree about the same prompts.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct HarnessLogComparison {
    /// Number of questions that have logged numbers.
    pub n: usize,
    /// The largest difference of two log-likelihoods, natural logarithm.
    pub largest_difference: f64,
    /// Number of questions for which both choose the same option.
    pub n_same_choice: usize,
    /// Number of right answers by the logged log-likelihoods.
    pub n_right_logged: usize,
    /// Number of right answers by this program's log-likelihoods.
    pub n_right: usize,
    /// Number of questions whose logged score is another than the one that the logged log-likelihoods give: the
    /// harness scores their task by a measure of its own.
    pub n_other_score: usize,
}

impl HarnessLogComparison {
    /// Compares records with the log-likelihoods that were logged for their questions; `None` if
    /// none were.
    pub fn new<'a>(data: &DataSet, records: impl IntoIterator<Item = &'a Record>) -> Option<Self> {
        let logged: HashMap<&ItemId, (&Logged, Judgement)> = data
            .items
            .iter()
            .filter_map(|item| match &item.content {
                Content::Scripted {
                    logged, judgement, ..
                } if !logged.log_likelihoods.is_empty() => Some((&item.id, (logged, *judgement))),
                _ => None,
            })
            .collect();
        let mut seen = Self {
            n: 0,
            largest_difference: 0.0,
            n_same_choice: 0,
            n_right_logged: 0,
            n_right: 0,
            n_other_score: 0,
        };
        for record in records {
            let (Some((logged, judgement)), Some(values)) =
                (logged.get(&record.item), &record.log_likelihoods)
            else {
                continue;
            };
            let is_right = |option| record.is_right_option(option);
            let chosen = judgement.chosen(&logged.log_likelihoods, &logged.greedy, is_right);
            let is_right = chosen.is_some_and(is_right);
            seen.n += 1;
            seen.n_same_choice += usize::from(record.predicted == chosen);
            seen.n_right_logged += usize::from(is_right);
            seen.n_right += usize::from(record.is_right());
            let is_other = |score: f64| score != f64::from(u8::from(is_right));
            seen.n_other_score += usize::from(logged.score.is_some_and(is_other));
            for (a, b) in values.iter().zip(&logged.log_likelihoods) {
                seen.largest_difference = seen.largest_difference.max((a - b).abs());
            }
        }
        (seen.n > 0).then_some(seen)
    }
}
