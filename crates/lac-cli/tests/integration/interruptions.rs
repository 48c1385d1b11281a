//! Ctrl-C and `kill -9`: what is left, and how it goes on.

use std::time::Duration;

use serde_json::Value;

use crate::eval::{n_lines, records, same};
use crate::stdout;
use crate::support::{Lac, Place};

const EVAL: [&str; 4] = ["--limit", "40", "--batch-size", "1"];

#[test]
fn an_interrupted_evaluation_goes_on() {
    let place = Place::new();
    let (whole, stopped) = (
        place.eval("whole.jsonl", &EVAL),
        place.eval("stopped.jsonl", &EVAL),
    );
    Lac::start(&whole).end().check(0, &[]);
    let mut run = Lac::start(&stopped);
    run.wait_until_running();
    let path = place.path("stopped.jsonl");
    run.wait_until("results", || n_lines(&path) > 4);
    run.signal("-INT");
    let ended = run.end();
    ended.check(
        130,
        &[
            "stopping after the batch under way",
            "stopped.jsonl holds",
            "the same command goes on",
        ],
    );
    assert!(ended.stdout.is_empty(), "no table of half a run");
    let n_before = n_lines(&path);
    assert!((5..41).contains(&n_before), "{n_before}");
    Lac::start(&stopped).end().check(0, &[]);
    same(&path, &place.path("whole.jsonl"));
}

/// Drafters learn from one question for the next; what a new process has not learned changes no answer. Greedy answers and
/// drawn ones, in batches, interrupted and killed.
#[test]
fn an_evaluation_by_drafts_goes_on() {
    let place = Place::new();
    for (protocol, more) in [
        ("generative", &["--draft", "ngram,quantized"][..]),
        ("paper", &["--draft", "ngram,plan", "--seed", "5"]),
    ] {
        let options = ["--limit", "30", "--batch-size", "2", "--protocol", protocol];
        let options = [&options[..], &["--policy", "speculative"], more].concat();
        let names = [
            format!("{protocol}.jsonl"),
            format!("{protocol}-stopped.jsonl"),
        ];
        let [whole, stopped] = names.clone().map(|name| place.eval(&name, &options));
        let [whole_path, stopped_path] = names.map(|name| place.path(&name));
        Lac::start(&whole).end().check(0, &[]);
        let begun = |n: usize| {
            let mut run = Lac::start(&stopped);
            run.wait_until_running();
            run.wait_until("results", || n_lines(&stopped_path) > n);
            run
        };
        let run = begun(4);
        run.signal("-INT");
        run.end().check(130, &["the same command goes on"]);
        begun(n_lines(&stopped_path) + 2).kill();
        let n_before = n_lines(&stopped_path);
        assert!((8..31).contains(&n_before), "{n_before}");
        Lac::start(&stopped).end().check(0, &[]);
        let (resumed, whole) = (records(&stopped_path), records(&whole_path));
        assert!(resumed.keys().eq(whole.keys()));
        for (resumed, whole) in resumed.values().zip(whole.values()) {
            assert!(whole["text"].is_string(), "{whole}");
            for name in ["row", "answer", "predicted", "order", "text"] {
                assert_eq!(resumed[name], whole[name], "{name}");
            }
        }
    }
}

#[test]
fn a_second_interruption_ends_at_once() {
    let place = Place::new();
    // One batch that takes long.
    let mut run = Lac::start(&place.eval("log.jsonl", &["--batch-size", "400"]));
    run.wait_until_running();
    run.signal("-INT");
    run.wait_for_stderr("Ctrl-C again ends at once");
    run.signal("-INT");
    let ended = run.end();
    ended.check(130, &[]);
    assert_eq!(
        n_lines(&place.path("log.jsonl")),
        1,
        "the batch was not finished"
    );
}

