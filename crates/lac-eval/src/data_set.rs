//! Reads a benchmark from the files that users have on disk.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::benchmark::Benchmark;
use crate::benchmark::spec::{DataFile, Questions, Split};
use crate::error::{Error, Result};
use crate::hub::cached_dataset;
use crate::item::Item;
use crate::short_hash::short_hash;

/// The questions of a benchmark.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// The benchmark.
    pub benchmark: Benchmark,
    /// The questions.
    pub items: Vec<Item>,
    /// Solved examples by subject, for prompts that show some: MMLU's dev split.
    pub examples: BTreeMap<String, Vec<Item>>,
    /// The files that they came from.
    pub files: Vec<DataFile>,
}

/// Identifies the contents of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataId {
    /// Number of questions.
    pub n_items: usize,
    /// Hash of all questions with their answers, in order.
    pub hash: String,
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
    /// Parquet files are read in every common codec: none, snappy, gzip, lz4, brotli, zstd.
    ///
    /// # Errors
    /// [`Error::NotFound`] naming the files that were looked for; [`Error::Row`] for a column that is
    /// missing, an empty cell or a wrong label; [`Error::Format`] and [`Error::Read`] for a file that
    /// cannot be read.
    pub fn load(benchmark: Benchmark, path: &Path, split: Split) -> Result<Self> {
        let found = match path.to_str() {
            _ if path.exists() => path.to_owned(),
            Some(id) => cached_dataset(id)?,
            None => {
                return Err(Error::NotFound {
                    path: path.to_owned(),
                    reason: "there is no such file or folder".to_owned(),
                });
            }
        };
        let Questions {
            items,
            examples,
            files,
        } = (benchmark.spec().load)(&found, split)?;
        if items.is_empty() {
            return Err(Error::NotFound {
                path: found,
                reason: "there is not a single question".to_owned(),
            });
        }
        Ok(Self {
            benchmark,
            items,
            examples,
            files,
        })
    }

    /// Returns the number of questions and their hash.
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

    /// Returns the subjects, each with its number of questions, in the order of their first question.
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
