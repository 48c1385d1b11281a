//! This program's log-likelihoods compared with those that lm-evaluation-harness logged.

use std::collections::HashMap;

use crate::data_set::DataSet;
use crate::item::{Content, ItemId};
use crate::record::{Record, first_of_largest};

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
}

impl HarnessLogComparison {
    /// Compares records with the log-likelihoods that were logged for their questions; `None` if
    /// none were.
    pub fn new<'a>(data: &DataSet, records: impl IntoIterator<Item = &'a Record>) -> Option<Self> {
        let logged: HashMap<&ItemId, &[f64]> = data
            .items
            .iter()
            .filter_map(|item| match &item.content {
                Content::Scripted { expected, .. } if !expected.is_empty() => {
                    Some((&item.id, &expected[..]))
                }
                _ => None,
            })
            .collect();
        let mut seen = Self {
            n: 0,
            largest_difference: 0.0,
            n_same_choice: 0,
            n_right_logged: 0,
            n_right: 0,
        };
        for record in records {
            let (Some(expected), Some(values)) =
                (logged.get(&record.item), &record.log_likelihoods)
            else {
                continue;
            };
            let chosen = first_of_largest(expected);
            seen.n += 1;
            seen.n_same_choice += usize::from(record.predicted == chosen);
            seen.n_right_logged += usize::from(chosen == Some(record.answer));
            seen.n_right += usize::from(record.is_right());
            for (a, b) in values.iter().zip(*expected) {
                seen.largest_difference = seen.largest_difference.max((a - b).abs());
            }
        }
        (seen.n > 0).then_some(seen)
    }
}
