//! The files that lm-evaluation-harness writes with `--log_samples`: its prompts and its option
//! orders, bit for bit, and the log-likelihoods that it found.

mod sample;
mod target;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use self::sample::Sample;
use self::target::Reading;
use super::spec::{
    BenchmarkSpec, DataFile, ErrorPooling, HarnessTaskSpec, OptionOrder, Questions, SolvedExamples,
    Split, StoredTexts, no_category, no_description,
};
use crate::error::Result;
use crate::item::{Content, ItemNamer};
use crate::protocol::Protocol;
use crate::table::files::files_ending;
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
        let samples = samples(&file)?;
        let n_rows = samples.len();
        let votes = votes(&samples);
        for sample in samples {
            items.push(namer.item(task.clone(), content(sample, &votes)));
        }
        read.push(DataFile { path: file, n_rows });
    }
    Ok(Questions {
        items,
        files: read,
        ..Questions::default()
    })
}

/// Reads a file. A task with several filters logs every question once for each of them: the first
/// filter's rows are read.
fn samples(file: &Path) -> Result<Vec<Sample>> {
    let rows = rows(file)?;
    let first = rows.first().and_then(|row| row.cell("filter")).cloned();
    rows.iter()
        .filter(|row| row.cell("filter") == first.as_ref())
        .map(Sample::read)
        .collect()
}

/// Counts for how many rows each way of reading a target gives the scores that the harness logged.
fn votes(samples: &[Sample]) -> BTreeMap<Reading, usize> {
    let mut votes = BTreeMap::new();
    for sample in samples {
        for (reading, right) in &sample.readings {
            *votes.entry(*reading).or_insert(0) += usize::from(sample.agrees(right));
        }
    }
    votes
}

fn content(sample: Sample, votes: &BTreeMap<Reading, usize>) -> Content {
    let n_votes = |reading: &Reading| votes.get(reading).copied().unwrap_or(0);
    // Of equals the last is taken, and the likeliest comes first.
    let best = sample
        .readings
        .into_iter()
        .rev()
        .max_by_key(|(reading, _)| n_votes(reading));
    let mut right = best.map_or_else(Vec::new, |(_, right)| right);
    let also_right = right.split_off(right.len().min(1));
    Content::Scripted {
        options: sample.options,
        // A sample has at least one right option.
        answer: right.first().copied().unwrap_or(0),
        also_right,
        judgement: sample.judgement,
        logged: sample.logged,
    }
}

/// Returns the task of `samples_TASK_DATE.jsonl`.
fn task_name(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_string_lossy();
    let rest = stem.strip_prefix("samples_")?;
    let task = rest.rsplit_once('_').map_or(rest, |(task, _)| task);
    Some(task.to_owned())
}
