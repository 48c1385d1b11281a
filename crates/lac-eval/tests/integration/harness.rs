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

/// Scores what the harness logged of a task, and holds every number against its own. The files are
/// made by `tests/fixtures/make_samples.py`.
fn check_logged(task: &str, metric: &str) -> Vec<(Value, Record)> {
    let file = fixture(&format!("samples/samples_{task}_2026.jsonl"));
    let lines: Vec<Value> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let data = DataSet::load(Benchmark::Samples, &file, Split::Test).unwrap();
    assert_eq!(data.items[0].subject, task);
    let prompt = PromptSettings::lm_eval(HarnessTask::Samples, 0);
    let (mut records, _) = run(&data, &ItemSelection::default(), &prompt);
    records.sort_by_key(|record| record.row);
    let seen = HarnessLogComparison::new(&data, &records).unwrap();
    assert_eq!(
        (seen.n, seen.n_same_choice),
        (lines.len(), lines.len()),
        "{task}"
    );
    assert_eq!(seen.n_other_score, 0, "{task}");
    let pairs: Vec<(Value, Record)> = lines.into_iter().zip(records).collect();
    for (line, record) in &pairs {
        let logged = line["resps"].as_array().unwrap().iter();
        let logged: Vec<f64> = logged
            .map(|answer| answer[0][0].as_str().unwrap().parse().unwrap())
            .collect();
        close(record.log_likelihoods.as_ref().unwrap(), &logged, task);
        let is_right = f64::from(u8::from(record.is_right()));
        assert_eq!(line[metric].as_f64(), Some(is_right), "{task}: {line}");
    }
    pairs
}

#[test]
fn every_kind_of_task_that_the_harness_logs() {
    let n_right = |pairs: &[(Value, Record)]| {
        let right = pairs.iter().filter(|(_, record)| record.is_right());
        (right.count(), pairs.len())
    };
    // Contexts that are empty: this tokenizer has no BOS, and EOS takes its place.
    assert_eq!(n_right(&check_logged("blimp_made_up", "acc")), (3, 4));
    check_logged("xnli_en", "acc");
    // Targets that are texts, of which some could be truth values.
    check_logged("pubmedqa", "acc");
    check_logged("anli_r1", "acc");
    // One that is a truth value.
    check_logged("truths", "acc");
    // Several contexts and one continuation.
    let (n, of) = n_right(&check_logged("winogrande", "acc"));
    assert!(0 < n && n < of, "{n} of {of}");
    // Several right options.
    check_logged("several", "acc");
    // One continuation, right if it is what the model writes; and several of them.
    let (n, of) = n_right(&check_logged("lambada_openai", "acc"));
    assert!(0 < n && n < of, "{n} of {of}");
    check_logged("webqs", "exact_match");

    for (line, record) in check_logged("commonsense_qa", "acc") {
        assert_eq!(record.log_likelihoods.as_ref().unwrap().len(), 10);
        let of = |right: Option<bool>| right.map(|right| f64::from(u8::from(right)));
        assert_eq!(line["acc_norm"].as_f64(), of(record.is_right_norm()));
        let by_context = record.is_right_by_mutual_info();
        assert_eq!(line["acc_mutual_info"].as_f64(), of(by_context));
    }
}

#[test]
fn tasks_of_other_kinds_are_named() {
    for (task, kind) in [
        ("wikitext", "a loglikelihood_rolling task"),
        ("generated", "a generate_until task"),
    ] {
        let name = format!("samples_{task}_2026.jsonl");
        let file = fixture(&format!("samples/{name}"));
        let error = DataSet::load(Benchmark::Samples, &file, Split::Test).unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains(kind) && message.contains(&name),
            "{message}"
        );
    }
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
