//! What lm-evaluation-harness wrote with `--log_samples`: its prompts and its option orders, bit
//! for bit, and the log-likelihoods that it found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::table::{self, Row};
use super::{DataFile, DataSet, files_ending};
use crate::error::Result;
use crate::item::{Benchmark, Content, Namer};

pub(super) fn load(path: &Path) -> Result<DataSet> {
    let files: Vec<PathBuf> = if path.is_file() {
        vec![path.to_owned()]
    } else {
        let mut files = files_ending(path, ".jsonl")?;
        files.retain(|file| task_name(file).is_some());
        files
    };
    let mut namer = Namer::default();
    let (mut items, mut read) = (Vec::new(), Vec::new());
    for file in files {
        let task = task_name(&file).unwrap_or_else(|| "samples".to_owned());
        let rows = table::rows(&file)?;
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
    Ok(DataSet {
        benchmark: Benchmark::Samples,
        items,
        examples: BTreeMap::new(),
        files: read,
    })
}

/// The task of `samples_TASK_DATE.jsonl`.
fn task_name(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_string_lossy();
    let rest = stem.strip_prefix("samples_")?;
    let task = rest.rsplit_once('_').map_or(rest, |(task, _)| task);
    Some(task.to_owned())
}

/// The requests, `{"gen_args_0": {"arg_0": context, "arg_1": continuation}, …}` or
/// `[[context, continuation], …]`.
fn options(row: &Row<'_>) -> Result<Vec<(String, String)>> {
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

/// The right option: an index, its letter, or its text.
fn target(row: &Row<'_>, n_options: usize) -> Result<usize> {
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

/// The log-likelihoods: `resps` is `[[["-1.5", "False"]], …]` or the same with numbers.
fn responses(row: &Row<'_>, n_options: usize) -> Result<Vec<f64>> {
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
