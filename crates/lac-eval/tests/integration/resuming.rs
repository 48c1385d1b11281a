//! Interrupted, resumed, parted, joined: the results are those of one run.

use std::path::Path;

use burn::tensor::Tensor;
use lac_core::{
    BoxError, Bypass, Decision, GateConfig, Halt, LastActive, LayerPolicy, Off, PolicyEffect,
    Trace, generation::Flow, released_code::FirstThreshold,
};
use lac_eval::data::Shard;
use lac_eval::released_code::Quirk;
use lac_eval::report::{ReportFormat, SubjectTables, render};
use lac_eval::results::{Record, merge};
use lac_eval::{
    Benchmark, DataSet, Error, EvalReport, HarnessTask, ItemSelection, PolicyRun, PolicySettings,
    PromptSettings, Protocol, ResultLog, Results, Settings, evaluate, requests,
};
use lac_models::{Decoder, Tokenizer};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{FailsAt, evaluation, limit, load, model, policy_run, settings};

pub struct Bench {
    pub model: Decoder,
    pub tokenizer: Tokenizer,
    pub data: DataSet,
    pub prompt: PromptSettings,
}

impl Bench {
    pub fn new() -> Self {
        let (model, tokenizer) = model();
        Self {
            model,
            tokenizer,
            data: load(Benchmark::Mmlu),
            prompt: PromptSettings::lm_eval(HarnessTask::Mmlu, 0),
        }
    }

    pub fn runs() -> Vec<PolicyRun> {
        vec![
            policy_run(Off),
            policy_run(LastActive::new(GateConfig::new(0.4))),
        ]
    }

    fn settings(&self) -> Vec<Settings> {
        settings(&self.data, &self.prompt, &Self::runs())
    }

    pub fn run(
        &self,
        path: &Path,
        selection: &ItemSelection,
        mut runs: Vec<PolicyRun>,
    ) -> lac_eval::Result<()> {
        let all = requests(
            &self.data,
            selection,
            &self.prompt,
            &self.tokenizer,
            Some(512),
        )?;
        let mut log = ResultLog::open(path, settings(&self.data, &self.prompt, &runs))?;
        let evaluation = evaluation(&all, &self.prompt, &self.tokenizer, 3);
        evaluate(&self.model, &evaluation, &mut runs, &mut log, &mut |_| {
            Flow::Continue
        })
    }
}

/// The same questions, answers and numbers. Times differ in every run; other batches sum in
/// another order, which shows in the last bits of a number and in a flag at its threshold.
fn same(a: &Results, b: &Results) {
    let plain = |results: &Results| {
        let mut results = results.clone();
        for record in &mut results.records {
            record.seconds = 0.0;
            record.log_likelihoods = None;
            record.usage.prompt.active.clear();
        }
        results.to_lines()
    };
    let values = |results: &Results| {
        let mut records: Vec<&Record> = results.records.iter().collect();
        records.sort_by_key(|record| (&record.settings, record.row));
        let values = records
            .into_iter()
            .filter_map(|record| record.log_likelihoods.clone());
        values.flatten().collect::<Vec<f64>>()
    };
    assert_eq!(plain(a), plain(b));
    for (a, b) in values(a).iter().zip(values(b)) {
        assert!((a - b).abs() < 1e-3, "{a} against {b}");
    }
}

#[test]
fn a_run_goes_on_where_it_was_interrupted() {
    let bench = Bench::new();
    let folder = TempDir::new().unwrap();
    let (whole, broken) = (
        folder.path().join("whole.jsonl"),
        folder.path().join("broken.jsonl"),
    );
    bench.run(&whole, &limit(20), Bench::runs()).unwrap();

    // The full model fails at its third pass; its policy calls itself off.
    let mut runs = Bench::runs();
    runs[0] = policy_run(FailsAt { passes_left: 2 });
    let error = bench.run(&broken, &limit(20), runs).unwrap_err();
    assert!(matches!(error, Error::Model { .. }), "{error}");
    let before = Results::read(&broken).unwrap();
    let n_before = before.records.len();
    assert!(
        (3..40).contains(&n_before),
        "{n_before}: some batches of two variants"
    );
    bench.run(&broken, &limit(20), Bench::runs()).unwrap();
    let after = Results::read(&broken).unwrap();
    assert_eq!(
        after.records[..n_before],
        before.records[..],
        "nothing is done twice"
    );
    same(&after, &Results::read(&whole).unwrap());

    // A larger limit only adds.
    bench.run(&broken, &limit(25), Bench::runs()).unwrap();
    assert_eq!(Results::read(&broken).unwrap().records.len(), 50);
}

