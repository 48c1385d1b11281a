//! Files that users name by mistake: found before anything is computed, and nothing is lost.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{chat_model, check_failure, lac, stdout};

const MESSAGES: &str = "[{\"role\": \"user\", \"content\": \"Hi\"}]";

/// A folder with an empty folder, a file and a model without weights in it: a command that computes first says that
/// the weights are missing.
struct Place {
    folder: TempDir,
    model: TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("folder")).unwrap();
        fs::write(folder.path().join("file"), "x").unwrap();
        let model = chat_model();
        Self { folder, model }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn model(&self) -> String {
        self.model.path().display().to_string()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

/// Files of a short trace and of results of the embedded model.
fn written(place: &Place) -> (String, String) {
    let (trace, log) = (place.path("t.parquet"), place.path("log.jsonl"));
    let short = ["--model", "demo", "--prompt", "Hi", "--max-new-tokens", "2"];
    stdout(&[&["trace"], &short[..], &["--out", &trace]].concat());
    let eval = ["eval", "--model", "demo", "--benchmark", "mmlu"];
    let data = ["--data", "demo", "--limit", "2", "--out", &log];
    stdout(&[&eval[..], &data].concat());
    (trace, log)
}

#[test]
fn a_file_that_cannot_be_written_is_named_before_anything_is_computed() {
    let place = Place::new();
    let model = place.model();
    let prompt = ["--model", &model, "--prompt", "Hi"];
    let data = ["--model", &model, "--data", "demo", "--benchmark", "mmlu"];
    for (command, base, flag) in [
        ("trace", &prompt[..], "--json"),
        ("trace", &prompt, "--out"),
        ("plan", &prompt, "--out"),
        ("eval", &data, "--out"),
    ] {
        for (name, reason) in [
            ("missing/below/x.json", "there is no folder"),
            ("missing/x.json", "there is no folder"),
            ("file/x.json", "is not a folder"),
            ("folder", "it is a folder"),
            ("folder/", "it is a folder"),
        ] {
            let path = place.path(name);
            let args = [&[command], base, &[flag, &path]].concat();
            check_failure(&args, 1, &["cannot write", &path, reason]);
        }
    }
    let left = fs::read_dir(place.folder.path()).unwrap().count();
    assert_eq!(left, 2, "the folder and the file");
    assert_eq!(fs::read(place.path("file")).unwrap(), b"x");
}

#[test]
fn stdout_is_refused_where_it_cannot_be_meant() {
    let place = Place::new();
    let (trace, log) = written(&place);
    let model = place.model();
    let data = ["--model", &model, "--data", "demo", "--benchmark", "mmlu"];
    for args in [
        &["trace", "--model", &model, "--prompt", "Hi"][..],
        &[&["eval"], &data[..]].concat(),
        &["eval", "merge", &log],
        &["report", &trace],
        &["export", &trace],
    ] {
        check_failure(&[args, &["--out", "-"]].concat(), 1, &["--out -"]);
    }
    assert!(!fs::exists("-").unwrap());
    let report = ["eval", "report", &log];
    let printed = stdout(&report);
    assert!(printed.contains("mmlu"), "{printed}");
    assert_eq!(stdout(&[&report[..], &["--out", "-"]].concat()), printed);
    check_failure(
        &["report", &trace, "--out", &place.path("file")],
        1,
        &["file is a file: a report is a folder"],
    );
}

#[test]
fn a_file_that_is_read_is_not_written() {
    let place = Place::new();
    let (trace, log) = written(&place);
    let model = place.model();
    let prompts = place.write("p.txt", b"Hi\n");
    let messages = place.write("m.json", MESSAGES.as_bytes());
    let csv = place.path("t.csv");
    fs::copy(&trace, &csv).unwrap();
    let plan = place.write("plan.json", b"{}");
    let samples = place.write("s.jsonl", b"{\"doc\": 1}\n");
    let base = ["--model", &model];
    // Another spelling of the same place.
    let again = place.path("folder/../p.txt");
    for (args, flag, path) in [
        (&["trace", "--prompts", &prompts][..], "--out", &prompts),
        (&["trace", "--prompts", &prompts], "--out", &again),
        (&["trace", "--messages", &messages], "--json", &messages),
        (&["trace", "--messages", &messages], "--out", &messages),
        (
            &["trace", "--prompt", "a", "--plan", &plan],
            "--json",
            &plan,
        ),
        (&["trace", "--prompt", "a", "--out", &csv], "--json", &csv),
        (&["plan", "--prompts", &prompts], "--out", &prompts),
        (
            &["eval", "--benchmark", "samples", "--data", &samples],
            "--out",
            &samples,
        ),
    ] {
        let args = [args, &base, &[flag, path]].concat();
        check_failure(&args, 1, &[flag, path, "which would be lost"]);
    }
    for (args, path) in [
        (&["export", &trace][..], &trace),
        (&["export", &csv], &csv),
        (&["eval", "report", &log], &log),
    ] {
        let before = fs::read(path).unwrap();
        let args = [args, &["--out", path]].concat();
        check_failure(&args, 1, &[path, "which would be lost"]);
        assert_eq!(fs::read(path).unwrap(), before);
    }
    assert_eq!(fs::read(&prompts).unwrap(), b"Hi\n");
    assert_eq!(fs::read(&messages).unwrap(), MESSAGES.as_bytes());
}

#[test]
fn only_a_file_of_results_is_continued() {
    let place = Place::new();
    let model = place.model();
    let eval = [
        "eval",
        "--model",
        &model,
        "--data",
        "demo",
        "--benchmark",
        "mmlu",
    ];
    for bytes in [
        &b"x"[..],
        b"null",
        b"{}",
        b"[]",
        b"{\"setting",
        b"\xff\xfe\0\x01",
        b"\xef\xbb\xbf",
        b"a note\n",
        b"{}\n{\"settings\":",
    ] {
        let path = place.write("notes.jsonl", bytes);
        // A beginning of settings, torn after some bytes, is this program's own.
        let is_torn = b"{\"settings\":".starts_with(bytes);
        if !is_torn {
            check_failure(
                &[&eval[..], &["--out", &path]].concat(),
                1,
                &["notes.jsonl"],
            );
            check_failure(&["eval", "report", &path], 1, &["notes.jsonl"]);
        }
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    for bytes in [&b""[..], b"\n", b"{\"settings\":{\"bench"] {
        let path = place.write("empty.jsonl", bytes);
        let out = place.path("merged.jsonl");
        for args in [
            &["eval", "report", &path][..],
            &["eval", "merge", &path, "--out", &out],
            &["eval", "compare", &path, &path],
        ] {
            check_failure(args, 1, &["empty.jsonl holds no results"]);
        }
        assert!(!fs::exists(&out).unwrap());
    }
    if cfg!(target_os = "linux") {
        for device in ["/dev/full", "/dev/null", "/dev/zero"] {
            let args = [&["eval", "--model", "demo"], &eval[3..], &["--limit", "1"]].concat();
            check_failure(
                &[&args[..], &["--out", device]].concat(),
                1,
                &[device, "a device or a pipe"],
            );
        }
    }
}

#[test]
fn json_has_stdout_to_itself() {
    let place = Place::new();
    let out = place.path("t.parquet");
    let short = ["--model", "demo", "--prompt", "Hi", "--max-new-tokens", "2"];
    let output = lac(&[&["trace"], &short[..], &["--json", "-", "--out", &out]].concat());
    assert!(output.status.success());
    let trace: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(trace["layers"], 12);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("tokens of 1 sequence"), "{stderr}");
    assert!(fs::exists(&out).unwrap());
}

/// The reader has gone before the first byte.
#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let place = Place::new();
    let (trace, log) = written(&place);
    let short = ["--model", "demo", "--prompt", "Hi", "--max-new-tokens", "2"];
    let bench = [
        "--prompt-tokens",
        "4",
        "--new-tokens",
        "2",
        "--repeats",
        "1",
    ];
    let model = ["--model", "demo"];
    for args in [
        &[&["inspect"], &model[..]].concat()[..],
        &[&["inspect", "--json"], &model[..]].concat(),
        &["tokenize", "--model", "demo", "--prompt", "Hi"],
        &[&["generate"], &short[..]].concat(),
        &[&["generate", "--json"], &short[..]].concat(),
        &[&["trace"], &short[..]].concat(),
        &[&["trace", "--json", "-"], &short[..]].concat(),
        &[&["plan", "--out", "-"], &short[..]].concat(),
        &[&["verify"], &short[..]].concat(),
        &["report", &trace],
        &["eval", "report", &log],
        &[&["bench"], &model[..], &bench].concat(),
        &["devices"],
        &["--help"],
        &["--version"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lac"));
        let command = command.args(args).stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{args:?}: {stderr}");
        assert!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    }
}
