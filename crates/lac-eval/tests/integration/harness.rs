//! Against lm-evaluation-harness on the same checkpoint and questions. The fixtures are made by
//! `tests/fixtures/make_harness.py`.

use std::collections::HashMap;

use lac_core::{Off, generation::Flow};
use lac_eval::data::Split;
use lac_eval::results::{HarnessLogComparison, Record};
use lac_eval::settings::Passages;
use lac_eval::{
    Benchmark, DataSet, HarnessTask, ItemSelection, PromptSettings, ResultLog, evaluate, requests,
};
use serde_json::Value;

use crate::{evaluation, fixture, load, model, policy_run, settings};

/// What the harness found is matched to this; a hundredth of what is asked for.
const TOLERANCE: f64 = 1e-4;

fn close(seen: &[f64], expected: &[f64], name: &str) {
    assert_eq!(seen.len(), expected.len(), "{name}");
    for (a, b) in seen.iter().zip(expected) {
        assert!(
            (a - b).abs() < TOLERANCE,
            "{name}: {seen:?} against {expected:?}"
        );
    }
}

fn run(
    data: &DataSet,
    selection: &ItemSelection,
    prompt: &PromptSettings,
) -> (Vec<Record>, HashMap<usize, String>) {
    let (model, tokenizer) = model();
    let requests = requests(data, selection, prompt, &tokenizer, Some(512)).unwrap();
    let mut runs = [policy_run(Off)];
    let mut log = ResultLog::in_memory(settings(data, prompt, &runs));
    let evaluation = evaluation(&requests, prompt, &tokenizer, 16);
    evaluate(&model, &evaluation, &mut runs, &mut log, &mut |_| {
        Flow::Continue
    })
    .unwrap();
    let texts = requests
        .iter()
        .map(|request| (request.row, request.text.clone()));
    (log.into_results().records, texts.collect())
}

/// Scores the questions that the fixture has, and holds every context and number against it.
fn check(name: &str, data: &DataSet, prompt: &PromptSettings) {
    let text = std::fs::read_to_string(fixture("harness.json")).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let expected = all[name].as_array().unwrap();
    // The harness counts rows by subject.
    let mut rows: HashMap<(String, usize), usize> = HashMap::new();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for item in &data.items {
        let count = counts.entry(item.subject.clone()).or_insert(0);
        rows.insert((item.subject.clone(), *count), item.row);
        *count += 1;
    }
    let row = |sample: &Value| {
        let subject = sample["subject"].as_str().unwrap().to_owned();
        rows[&(subject, sample["row"].as_u64().unwrap() as usize)]
    };
    let wanted: Vec<usize> = expected.iter().map(row).collect();
    let mut few = data.clone();
    few.items.retain(|item| wanted.contains(&item.row));

    let (records, texts) = run(&few, &ItemSelection::default(), prompt);
    assert_eq!(records.len(), expected.len(), "{name}");
    let records: HashMap<usize, &Record> =
        records.iter().map(|record| (record.row, record)).collect();
    for sample in expected {
        let record = records[&row(sample)];
        let name = format!("{name}, {}, row {}", sample["subject"], sample["row"]);
        assert_eq!(
            sha256(&texts[&record.row]),
            sample["context"],
            "{name}: {}",
            texts[&record.row]
        );
        let numbers: Vec<f64> = serde_json::from_value(sample["log_likelihoods"].clone()).unwrap();
        close(record.log_likelihoods.as_ref().unwrap(), &numbers, &name);
        assert_eq!(
            f64::from(u8::from(record.is_right())),
            sample["acc"],
            "{name}"
        );
        if let Some(norm) = sample["acc_norm"].as_f64() {
            assert_eq!(record.is_right_norm(), Some(norm == 1.0), "{name}");
        }
    }
}

fn sha256(text: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(text);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn mmlu_without_examples() {
    let prompt = PromptSettings::lm_eval(HarnessTask::Mmlu, 0);
    check("mmlu_0_shot", &load(Benchmark::Mmlu), &prompt);
}

#[test]
fn mmlu_with_examples() {
    let prompt = PromptSettings::lm_eval(HarnessTask::Mmlu, 3);
    check("mmlu_3_shot", &load(Benchmark::Mmlu), &prompt);
}

#[test]
fn mmlu_in_a_chat() {
    let prompt = PromptSettings {
        chat: true,
        ..PromptSettings::lm_eval(HarnessTask::Mmlu, 0)
    };
    check("mmlu_chat", &load(Benchmark::Mmlu), &prompt);
}

#[test]
fn mmlu_by_its_texts() {
    let prompt = PromptSettings::lm_eval(HarnessTask::MmluContinuation, 0);
    check("mmlu_continuation", &load(Benchmark::Mmlu), &prompt);
}

#[test]
fn boolq_with_titles() {
    let prompt = PromptSettings {
        passages: Passages::WithTitle,
        ..PromptSettings::lm_eval(HarnessTask::Boolq, 0)
    };
    check("boolq", &load(Benchmark::Boolq), &prompt);
}

/// The harness's option order cannot be had from a seed; its own log has it.
#[test]
fn gpqa_from_what_the_harness_logged() {
    let file = fixture("samples_gpqa_zeroshot_2026.jsonl");
    let data = DataSet::load(Benchmark::Samples, &file, Split::Test).unwrap();
    assert_eq!(data.items[0].subject, "gpqa_zeroshot");
    let prompt = PromptSettings::lm_eval(HarnessTask::Samples, 0);
    let (records, _) = run(&data, &ItemSelection::default(), &prompt);
    assert_eq!(records.len(), 16);
    let seen = HarnessLogComparison::new(&data, &records).unwrap();
    assert!(seen.largest_difference < TOLERANCE, "{seen:?}");
    assert_eq!((seen.n, seen.n_same_choice), (16, 16));
    let lines = std::fs::read_to_string(file).unwrap();
    let n_right = lines
        .lines()
        .filter(|line| line.contains("\"acc\": 1.0"))
        .count();
    assert_eq!((seen.n_right, seen.n_right_logged), (n_right, n_right));
}