/// Where answers depend on the questions beside them, a run that goes on asks a batch as it was asked before, and what
/// would change a batch is another setting.
#[test]
fn quirks_that_depend_on_the_batch_keep_their_neighbours() {
    let mut bench = Bench::new();
    let plain = PromptSettings {
        max_new_tokens: Some(8),
        ..PromptSettings::paper(1)
    };
    let quirks = [Quirk::BatchThreshold, Quirk::PaddingAttended].into();
    let quirky = PromptSettings {
        quirks,
        ..plain.clone()
    };
    let questions =
        |n| requests(&bench.data, &limit(n), &quirky, &bench.tokenizer, Some(512)).unwrap();
    let (ten, twelve) = (questions(10), questions(12));
    let gate = |first| GateConfig::new(0.4).with_first_threshold(first);
    let runs = |first| vec![policy_run(Off), policy_run(LastActive::new(gate(first)))];
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);

    bench.prompt = quirky.clone().with_batch_members(&ten, 3);
    let range = FirstThreshold::BatchRange;
    bench.run(&path("whole"), &limit(10), runs(range)).unwrap();
    let whole = Results::read(&path("whole")).unwrap();
    let mut broken = runs(range);
    broken[0] = policy_run(FailsAt { passes_left: 12 });
    bench.run(&path("broken"), &limit(10), broken).unwrap_err();
    let n_before = Results::read(&path("broken")).unwrap().records.len();
    assert!(n_before > 0 && n_before < 20, "{n_before}");
    // One record of a batch is lost with the torn last line: its neighbours are asked again, and not counted twice.
    let text = std::fs::read_to_string(path("broken")).unwrap();
    std::fs::write(path("broken"), &text[..text.len() - 20]).unwrap();
    bench.run(&path("broken"), &limit(10), runs(range)).unwrap();
    same(&Results::read(&path("broken")).unwrap(), &whole);

    let refused = |prompt: PromptSettings, n, first, part: &str| {
        let bench = Bench {
            prompt,
            ..Bench::new()
        };
        let error = bench.run(&path("whole"), &limit(n), runs(first));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(part), "{part:?} is not in: {error}");
    };
    let neighbours = "asking.neighbours.questions";
    refused(
        quirky.clone().with_batch_members(&twelve, 3),
        12,
        range,
        neighbours,
    );
    let size = "asking.neighbours.batch_size: 3 in the file, 4 now";
    refused(quirky.clone().with_batch_members(&ten, 4), 10, range, size);
    let prompt = quirky.clone().with_batch_members(&ten, 3);
    refused(prompt.clone(), 9, range, "with_batch_members");
    refused(prompt, 10, FirstThreshold::Zero, "first threshold is Zero");

    // The quirks show, and without them there are no neighbours to speak of.
    bench.prompt = plain.with_batch_members(&ten, 3);
    assert_eq!(bench.prompt.batch_members, None);
    let zero = FirstThreshold::Zero;
    bench.run(&path("plain"), &limit(10), runs(zero)).unwrap();
    let texts = |results: &Results| -> Vec<Option<String>> {
        let mut records: Vec<&Record> = results.records.iter().collect();
        records.sort_by_key(|record| (&record.settings, record.row));
        records
            .into_iter()
            .map(|record| record.text.clone())
            .collect()
    };
    let plain = Results::read(&path("plain")).unwrap();
    assert_ne!(texts(&plain), texts(&whole));
}

