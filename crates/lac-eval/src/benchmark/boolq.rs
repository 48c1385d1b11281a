//! BoolQ: Google's files, and those of SuperGLUE, whose passages begin with their title.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::spec::{
    BenchmarkSpec, DataFile, ErrorPooling, HarnessTaskSpec, OptionOrder, Questions, SolvedExamples,
    Split, StoredTexts, no_category, no_description,
};
use crate::error::{Error, Result};
use crate::item::{Content, ItemNamer};
use crate::protocol::Protocol;
use crate::table::files::parquet_files;
use crate::table::row::DataRow;
use crate::table::rows;
use crate::words::usual_words;

pub(super) const BENCHMARK: BenchmarkSpec = BenchmarkSpec {
    name: NAME,
    load,
    option_order: OptionOrder::AsInFile,
    protocols: Protocol::ALL,
    stored_texts: StoredTexts::Answers,
    standard_error: ErrorPooling::Together,
    category: no_category,
};

/// The harness's `boolq`.
pub(super) const TASK: HarnessTaskSpec = HarnessTaskSpec {
    name: NAME,
    flag: NAME,
    about: "boolq",
    examples: SolvedExamples::Missing,
    description: no_description,
    words: usual_words,
};

/// The name, and the one subject.
const NAME: &str = "boolq";

fn load(path: &Path, split: Split) -> Result<Questions> {
    let files = if path.is_file() {
        vec![path.to_owned()]
    } else {
        split_files(path, split)?
    };
    let mut namer = ItemNamer::default();
    let (mut items, mut read) = (Vec::new(), Vec::new());
    for file in files {
        let rows = rows(&file)?;
        let n_rows = rows.len();
        for row in rows {
            let content = Content::YesNo {
                passage: row.text("passage")?,
                title: match row.cell("title") {
                    Some(_) => Some(row.text("title")?),
                    None => None,
                },
                question: row.text("question")?,
                answer: label(&row)?,
            };
            items.push(namer.item(NAME.to_owned(), content));
        }
        read.push(DataFile { path: file, n_rows });
    }
    Ok(Questions {
        items,
        files: read,
        ..Questions::default()
    })
}

fn split_files(folder: &Path, split: Split) -> Result<Vec<PathBuf>> {
    let (long, others): (&str, &[&str]) = match split {
        Split::Test => (
            "validation",
            &["dev.jsonl", "val.jsonl", "validation.jsonl"],
        ),
        Split::Validation => ("train", &["train.jsonl"]),
    };
    let places = [
        folder.join("data"),
        folder.join("boolq"),
        folder.join("BoolQ"),
        folder.to_owned(),
    ];
    // The jsonl files come first: they alone have the titles apart.
    for place in &places {
        if let Some(file) = others
            .iter()
            .map(|name| place.join(name))
            .find(|file| file.is_file())
        {
            return Ok(vec![file]);
        }
    }
    for place in &places {
        let files = parquet_files(place, long)?;
        if !files.is_empty() {
            return Ok(files);
        }
    }
    Err(Error::NotFound {
        path: folder.to_owned(),
        reason: format!(
            "expected {}, or {long}-*.parquet in data/ or boolq/",
            others.join(", ")
        ),
    })
}

/// Reads the answer: Google's files say `answer: true`, SuperGLUE's `label: 1` or `label: true`.
fn label(row: &DataRow<'_>) -> Result<bool> {
    let (column, cell) = ["answer", "label"]
        .iter()
        .find_map(|column| Some((*column, row.cell(column)?)))
        .ok_or_else(|| row.no_column("answer (or label)"))?;
    match cell {
        Value::Bool(answer) => Ok(*answer),
        Value::Number(number) if number.as_i64() == Some(0) => Ok(false),
        Value::Number(number) if number.as_i64() == Some(1) => Ok(true),
        other => Err(row.unexpected(
            column,
            other,
            "true, false, 0 or 1 (SuperGLUE's test split has no labels)",
        )),
    }
}
