//! The files that lm-evaluation-harness writes with `--log_samples`: its prompts and its option
//! orders, bit for bit, and the log-likelihoods that it found.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::spec::{
    BenchmarkSpec, DataFile, ErrorPooling, HarnessTaskSpec, OptionOrder, Questions, SolvedExamples,
    Split, StoredTexts, no_category, no_description,
};
use crate::error::Result;
use crate::item::{Content, ItemNamer};
use crate::protocol::Protocol;
use crate::table::files::files_ending;
use crate::table::row::DataRow;
use crate::table::rows;
use crate::words::usual_words;

pub(super) const BENCHMARK: BenchmarkSpec = BenchmarkSpec {
    name: NAME,
    load,
    option_order: OptionOrder::AsInFile,
    // The prompts are there already, with continuations to score.
    protocols: &[Protocol::LmEval],
    stored_texts: StoredTexts::Answers,
    // Every subject is a task of the harness.
    standard_error: ErrorPooling::BySubject,
    category: no_category,
};

/// The prompts are taken as they stand; only contents of other kinds need words.
pub(super) const TASK: HarnessTaskSpec = HarnessTaskSpec {
    name: NAME,
    flag: NAME,
    about: "the prompts as the harness wrote them down",
    examples: SolvedExamples::Missing,
    description: no_description,
    words: usual_words,
};

const NAME: &str = "samples";

fn load(path: &Path, _split: Split) -> Result<Questions> {
    let files: Vec<PathBuf> = if path.is_file() {
        vec![path.to_owned()]
    } else {
        let mut files = files_ending(path, ".jsonl")?;
        files.retain(|file| task_name(file).is_some());
        files
    };
    let mut namer = ItemNamer::default();
    let (mut items, mut read) = (Vec::new(), Vec::new());
    for file in files {
        let task = task_name(&file).unwrap_or_else(|| NAME.to_owned());
        let rows = rows(&file)?;
        let n_rows = rows.len();
        for row in rows {
            let options = options(&row)?;
            let content = Content::Scripted {
                answer: target(&row, options.len())?,
                expected: responses(&row, options.len())?,
                options,
            };
            items.push(namer.item(task.clone(), content));
        }
        read.push(DataFile { path: file, n_rows });
    }
    Ok(Questions {
        items,
        files: read,
        ..Questions::default()
    })
}

/// Returns the task of `samples_TASK_DATE.jsonl`.
fn task_name(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_string_lossy();
    let rest = stem.strip_prefix("samples_")?;
    let task = rest.rsplit_once('_').map_or(rest, |(task, _)| task);
    Some(task.to_owned())
}

/// Reads the requests, `{"gen_args_0": {"arg_0": context, "arg_1": continuation}, …}` or
/// `[[context, continuation], …]`.
fn options(row: &DataRow<'_>) -> Result<Vec<(String, String)>> {
    let cell = row
        .cell("arguments")
        .ok_or_else(|| row.no_column("arguments"))?;
    let requests: Vec<&Value> = match cell {
        // Any other name leaves a gap, which is an error below.
        Value::Object(requests) => (0..requests.len())
            .map(|i| {
                requests
                    .get(&format!("gen_args_{i}"))
                    .unwrap_or(&Value::Null)
            })
            .collect(),
        Value::Array(requests) => requests.iter().collect(),
        _ => Vec::new(),
    };
    let pair = |request: &&Value| {
        let part = |name: &str, i: usize| request.get(name).or_else(|| request.get(i))?.as_str();
        Some((part("arg_0", 0)?.to_owned(), part("arg_1", 1)?.to_owned()))
    };
    let options: Option<Vec<_>> = requests.iter().map(pair).collect();
    options.filter(|options| options.len() >= 2).ok_or_else(|| {
        row.fail(
            "column arguments does not hold two or more pairs of context and continuation: only \
             tasks that compare log-likelihoods can be read",
        )
    })
}

/// Reads the right option, given as its index or its letter.
fn target(row: &DataRow<'_>, n_options: usize) -> Result<usize> {
    let cell = row.cell("target").ok_or_else(|| row.no_column("target"))?;
    let text = match cell {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let letter = text.trim_matches(['(', ')', ' ']);
    let of_letter = match letter.as_bytes() {
        [byte @ b'A'..=b'Z'] => Some(usize::from(byte - b'A')),
        _ => None,
    };
    letter
        .parse()
        .ok()
        .or(of_letter)
        .filter(|&index: &usize| index < n_options)
        .ok_or_else(|| row.unexpected("target", cell, "an option"))
}

/// Reads the log-likelihoods: `resps` is `[[["-1.5", "False"]], …]` or the same with numbers.
fn responses(row: &DataRow<'_>, n_options: usize) -> Result<Vec<f64>> {
    fn first_number(value: &Value) -> Option<f64> {
        match value {
            Value::Array(list) => list.first().and_then(first_number),
            Value::String(text) => text.parse().ok(),
            other => other.as_f64(),
        }
    }
    let Some(Value::Array(responses)) = row.cell("resps") else {
        return Ok(Vec::new());
    };
    let numbers: Option<Vec<f64>> = responses.iter().map(first_number).collect();
    numbers
        .filter(|numbers| numbers.len() == n_options && !numbers.iter().any(|n| n.is_nan()))
        .ok_or_else(|| row.fail("column resps does not hold one log-likelihood per option"))
}