#[test]
fn other_settings_are_refused_with_their_difference() {
    let mut bench = Bench::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("results.jsonl");
    bench.run(&path, &limit(3), Bench::runs()).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();

    let mut runs = Bench::runs();
    runs[1] = policy_run(LastActive::new(GateConfig::new(0.8)));
    let error = bench.run(&path, &limit(3), runs).unwrap_err().to_string();
    assert!(
        error.contains("skipping.alpha: 0.4 in the file, 0.8 now"),
        "{error}"
    );
    let error = bench
        .run(&path, &limit(3), vec![policy_run(Off)])
        .unwrap_err()
        .to_string();
    assert!(error.contains("last-active, α 0.4: in the file"), "{error}");
    bench.prompt.few_shot = 2;
    let error = bench
        .run(&path, &limit(3), Bench::runs())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("asking.few_shot: 0 in the file, 2 now"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        text,
        "nothing was changed"
    );

    std::fs::write(&path, format!("{text}no result\n")).unwrap();
    let error = Results::read(&path).unwrap_err().to_string();
    let n_lines = text.lines().count() + 1;
    assert!(error.contains(&format!("line {n_lines}")), "{error}");
}

#[test]
fn a_file_that_an_editor_saved_again_goes_on() {
    let bench = Bench::new();
    let folder = TempDir::new().unwrap();
    let (whole, saved) = (
        folder.path().join("whole.jsonl"),
        folder.path().join("saved.jsonl"),
    );
    bench.run(&whole, &limit(4), Bench::runs()).unwrap();
    bench.run(&saved, &limit(2), Bench::runs()).unwrap();
    let text = std::fs::read_to_string(&saved).unwrap();
    let windows = format!("\u{feff}{}\r\n", text.replace('\n', "\r\n"));
    std::fs::write(&saved, &windows).unwrap();
    bench.run(&saved, &limit(4), Bench::runs()).unwrap();
    same(
        &Results::read(&saved).unwrap(),
        &Results::read(&whole).unwrap(),
    );
    // The lines that were there are as they were.
    assert!(
        std::fs::read_to_string(&saved)
            .unwrap()
            .starts_with(&windows)
    );

    let utf16: Vec<u8> = windows.encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&saved, utf16).unwrap();
    let error = Results::read(&saved).unwrap_err();
    let message = lac_test_corruption::message(&error);
    assert!(
        message.contains("saved.jsonl") && message.contains("UTF-16"),
        "{message}"
    );
}

#[test]
fn two_processes_do_not_write_one_file() {
    let bench = Bench::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("results.jsonl");
    let first = ResultLog::open(&path, bench.settings()).unwrap();
    let error = ResultLog::open(&path, bench.settings()).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    // Reading is free.
    assert_eq!(Results::read(&path).unwrap().settings.len(), 2);
    drop(first);
    ResultLog::open(&path, bench.settings()).unwrap();
}

#[test]
fn shards_joined_are_one_run() {
    let bench = Bench::new();
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole.jsonl");
    bench.run(&whole, &limit(14), Bench::runs()).unwrap();
    let whole = Results::read(&whole).unwrap();
    let parts: Vec<(String, Results)> = (0..4)
        .map(|index| {
            let name = format!("part{index}.jsonl");
            let path = folder.path().join(&name);
            let selection = ItemSelection {
                shard: Some(Shard { index, count: 4 }),
                ..limit(14)
            };
            bench.run(&path, &selection, Bench::runs()).unwrap();
            (name, Results::read(&path).unwrap())
        })
        .collect();
    assert!(
        parts
            .iter()
            .filter(|(_, part)| !part.records.is_empty())
            .count()
            >= 3
    );
    let merged = merge(&parts).unwrap();
    same(&merged, &whole);
    let twice = [parts.clone(), parts.clone()].concat();
    assert_eq!(merge(&twice).unwrap(), merged, "a question counts once");

    let mut other = parts.clone();
    other[1].1.settings[1].policy.alpha = Some(0.5);
    let error = merge(&other).unwrap_err().to_string();
    assert!(
        error.contains("part1.jsonl") && error.contains("skipping.alpha"),
        "{error}"
    );
    let mut torn = twice;
    let place = torn[4..]
        .iter()
        .position(|(_, part)| !part.records.is_empty())
        .unwrap();
    torn[4 + place].1.records[0].predicted = None;
    let error = merge(&torn).unwrap_err().to_string();
    assert!(error.contains("disagree about item"), "{error}");
}

