//! `lac eval` from outside: killed, parted, joined, compared, refused.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::{check_failure, json, lac, numbers, stdout};

const BASE: [&str; 7] = [
    "eval",
    "--model",
    "demo",
    "--data",
    "demo",
    "--benchmark",
    "mmlu",
];

fn with<'a>(extra: &[&'a str]) -> Vec<&'a str> {
    [&BASE[..], extra].concat()
}

pub type Records = BTreeMap<(String, String), Value>;

/// The records of a file by question and settings.
pub fn records(path: &Path) -> Records {
    let text = std::fs::read_to_string(path).unwrap();
    let mut records = Records::new();
    for line in text.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        if record.get("item").is_none() {
            continue;
        }
        let part = |name: &str| record[name].as_str().unwrap().to_owned();
        let key = (part("item"), part("settings"));
        let before = records.insert(key, record);
        assert!(before.is_none(), "a question was answered twice");
    }
    records
}

/// The same questions, choices and numbers; other batches sum in another order.
pub fn same(a: &Path, b: &Path) {
    let (a, b) = (records(a), records(b));
    assert!(a.keys().eq(b.keys()), "{} and {} records", a.len(), b.len());
    for (a, b) in a.values().zip(b.values()) {
        for name in ["row", "answer", "predicted", "order"] {
            assert_eq!(a[name], b[name], "{name} of {a} and {b}");
        }
        for (x, y) in numbers(&a["log_likelihoods"])
            .iter()
            .zip(numbers(&b["log_likelihoods"]))
        {
            assert!((x - y).abs() < 1e-3, "{a} and {b}");
        }
    }
}

pub fn n_lines(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| {
        bytes.iter().filter(|&&byte| byte == b'\n').count()
    })
}

#[test]
fn a_run_that_is_killed_anywhere_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let whole = folder.path().join("whole.jsonl");
    let killed = folder.path().join("killed.jsonl");
    let run = |path: &Path| -> Vec<String> {
        let path = path.display().to_string();
        let args = [
            "--limit",
            "24",
            "--batch-size",
            "2",
            "--policy",
            "last-active",
        ];
        let args = with(&args)
            .into_iter()
            .chain(["--alphas", "0.3,0.6", "--out", &path]);
        args.map(String::from).collect()
    };
    let start = |path: &Path| {
        Command::new(env!("CARGO_BIN_EXE_lac"))
            .args(run(path))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    assert!(start(&whole).wait().unwrap().success());

    // SIGKILL: nothing can be tidied up. The first comes before there is a file.
    for n_wanted in [0, 3, 4, 21, 38] {
        let mut child = start(&killed);
        let begun = Instant::now();
        while n_lines(&killed) < n_wanted && child.try_wait().unwrap().is_none() {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "nothing is written"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(n_lines(&killed) >= n_wanted, "what was written stays");
    }
    assert!(
        n_lines(&killed) < n_lines(&whole),
        "the run was never through"
    );
    assert!(start(&killed).wait().unwrap().success());
    same(&killed, &whole);
    assert_eq!(records(&whole).len(), 48);
}

#[test]
fn shards_are_joined_and_compared() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let variants = [
        "--limit",
        "12",
        "--policy",
        "last-active",
        "--alpha",
        "0.8",
        "--with-full",
    ];
    let whole = path("whole.jsonl");
    let table = stdout(&with(&[&variants[..], &["--out", &whole]].concat()));
    assert!(table.contains("| off | 12 of 400 |"), "{table}");
    let parts = [path("part0.jsonl"), path("part1.jsonl")];
    for (part, shard) in parts.iter().zip(["0/2", "1/2"]) {
        stdout(&with(
            &[&variants[..], &["--out", part, "--shard", shard]].concat(),
        ));
    }
    let merged = path("merged.jsonl");
    stdout(&["eval", "merge", &parts[0], &parts[1], "--out", &merged]);
    same(merged.as_ref(), whole.as_ref());

    let report = json(&["eval", "report", &merged, "--format", "json"]);
    let rows = report["tables"][0]["rows"].as_array().unwrap();
    assert_eq!(
        (&rows[0]["label"], &rows[0]["overall"]["n"]),
        (&"off".into(), &12.into())
    );
    let compared = json(&[
        "eval",
        "compare",
        &merged,
        &whole,
        "--first",
        "off",
        "--second",
        "last-active, α 0.8",
        "--json",
    ]);
    assert_eq!(compared["n"], 12);
    assert_eq!(
        compared["difference"],
        rows[1]["against_full"]["second"].as_f64().unwrap()
            - rows[1]["against_full"]["first"].as_f64().unwrap()
    );
    check_failure(
        &["eval", "compare", &merged, &whole],
        1,
        &["--first", "\"off\", \"last-active, α 0.8\""],
    );

    // The same file, other settings: refused, and nothing is changed.
    let before = std::fs::read(&whole).unwrap();
    let mut other = variants;
    other[5] = "0.4";
    let args = with(&[&other[..], &["--out", &whole]].concat());
    let output = lac(&args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr.contains("skipping.alpha: 0.8 in the file, 0.4 now"),
        "{stderr}"
    );
    assert_eq!(std::fs::read(&whole).unwrap(), before);

    // A file that another process writes to.
    let held = std::fs::OpenOptions::new()
        .append(true)
        .open(&whole)
        .unwrap();
    held.try_lock().unwrap();
    let args = with(&[&variants[..], &["--out", &whole]].concat());
    let stderr = String::from_utf8(lac(&args).stderr).unwrap();
    assert!(
        stderr.contains("being written by another process"),
        "{stderr}"
    );
}

