//! Results as tables: accuracy beside usage, executed layers and time, as in the paper.

mod render;

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

pub use render::{Format, Subjects, render};

use crate::data::category;
use crate::item::{Benchmark, ItemId};
use crate::log::Results;
use crate::record::Record;
use crate::row_usage::ItemUsage;
use crate::settings::Settings;
use crate::statistics::{Comparison, Pair, pooled_standard_error, standard_error};

/// Tables, one per protocol, benchmark and model: what stands in one table can be compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The tables.
    pub tables: Vec<Table>,
}

/// One protocol, one benchmark, one model; a row per variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Table {
    /// What the rows have in common.
    pub settings: Settings,
    /// The rows, the full model first.
    pub rows: Vec<Row>,
}

/// One variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// What was done with the layers, in words.
    pub label: String,
    /// The policy's name.
    pub policy: String,
    /// Its α.
    pub alpha: Option<f32>,
    /// Its settings' hash.
    pub hash: String,
    /// All questions.
    pub overall: Score,
    /// MMLU's categories, in alphabetical order; empty for other benchmarks.
    pub groups: BTreeMap<String, Score>,
    /// The subjects.
    pub subjects: BTreeMap<String, Score>,
    /// Usage of each layer, percent, per phase; empty where nothing was gated.
    pub layers: PhaseLayers,
    /// Against the full model on the questions that both answered, where the table has one.
    pub against_full: Option<Comparison>,
}

/// Usage of each layer, percent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PhaseLayers {
    /// Over the prompts' tokens.
    pub prompt: Vec<f64>,
    /// Over the responses' tokens.
    pub response: Vec<f64>,
}

/// Accuracy and what it took. Shares are percent.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Score {
    /// Number of questions answered so far.
    pub n: usize,
    /// Right answers.
    pub n_right: usize,
    /// Texts in which no answer was found; they count as wrong.
    pub n_no_answer: usize,
    /// Accuracy.
    pub accuracy: f64,
    /// Its standard error; for MMLU as a whole and its categories, that of the weighted average
    /// over subjects, as the harness has it for groups of tasks.
    pub standard_error: Option<f64>,
    /// Accuracy by log-likelihood per character.
    pub accuracy_norm: Option<f64>,
    /// Layers flagged active over the prompts' tokens (PP).
    pub usage_prompt: Option<f64>,
    /// Layers flagged active over the responses' tokens (RG).
    pub usage_response: Option<f64>,
    /// Layers run per pass over prompts.
    pub executed_prompt: Option<f64>,
    /// Layers run per pass over a response's token.
    pub executed_response: Option<f64>,
    /// Time per question.
    pub seconds_per_item: f64,
}

impl Report {
    /// Tables of everything that several files of results hold.
    pub fn new(files: &[Results]) -> Self {
        let mut variants: Vec<(&Settings, Vec<&Record>)> = Vec::new();
        for results in files {
            for settings in &results.settings {
                let records = results.of(settings);
                match variants.iter_mut().find(|(known, _)| *known == settings) {
                    Some((_, all)) => all.extend(records),
                    None => variants.push((settings, records.collect())),
                }
            }
        }
        for (_, records) in &mut variants {
            let mut seen = std::collections::HashSet::new();
            records.retain(|record| seen.insert(&record.item));
        }
        let mut tables: Vec<Vec<(&Settings, Vec<&Record>)>> = Vec::new();
        for variant in variants {
            let same = |table: &&mut Vec<(&Settings, _)>| table[0].0.is_comparable(variant.0);
            match tables.iter_mut().find(same) {
                Some(table) => table.push(variant),
                None => tables.push(vec![variant]),
            }
        }
        Self {
            tables: tables.into_iter().map(table).collect(),
        }
    }
}

fn table(mut variants: Vec<(&Settings, Vec<&Record>)>) -> Table {
    variants.sort_by_key(|(settings, _)| !settings.skipping.is_full_model());
    let full: Option<HashMap<&ItemId, &Record>> = variants
        .first()
        .filter(|(settings, _)| settings.skipping.is_full_model())
        .map(|(_, records)| {
            records
                .iter()
                .map(|record| (&record.item, *record))
                .collect()
        });
    let rows = variants
        .iter()
        .map(|(settings, records)| {
            let against_full = full
                .as_ref()
                .filter(|_| !settings.skipping.is_full_model())
                .and_then(|full| Comparison::new(&pairs(full, records)));
            row(settings, records, against_full)
        })
        .collect();
    Table {
        settings: variants[0].0.clone(),
        rows,
    }
}

fn pairs(first: &HashMap<&ItemId, &Record>, second: &[&Record]) -> Vec<Pair> {
    second
        .iter()
        .filter_map(|record| {
            let other = first.get(&record.item)?;
            Some((other.predicted, record.predicted, record.answer))
        })
        .collect()
}

/// Compares two variants question by question.
pub fn compare(first: &[&Record], second: &[&Record]) -> Option<Comparison> {
    let first = first.iter().map(|record| (&record.item, *record)).collect();
    Comparison::new(&pairs(&first, second))
}