#[test]
fn a_report_has_the_papers_columns_and_keeps_protocols_apart() {
    let mut bench = Bench::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("results.jsonl");
    bench.run(&path, &limit(30), Bench::runs()).unwrap();
    let scored = Results::read(&path).unwrap();
    bench.prompt = PromptSettings::generative();
    let other = folder.path().join("generated.jsonl");
    bench.run(&other, &limit(6), vec![policy_run(Off)]).unwrap();
    let report = EvalReport::new(&[scored.clone(), Results::read(&other).unwrap()]);

    assert_eq!(report.tables.len(), 2);
    let table = &report.tables[0];
    assert_eq!(table.settings.prompt.protocol, Protocol::LmEval);
    let [full, skipped] = &table.rows[..] else {
        panic!("two variants");
    };
    assert_eq!((full.overall.n, skipped.overall.n), (30, 30));
    let n_right = scored
        .of(&table.settings)
        .filter(|record| record.is_right())
        .count();
    assert_eq!(full.overall.n_right, n_right);
    assert!((full.overall.accuracy - 100.0 * n_right as f64 / 30.0).abs() < 1e-9);
    let by_subject: usize = full.subjects.values().map(|score| score.n).sum();
    assert_eq!(by_subject, 30);
    // The full model is not gated; the other flags some layers and runs all.
    assert_eq!(
        (full.overall.usage_prompt, full.overall.executed_prompt),
        (None, Some(12.0))
    );
    let usage = skipped.overall.usage_prompt.unwrap();
    assert!(usage > 20.0 && usage < 60.0, "{usage}");
    let mean = skipped.layers.prompt.iter().sum::<f64>() / 12.0;
    assert!((usage - mean).abs() < 1e-9);
    let against = skipped.against_full.as_ref().unwrap();
    assert_eq!(against.n, 30);
    assert!(
        (against.difference() * 100.0 - (skipped.overall.accuracy - full.overall.accuracy)).abs()
            < 1e-9
    );

    let markdown = render(&report, ReportFormat::Markdown, SubjectTables::Apart).unwrap();
    for part in [
        "| off | 30 of 400 |",
        "last-active, α 0.4",
        "protocol generative",
        "| pets |",
        "p (McNemar)",
    ] {
        assert!(markdown.contains(part), "{part:?} is not in:\n{markdown}");
    }
    let json: serde_json::Value = serde_json::from_str(
        &render(&report, ReportFormat::Json, SubjectTables::Together).unwrap(),
    )
    .unwrap();
    assert_eq!(json["tables"][0]["rows"][0]["overall"]["n_right"], n_right);
    let text = render(&report, ReportFormat::Csv, SubjectTables::Together).unwrap();
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let all = rows.iter().filter(|row| &row[6] == "all").count();
    assert_eq!(all, 3);
    assert!(rows.len() > 10);
}

/// A user's policy, whatever it calls itself.
struct Named {
    name: &'static str,
    gate: Option<GateConfig>,
    /// Every layer from this one on is skipped.
    first_skipped: usize,
}

impl LayerPolicy for Named {
    fn name(&self) -> &str {
        self.name
    }

    fn gate_config(&self) -> Option<GateConfig> {
        self.gate
    }

    fn effect(&self) -> PolicyEffect {
        match self.first_skipped {
            usize::MAX => PolicyEffect::FullModel,
            _ => PolicyEffect::ChangedStates,
        }
    }

    fn is_per_token(&self) -> bool {
        true
    }

