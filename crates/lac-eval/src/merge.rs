//! Joins several files of results.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::item::ItemId;
use crate::result_log::Results;

/// Joins results of the same settings and different questions, such as the shards of several
/// machines, each with the name of its file. A question that several files have answered counts
/// once, if they agree.
///
/// # Errors
/// [`Error::Mismatch`] when the settings differ, naming the differences, or when two files
/// disagree about a question.
pub fn merge(files: &[(String, Results)]) -> Result<Results> {
    let Some((first_name, first)) = files.first() else {
        return Err(Error::Mismatch("there is nothing to merge".to_owned()));
    };
    let mut merged = Results {
        settings: first.settings.clone(),
        records: Vec::new(),
    };
    let mut places: HashMap<(ItemId, String), (usize, &str)> = HashMap::new();
    for (name, results) in files {
        if results.settings != first.settings {
            let mut differences: Vec<String> = first
                .settings
                .iter()
                .zip(&results.settings)
                .flat_map(|(a, b)| a.differences(b))
                .collect();
            if first.settings.len() != results.settings.len() {
                differences.push(format!(
                    "{} variants against {}",
                    first.settings.len(),
                    results.settings.len()
                ));
            }
            return Err(Error::Mismatch(format!(
                "{first_name} and {name} have different settings (\"in the file\" is {first_name}, \
                 \"now\" is {name}):\n{}",
                differences.join("\n")
            )));
        }
        for record in &results.records {
            let key = (record.item.clone(), record.settings.clone());
            let Some((place, other_name)) = places.get(&key) else {
                places.insert(key, (merged.records.len(), name));
                merged.records.push(record.clone());
                continue;
            };
            let other = &merged.records[*place];
            if (other.predicted, other.answer) != (record.predicted, record.answer) {
                return Err(Error::Mismatch(format!(
                    "{other_name} and {name} disagree about item {}: {:?} against {:?}",
                    record.item, other.predicted, record.predicted
                )));
            }
        }
    }
    Ok(merged)
}