fn row(settings: &Settings, records: &[&Record], against_full: Option<Comparison>) -> Row {
    let mut by_subject: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for &record in records {
        let subject = by_subject.entry(record.subject.clone()).or_default();
        subject.push(record);
    }
    let mut groups: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    if settings.benchmark == Benchmark::Mmlu {
        for &record in records {
            if let Some(name) = category(&record.subject) {
                groups.entry(name.to_owned()).or_default().push(record);
            }
        }
    }
    let mut usage = ItemUsage::default();
    records.iter().for_each(|record| usage.add(&record.usage));
    let shares = |active: &[u64], tokens: u64| {
        active
            .iter()
            .map(|&count| 100.0 * count as f64 / tokens.max(1) as f64)
            .collect()
    };
    Row {
        label: settings.skipping.label(),
        policy: settings.skipping.policy.clone(),
        alpha: settings.skipping.alpha,
        hash: settings.hash(),
        overall: overall(settings.benchmark, records),
        groups: groups
            .into_iter()
            .map(|(name, records)| (name, pooled(&records)))
            .collect(),
        subjects: by_subject
            .into_iter()
            .map(|(name, records)| (name, score(&records)))
            .collect(),
        layers: PhaseLayers {
            prompt: shares(&usage.prompt.active, usage.prompt.tokens),
            response: shares(&usage.response.active, usage.response.tokens),
        },
        against_full,
    }
}

/// MMLU's subjects, and the tasks of samples, are tasks of the harness; the domains of GPQA are not.
fn overall(benchmark: Benchmark, records: &[&Record]) -> Score {
    match benchmark {
        Benchmark::Mmlu | Benchmark::Samples => pooled(records),
        Benchmark::Gpqa | Benchmark::Boolq => score(records),
    }
}

/// The score of several subjects together: questions count alike, so that subjects weigh by their
/// size; the standard error is pooled over subjects.
fn pooled(records: &[&Record]) -> Score {
    let mut counts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for record in records {
        let (n_right, n) = counts.entry(&record.subject).or_insert((0, 0));
        *n_right += usize::from(record.is_right());
        *n += 1;
    }
    let mut score = score(records);
    if counts.len() > 1 {
        let errors: Vec<(f64, usize)> = counts
            .into_values()
            .map(|(n_right, n)| (standard_error(n_right, n).unwrap_or(0.0), n))
            .collect();
        score.standard_error = pooled_standard_error(&errors).map(|error| 100.0 * error);
    }
    score
}

fn score(records: &[&Record]) -> Score {
    let n = records.len();
    let percent = |count: usize| 100.0 * count as f64 / n.max(1) as f64;
    let n_right = records.iter().filter(|record| record.is_right()).count();
    let norms: Vec<bool> = records
        .iter()
        .filter_map(|record| record.is_right_norm())
        .collect();
    let mut usage = ItemUsage::default();
    records.iter().for_each(|record| usage.add(&record.usage));
    let share = |share: Option<f64>| share.map(|share| 100.0 * share);
    Score {
        n,
        n_right,
        n_no_answer: records
            .iter()
            .filter(|record| record.predicted.is_none())
            .count(),
        accuracy: percent(n_right),
        standard_error: standard_error(n_right, n).map(|error| 100.0 * error),
        accuracy_norm: (norms.len() == n && n > 0)
            .then(|| percent(norms.iter().filter(|right| **right).count())),
        usage_prompt: share(usage.prompt.share()),
        usage_response: share(usage.response.share()),
        executed_prompt: usage.prompt.executed_per_pass(),
        executed_response: usage.response.executed_per_pass(),
        seconds_per_item: records.iter().map(|record| record.seconds).sum::<f64>()
            / n.max(1) as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two subjects, one all right and one all wrong.
    fn results(benchmark: &str) -> Results {
        let settings: Settings = serde_json::from_value(json!({
            "version": 1, "benchmark": benchmark, "data": {"n_items": 20, "hash": "d"},
            "asking": {"protocol": "generative", "few_shot": 0, "chat": true,
                       "passages": "as-in-file", "quirks": []},
            "model": {"name": "m", "fingerprint": "f", "dtype": "f32"},
            "skipping": {"policy": "off", "rounding": "f32"},
        }))
        .unwrap();
        let record = |i: usize| {
            let subject = ["anatomy", "law"][i % 2];
            serde_json::from_value(json!({
                "item": format!("{i:016x}"), "settings": settings.hash(), "row": i,
                "subject": subject, "answer": 0, "predicted": i % 2,
                "usage": {"prompt": {"tokens": 3, "passes": 1, "executed": 2},
                          "response": {"tokens": 0, "passes": 0, "executed": 0}},
                "seconds": 0.5,
            }))
            .unwrap()
        };
        Results {
            records: (0..20).map(record).collect(),
            settings: vec![settings],
        }
    }

    #[test]
    fn errors_are_pooled_over_tasks_of_the_harness_only() {
        let error = |benchmark| {
            let report = Report::new(&[results(benchmark)]);
            let overall = &report.tables[0].rows[0].overall;
            assert_eq!(
                (overall.n, overall.n_right, overall.accuracy),
                (20, 10, 50.0)
            );
            overall.standard_error.unwrap()
        };
        // Within each subject nothing varies.
        assert_eq!(error("mmlu"), 0.0);
        let whole = 100.0 * standard_error(10, 20).unwrap();
        assert!((error("gpqa") - whole).abs() < 1e-9);
    }
}
