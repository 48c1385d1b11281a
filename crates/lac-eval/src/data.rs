//! Benchmarks from the files that users have on disk.

mod boolq;
mod gpqa;
mod hub;
mod mmlu;
mod parquet_rows;
mod samples;
mod table;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use hub::cached_dataset;
pub use mmlu::category;

use crate::error::{Error, Result};
use crate::item::{Benchmark, Item, short_hash};

/// A benchmark, read.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Which one.
    pub benchmark: Benchmark,
    /// The questions.
    pub items: Vec<Item>,
    /// Solved examples by subject, for prompts that show some: MMLU's dev split.
    pub examples: BTreeMap<String, Vec<Item>>,
    /// The files they came from.
    pub files: Vec<DataFile>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// The file.
    pub path: PathBuf,
    /// How many questions it holds.
    pub n_rows: usize,
}

/// What a data set is recognised by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataId {
    /// Number of questions.
    pub n_items: usize,
    /// Hash of all questions with their answers, in order.
    pub hash: String,
}

/// A split of a benchmark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Split {
    /// What is reported: MMLU's test, BoolQ's validation, all of GPQA.
    #[default]
    Test,
    /// What is tuned on: MMLU's validation, BoolQ's train.
    Validation,
}

impl DataSet {
    /// Reads a benchmark from a file, from a folder in one of the known layouts, or from a data
    /// set of that id in the local Hugging Face cache.
    ///
    /// | benchmark | files |
    /// | --- | --- |
    /// | MMLU | `cais/mmlu` parquet, all subjects or one folder each; Hendrycks' CSV folders |
    /// | GPQA | `gpqa_diamond.csv`; the columns are found by name |
    /// | BoolQ | `google/boolq` parquet and jsonl; `super_glue` parquet and jsonl |
    /// | samples | `samples_*.jsonl` of lm-evaluation-harness, with log-likelihoods |
    ///
    /// # Errors
    /// What was looked for and where; a wrong column, an empty cell or a bad label with file and
    /// row.
    pub fn load(benchmark: Benchmark, path: &Path, split: Split) -> Result<Self> {
        let found = match (path.exists(), path.to_str().and_then(cached_dataset)) {
            (false, Some(snapshot)) => snapshot,
            _ => path.to_owned(),
        };
        if !found.exists() {
            return Err(Error::NotFound {
                path: path.to_owned(),
                reason: "there is no such file or folder, and no data set of that id in the local \
                         Hugging Face cache"
                    .to_owned(),
            });
        }
        let data = match benchmark {
            Benchmark::Mmlu => mmlu::load(&found, split)?,
            Benchmark::Gpqa => gpqa::load(&found)?,
            Benchmark::Boolq => boolq::load(&found, split)?,
            Benchmark::Samples => samples::load(&found)?,
        };
        if data.items.is_empty() {
            return Err(Error::NotFound {
                path: found,
                reason: "there is not a single question".to_owned(),
            });
        }
        Ok(data)
    }

    /// What the data set is recognised by.
    pub fn id(&self) -> DataId {
        let mut hash = Sha256::new();
        for item in &self.items {
            hash.update(item.id.as_str());
        }
        DataId {
            n_items: self.items.len(),
            hash: short_hash(hash),
        }
    }

    /// The subjects, each with its number of questions, in the order of their first question.
    pub fn subjects(&self) -> Vec<(&str, usize)> {
        let mut subjects: Vec<(&str, usize)> = Vec::new();
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for item in &self.items {
            let place = *places.entry(&item.subject).or_insert_with(|| {
                subjects.push((&item.subject, 0));
                subjects.len() - 1
            });
            subjects[place].1 += 1;
        }
        subjects
    }
}

/// The files of a folder whose names end so, sorted by name.
fn files_ending(folder: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let read = |source| Error::Read {
        file: folder.to_owned(),
        source,
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path.to_string_lossy().ends_with(end) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The parquet files of one split: `test-00000-of-00001.parquet` and its neighbours.
fn parquet_files(folder: &Path, split: &str) -> Result<Vec<PathBuf>> {
    let mut files = files_ending(folder, ".parquet")?;
    files.retain(|file| {
        let name = file.file_name().map(|name| name.to_string_lossy());
        name.is_some_and(|name| {
            name.strip_prefix(split)
                .is_some_and(|rest| rest.starts_with('-') || rest == ".parquet")
        })
    });
    Ok(files)
}
