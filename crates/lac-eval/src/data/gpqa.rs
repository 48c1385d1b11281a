//! GPQA: one CSV file, whose columns are found by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{DataFile, DataSet, table};
use crate::error::{Error, Result};
use crate::item::{Benchmark, Content, Namer};

const NAME: &str = "gpqa_diamond.csv";

/// The choices are kept as `[correct, incorrect 1, incorrect 2, incorrect 3]`: the file knows no
/// order. In which order they are shown is the prompt's affair.
pub(super) fn load(path: &Path) -> Result<DataSet> {
    let file = file(path)?;
    let mut namer = Namer::default();
    let items = table::rows(&file)?
        .into_iter()
        .map(|row| {
            let mut choices = vec![row.text("Correct Answer")?];
            for n in 1..=3 {
                choices.push(row.text(&format!("Incorrect Answer {n}"))?);
            }
            let subject = match row.cell("High-level domain").and_then(|cell| cell.as_str()) {
                Some(domain) if !domain.trim().is_empty() => domain.trim().to_owned(),
                _ => "gpqa".to_owned(),
            };
            let content = Content::Choices {
                question: row.text("Question")?,
                choices,
                answer: 0,
            };
            Ok(namer.item(subject, content))
        })
        .collect::<Result<Vec<_>>>()?;
    Ok(DataSet {
        benchmark: Benchmark::Gpqa,
        files: vec![DataFile {
            path: file,
            n_rows: items.len(),
        }],
        items,
        examples: BTreeMap::new(),
    })
}

fn file(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.to_owned());
    }
    ["", "dataset", "simple-evals"]
        .iter()
        .map(|folder| path.join(folder).join(NAME))
        .find(|file| file.is_file())
        .ok_or_else(|| Error::NotFound {
            path: path.to_owned(),
            reason: format!(
                "expected {NAME} (name the file itself for gpqa_main or gpqa_extended)"
            ),
        })
}