    fn before(&mut self, layer_idx: usize, _: &Tensor<3>) -> Result<Decision, BoxError> {
        if layer_idx < self.first_skipped {
            Ok(Decision::Run)
        } else {
            Ok(Decision::Skip)
        }
    }
}

/// What a policy does decides whether its results are the full model's, and not what it is called.
#[test]
fn a_policys_name_does_not_make_it_the_full_model() {
    let bench = Bench::new();
    let skips = |name, first_skipped| {
        policy_run(Named {
            name,
            gate: None,
            first_skipped,
        })
    };
    for name in ["trace", "off"] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("results.jsonl");
        let runs = || vec![policy_run(Off), skips(name, 3), skips("watch", usize::MAX)];
        bench.run(&path, &limit(10), runs()).unwrap();
        let results = Results::read(&path).unwrap();
        let is_full = results.settings.iter().map(|it| it.policy.is_full_model());
        assert_eq!(is_full.collect::<Vec<_>>(), [true, false, true], "{name}");

        let report = EvalReport::new(std::slice::from_ref(&results));
        let [table] = &report.tables[..] else {
            panic!("one table");
        };
        let against: Vec<(&str, bool)> = table
            .rows
            .iter()
            .map(|row| (&*row.policy, row.against_full.is_some()))
            .collect();
        assert_eq!(against, [("off", false), ("watch", false), (name, true)]);
        // What is read is what was written.
        assert_eq!(
            results.settings,
            settings(&bench.data, &bench.prompt, &runs())
        );
    }
}

/// Files from before there was an effect among the settings: the name says it.
#[test]
fn policies_of_older_files_are_known_by_their_names() {
    for (name, is_full) in [
        ("off", true),
        ("trace", true),
        ("last-active", false),
        ("mine", false),
    ] {
        let written = format!(r#"{{"policy":"{name}","rounding":"f32"}}"#);
        let read: PolicySettings = serde_json::from_str(&written).unwrap();
        assert_eq!(read.is_full_model(), is_full, "{name}");
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
    }
    // The built-in policies are what their names say: nothing is written of it.
    let gate = GateConfig::new(0.5);
    for run in [
        policy_run(Off),
        policy_run(Trace::new(gate)),
        policy_run(LastActive::new(gate)),
        policy_run(Bypass::new(gate)),
        policy_run(Halt::new(gate)),
        PolicyRun::traced(&[0.5]),
        PolicyRun::last_active(&[0.5]),
    ] {
        let written = serde_json::to_value(&run.variants()[0]).unwrap();
        assert_eq!(written.get("effect"), None, "{written}");
    }
}

fn written() -> (Vec<u8>, Vec<Settings>) {
    use std::sync::OnceLock;
    static WRITTEN: OnceLock<(Vec<u8>, Vec<Settings>)> = OnceLock::new();
    WRITTEN
        .get_or_init(|| {
            let bench = Bench::new();
            let folder = TempDir::new().unwrap();
            let path = folder.path().join("results.jsonl");
            bench.run(&path, &limit(6), Bench::runs()).unwrap();
            (std::fs::read(path).unwrap(), bench.settings())
        })
        .clone()
}

proptest! {
    // Every case forces a file to the disk.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A file cut anywhere is taken up again: whole lines are kept, a torn one is taken off.
    #[test]
    fn a_file_torn_anywhere_goes_on(share in 0.0..1.0f64) {
        let (bytes, settings) = written();
        let cut = (share * bytes.len() as f64) as usize;
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("results.jsonl");
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let log = ResultLog::open(&path, settings).unwrap();
        let n_lines = bytes[..cut].iter().filter(|&&byte| byte == b'\n').count();
        prop_assert_eq!(log.results().records.len(), n_lines.saturating_sub(2));
        drop(log);
        let after = std::fs::read(&path).unwrap();
        let n_kept = n_lines.max(2);
        prop_assert_eq!(after.iter().filter(|&&byte| byte == b'\n').count(), n_kept);
        prop_assert!(bytes.starts_with(&after));
    }
}