/// What a trace of many prompts holds, whatever parts it was made of.
fn csv(place: &Place, trace: &str) -> String {
    let out = place.text("trace.csv");
    stdout(&["export", &place.text(trace), "--out", &out]);
    std::fs::read_to_string(out).unwrap()
}

#[test]
fn an_interrupted_trace_goes_on_after_any_end() {
    let place = Place::new();
    let (model, prompts) = (place.text("model"), place.prompts(80));
    let trace = |out: &str, more: &[&str]| {
        let out = place.text(out);
        let args = [
            "trace",
            "--model",
            &model,
            "--prompts",
            &prompts,
            "--out",
            &out,
        ];
        let args = args
            .into_iter()
            .chain(["--batch", "2", "--temperature", "0.8"]);
        let args = args
            .chain(["--max-new-tokens", "12"])
            .chain(more.iter().copied());
        args.map(String::from).collect::<Vec<String>>()
    };
    Lac::start(&trace("whole.parquet", &[])).end().check(0, &[]);
    let args = trace("stopped.parquet", &[]);
    let mut run = Lac::start(&args);
    run.wait_until_running();
    std::thread::sleep(Duration::from_millis(300));
    run.signal("-INT");
    run.end().check(
        130,
        &["stopped.parquet.parts holds", "the same command goes on"],
    );
    // The same file for something else.
    let ended = Lac::start(&trace("stopped.parquet", &["--seed", "7"])).end();
    ended.check(
        1,
        &["interrupted run of other settings", "seed: 0 there, 7 now"],
    );
    let mut run = Lac::start(&args);
    run.wait_until_running();
    // While somebody writes, nobody else does.
    let ended = Lac::start(&args).end();
    ended.check(1, &["stopped.parquet", "being written by another process"]);
    if ended.stderr.contains("id is") {
        ended.check(1, &[&format!("id is {}", run.id())]);
    }
    run.kill();
    let ended = Lac::start(&args).end();
    ended.check(0, &["going on after", "of 80 prompts"]);
    assert!(
        ended.stdout.contains("tokens of 80 sequences"),
        "{}",
        ended.stdout
    );
    assert_eq!(csv(&place, "stopped.parquet"), csv(&place, "whole.parquet"));
    assert!(!place.path("stopped.parquet.parts").exists());
}

