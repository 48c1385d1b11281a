//! Reads the test questions of the embedded benchmark files.

use std::collections::HashMap;

use crate::error::Error;
use crate::files::set_files;
use crate::questions::{Choice, LETTERS, YesNo};

/// Returns the MMLU-like test questions, 50 of each of eight subjects, from the CSV files.
///
/// # Errors
/// [`Error::Record`] if an embedded file is malformed.
pub fn choices() -> Result<Vec<Choice>, Error> {
    let mut all = Vec::new();
    for (path, bytes) in set_files() {
        let Some(subject) = path
            .strip_prefix("mmlu/data/test/")
            .and_then(|name| name.strip_suffix("_test.csv"))
        else {
            continue;
        };
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(*bytes);
        for (i, record) in reader.records().enumerate() {
            let fail = |reason: String| Error::Record {
                file: path,
                record: i + 1,
                reason,
            };
            let record = record.map_err(|error| fail(error.to_string()))?;
            let cells: Vec<&str> = record.iter().collect();
            let [question, choices @ .., letter] = cells.as_slice() else {
                return Err(fail("expected question, four choices and a letter".into()));
            };
            let answer = LETTERS
                .iter()
                .position(|l| letter.chars().eq([*l]))
                .filter(|_| choices.len() == LETTERS.len())
                .ok_or_else(|| fail("expected four choices and one of A, B, C, D".into()))?;
            all.push(Choice {
                subject: subject.into(),
                question: (*question).into(),
                choices: choices.iter().map(ToString::to_string).collect(),
                answer,
            });
        }
    }
    Ok(all)
}

/// Returns the GPQA-like questions, of two steps each. The file has no order of the choices: the right
/// choice of row `i`, counted from 0, takes place `i mod 4`, and the wrong ones keep their order.
///
/// # Errors
/// [`Error::Record`] if the embedded file is malformed.
pub fn hard_choices() -> Result<Vec<Choice>, Error> {
    let file = "gpqa/gpqa_diamond.csv";
    let mut reader = csv::Reader::from_reader(bytes_of(file));
    reader
        .deserialize::<HashMap<String, String>>()
        .enumerate()
        .map(|(i, row)| {
            let fail = |reason: String| Error::Record {
                file,
                record: i + 1,
                reason,
            };
            let mut row = row.map_err(|error| fail(error.to_string()))?;
            let mut cell = |column: &str| {
                row.remove(column)
                    .ok_or_else(|| fail(format!("there is no column {column}")))
            };
            let mut choices = (1..=3)
                .map(|n| cell(&format!("Incorrect Answer {n}")))
                .collect::<Result<Vec<_>, _>>()?;
            let answer = i % LETTERS.len();
            choices.insert(answer, cell("Correct Answer")?);
            Ok(Choice {
                subject: cell("High-level domain")?,
                question: cell("Question")?,
                choices,
                answer,
            })
        })
        .collect()
}

/// Returns the BoolQ-like test questions, as many yes as no, from the jsonl file.
///
/// # Errors
/// [`Error::Record`] if the embedded file is malformed.
pub fn yes_no_questions() -> Result<Vec<YesNo>, Error> {
    let file = "boolq/dev.jsonl";
    serde_json::Deserializer::from_slice(bytes_of(file))
        .into_iter()
        .enumerate()
        .map(|(i, item)| {
            item.map_err(|error| Error::Record {
                file,
                record: i + 1,
                reason: error.to_string(),
            })
        })
        .collect()
}

/// Returns the contents of an embedded file; empty if there is no file of that name.
fn bytes_of(file: &str) -> &'static [u8] {
    set_files()
        .iter()
        .find(|(path, _)| *path == file)
        .map_or(&[], |(_, bytes)| bytes)
}