/// The authors of GPQA ask that its questions appear nowhere in plain text.
#[test]
fn results_of_gpqa_hold_no_text_unless_asked() {
    let folder = TempDir::new().unwrap();
    let run = |name: &str, extra: &[&str]| {
        let path = folder.path().join(name).display().to_string();
        let base = [
            "eval",
            "--model",
            "demo",
            "--data",
            "demo",
            "--benchmark",
            "gpqa",
        ];
        let args = ["--protocol", "generative", "--limit", "3", "--out", &path];
        stdout(&[&base[..], &args, extra].concat());
        let records = records(path.as_ref());
        records.into_values().collect::<Vec<_>>()
    };
    for record in run("default.jsonl", &[]) {
        assert!(
            record.get("text").is_none() && record.get("prompt").is_none(),
            "{record}"
        );
        let mut order: Vec<u64> = serde_json::from_value(record["order"].clone()).unwrap();
        let answer = record["answer"].as_u64().unwrap() as usize;
        assert_eq!(order[answer], 0, "the file names the right answer first");
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2, 3]);
    }
    for record in run("asked.jsonl", &["--store-texts", "prompts-and-answers"]) {
        assert!(
            record["prompt"].as_str().unwrap().contains("Answer:"),
            "{record}"
        );
        assert!(record["text"].is_string(), "{record}");
    }
}

#[test]
fn mistakes_are_named() {
    check_failure(&["eval", "--model", "demo"], 2, &["--data", "--benchmark"]);
    let check = |extra: &[&str], code, part: &str| {
        let output = lac(&with(extra));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{extra:?}: {stderr}");
        assert!(stderr.contains(part), "{part:?} is not in: {stderr}");
    };
    check(&["--shard", "4/4"], 2, "expected I/N");
    check(&["--quirk", "typo"], 2, "correct-is-d");
    check(&["--quirk", "double-bos"], 1, "outside the protocol paper");
    check(&["--few-shot", "6"], 1, "at most 5");
    check(&["--subjects", "physics"], 1, "one of addition, categories");
    check(
        &["--protocol", "generative", "--few-shot", "1"],
        1,
        "belong to --protocol lm-eval",
    );
    check(&["--alphas", "0.1,0.2"], 1, "--policy trace");
    check(
        &["--alphas", "0.1,-0.2", "--policy", "trace"],
        1,
        "not negative",
    );
    check(&["--harness-task", "boolq"], 1, "a task of mmlu");
    check(&["--batch-size", "0"], 1, "at least 1");
    check(
        &[
            "--protocol",
            "paper",
            "--quirk",
            "padding-attended",
            "--policy",
            "speculative",
            "--limit",
            "2",
        ],
        1,
        "no quirk that depends on them",
    );
    let prompt = stdout(&with(&["--show-prompt", "--limit", "1"]));
    assert!(
        prompt.contains("The following are multiple choice questions"),
        "{prompt}"
    );
    assert!(
        prompt.contains(" tokens: ") && prompt.contains("option:"),
        "{prompt}"
    );
}