/// A model of random weights that knows no token to end with.
fn endless(command: &str, extra: &[&str]) -> (tempfile::TempDir, Vec<String>) {
    let folder = crate::chat_model();
    let config = folder.path().join("tokenizer_config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let mut fields: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(fields["eos_token"], "<|im_end|>");
    fields["eos_token"] = Value::Null;
    // The template ends an answer with a token, and that token would end a text.
    let template = fields.as_object_mut().unwrap().remove("chat_template");
    assert!(template.is_some());
    std::fs::write(&config, fields.to_string()).unwrap();
    let model = folder.path().display().to_string();
    let args = [
        command,
        "--model",
        &model,
        "--dummy-weights",
        "--prompt",
        "Hello",
    ];
    let args = args
        .iter()
        .chain(extra)
        .map(|&arg| arg.to_owned())
        .collect();
    (folder, args)
}

#[test]
fn texts_end_with_the_token_under_way() {
    let long = ["--max-new-tokens", "20000", "--temperature", "2"];
    let (_folder, mut args) = endless("generate", &long);
    args.push("--json".to_owned());
    let mut run = Lac::start(&args);
    run.wait_until_running();
    std::thread::sleep(Duration::from_millis(200));
    run.signal("-INT");
    let ended = run.end();
    ended.check(130, &["the text ends after", "interrupted"]);
    let json: Value = serde_json::from_str(&ended.stdout).unwrap();
    let n_ids = json["ids"].as_array().unwrap().len();
    assert!((1..20_000).contains(&n_ids), "{n_ids}");

    let place = Place::new();
    let out = place.text("trace.parquet");
    let (_folder, mut args) = endless("trace", &long);
    args.extend(["--out".to_owned(), out.clone()]);
    let mut run = Lac::start(&args);
    run.wait_until_running();
    std::thread::sleep(Duration::from_millis(200));
    run.signal("-INT");
    run.end()
        .check(130, &["trace.parquet.parts holds the tokens so far"]);
    let parts = format!("{out}.parts");
    assert!(stdout(&["report", &parts]).contains("prompt: "));
    Lac::start(&args)
        .end()
        .check(1, &["holds what an interrupted run had recorded"]);
}

#[test]
fn what_makes_no_file_on_the_way_says_so() {
    let place = Place::new();
    let (model, prompts) = (place.text("model"), place.prompts(60));
    std::fs::write(place.path("plan.json"), "older").unwrap();
    let plan = place.text("plan.json");
    let cases: [(&[&str], &str, &str); 3] = [
        (
            &[
                "plan",
                "--model",
                &model,
                "--prompts",
                &prompts,
                "--out",
                &plan,
            ],
            "a plan that was there is as it was",
            "",
        ),
        (
            &["verify", "--model", &model, "--prompts", &prompts],
            "of 60 prompts were verified",
            "prompts are equal",
        ),
        (
            &[
                "bench",
                "--model",
                &model,
                "--repeats",
                "1000",
                "--prompt-tokens",
                "8",
            ],
            "nothing is reported",
            "",
        ),
    ];
    for (args, said, printed) in cases {
        let mut run = Lac::start(args);
        run.wait_until_running();
        run.signal("-INT");
        let ended = run.end();
        ended.check(130, &["stopping after", said]);
        assert!(ended.stdout.contains(printed), "{args:?}: {}", ended.stdout);
        assert!(!printed.is_empty() || ended.stdout.is_empty(), "{args:?}");
    }
    assert_eq!(std::fs::read_to_string(&plan).unwrap(), "older");
}

/// Killed at moments spread over their run, writers of whole files leave the old one or the new one.
#[test]
fn a_killed_writer_leaves_a_whole_file() {
    let place = Place::new();
    let model = place.text("model");
    let (trace, log) = (place.text("trace.parquet"), place.text("log.jsonl"));
    let prompt = ["--prompt", "Tell me about Kodo."];
    let record = ["trace", "--model", &model, "--max-new-tokens", "60"];
    stdout(&[&record[..], &prompt, &["--out", &trace]].concat());
    Lac::start(&place.eval("log.jsonl", &["--limit", "12"]))
        .end()
        .check(0, &[]);
    let writers: [(Vec<&str>, &str, &str); 6] = [
        ([&record[..], &prompt, &["--json"]].concat(), "t.json", ""),
        (
            [&["plan", "--model", &model], &prompt[..], &["--out"]].concat(),
            "p.json",
            "",
        ),
        (vec!["export", &trace, "--out"], "t.csv", ""),
        (vec!["export", &trace, "--out"], "t.parquet", ""),
        (vec!["eval", "merge", &log, "--out"], "m.jsonl", ""),
        (vec!["report", &trace, "--out"], "report", "/report.html"),
    ];
    for (args, out, below) in writers {
        let file = place.text(&format!("{out}{below}"));
        let out = place.text(out);
        let args = [&args[..], &[&out]].concat();
        let begun = std::time::Instant::now();
        Lac::start(&args).end().check(0, &[]);
        let took = begun.elapsed();
        let new = std::fs::read(&file).unwrap();
        for moment in 2..=5 {
            std::fs::write(&file, "older").unwrap();
            let run = Lac::start(&args);
            std::thread::sleep(took.mul_f64(f64::from(moment) / 5.0));
            run.kill();
            let left = std::fs::read(&file).unwrap();
            assert!(
                left == b"older" || left == new,
                "{args:?}: {} bytes",
                left.len()
            );
        }
        // What a killed one left hinders nobody.
        Lac::start(&args).end().check(0, &[]);
        assert_eq!(std::fs::read(&file).unwrap(), new, "{args:?}");
    }
}