#[test]
fn planned_and_speculative_are_chosen_like_every_policy() {
    let folder = TempDir::new().unwrap();
    let plan = folder.path().join("plan.json").display().to_string();
    let prompts = ["Tell me about Modo.", "What is the pet of Mina?"];
    stdout(&[
        "plan",
        "--model",
        "demo",
        "--alpha",
        "0.4",
        "--prompt",
        prompts[0],
        "--prompt",
        prompts[1],
        "--keep-layers",
        "8",
        "--max-new-tokens",
        "8",
        "--out",
        &plan,
    ]);
    let run = |file: &str, options: &[&str]| {
        let path = folder.path().join(file);
        let out = path.display().to_string();
        let args = ["--protocol", "generative", "--limit", "12", "--with-full"];
        let report = json(&with(
            &[&args[..], options, &["--out", &out, "--format", "json"]].concat(),
        ));
        (records(&path), report["tables"][0]["rows"].clone())
    };

    let planned = ["--policy", "planned", "--plan", &plan];
    let (_, rows) = run("planned.jsonl", &planned);
    assert_eq!(rows[0]["overall"]["executed_prompt"], 12.0);
    assert_eq!(rows[1]["overall"]["executed_prompt"], 8.0);

    let drafting = ["--fixed-draft", "--draft-tokens", "2"];
    for plan in [&[][..], &["--plan", &plan]] {
        let options = [&["--policy", "speculative"], &drafting[..], plan].concat();
        let (records, rows) = run(&format!("speculative{}.jsonl", plan.len()), &options);
        assert_eq!(records.len(), 24);
        let mut texts: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for ((item, _), record) in &records {
            let both = [&record["predicted"], &record["text"]];
            texts.entry(item).or_default().extend(both);
        }
        for (item, texts) in texts {
            assert_eq!(texts[..2], texts[2..], "{item}");
        }
        let (full, row) = (&rows[0], &rows[1]);
        assert_eq!(
            (&full["policy"], &full["drafts"]),
            (&"off".into(), &Value::Null)
        );
        assert_eq!(row["policy"], "speculative");
        assert_eq!(row["against_full"]["agreement"], 1.0);
        let drafts = |name: &str| row["drafts"][name].as_u64().unwrap();
        assert!(drafts("drafted") >= drafts("accepted"));
        assert!(drafts("tokens") >= 12);
        // The same file goes on with nothing left to ask; another draft length changes no greedy text.
        let (again, _) = run(
            &format!("speculative{}.jsonl", plan.len()),
            &options[..2].iter().chain(plan).copied().collect::<Vec<_>>(),
        );
        assert_eq!(again, records);
    }

    // What is drawn depends on the question and the seed, not on the questions before it.
    let drawn = |file: &str, batch_size: &str| {
        let path = folder.path().join(file);
        let out = path.display().to_string();
        let args = ["--protocol", "paper", "--limit", "8", "--seed", "3"];
        let speculative = ["--policy", "speculative", "--plan", &plan];
        let run = ["--batch-size", batch_size, "--out", &out];
        stdout(&with(&[&args[..], &speculative, &drafting, &run].concat()));
        let texts = records(&path).into_iter();
        let texts = texts.map(|((item, _), record)| (item, record["text"].clone()));
        texts.collect::<Vec<_>>()
    };
    assert_eq!(drawn("drawn1.jsonl", "1"), drawn("drawn8.jsonl", "8"));

    for (options, reason) in [
        (&[][..], "--protocol paper or generative"),
        (
            &["--protocol", "generative", "--alphas", "0.2,0.4"],
            "--alphas",
        ),
    ] {
        let speculative = [&["--policy", "speculative"], options].concat();
        check_failure(&with(&speculative), 1, &[reason]);
    }
}
