//! Full disks, read-only folders, second writers, other models, too little memory.

use std::path::Path;

use crate::eval::records;
use crate::support::{Lac, Place};
use crate::{lac, stdout};

const PROMPT: [&str; 2] = ["--prompt", "Tell me about Kodo."];

/// Every command that writes a file, with what it is told before the file's path.
fn writers(place: &Place) -> Vec<(&'static str, Vec<String>)> {
    let (model, trace, log) = (
        place.text("model"),
        place.text("trace.parquet"),
        place.text("log.jsonl"),
    );
    let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
    let short = ["--max-new-tokens", "20"];
    let of_model = |command: &str, more: &[&str]| {
        words(&[&[command, "--model", &model], &PROMPT[..], &short, more].concat())
    };
    let mut eval = place.eval("unused", &["--limit", "12"]);
    eval.retain(|word| word != "--out" && !word.ends_with("unused"));
    eval.push("--out".to_owned());
    vec![
        ("new.jsonl", eval),
        ("merged.jsonl", words(&["eval", "merge", &log, "--out"])),
        (
            "report.md",
            words(&["eval", "report", &log, "--subjects", "--out"]),
        ),
        ("trace.json", of_model("trace", &["--json"])),
        ("new.parquet", of_model("trace", &["--out"])),
        ("plan.json", of_model("plan", &["--out"])),
        ("trace.csv", words(&["export", &trace, "--out"])),
        ("exported.json", words(&["export", &trace, "--out"])),
        ("exported.parquet", words(&["export", &trace, "--out"])),
        ("report", words(&["report", &trace, "--out"])),
    ]
}

/// A folder with a trace and a file of results.
fn written() -> Place {
    let place = Place::new();
    let model = place.text("model");
    let trace = ["trace", "--model", &model, "--max-new-tokens", "40"];
    stdout(
        &[
            &trace[..],
            &PROMPT,
            &["--out", &place.text("trace.parquet")],
        ]
        .concat(),
    );
    Lac::start(&place.eval("log.jsonl", &["--limit", "12"]))
        .end()
        .check(0, &[]);
    place
}

/// A limit on the size of files stands for the disk: a write fails half way, with another number.
#[test]
fn a_write_that_fails_half_way_leaves_what_was_there() {
    let place = written();
    for (name, mut args) in writers(&place) {
        let path = place.path(name);
        args.push(path.display().to_string());
        let is_log = name == "new.jsonl";
        if !is_log && name != "report" {
            std::fs::write(&path, "older").unwrap();
        }
        let ended = Lac::start_limited(512, &args).end();
        // A report is a folder of files.
        let file = if name == "report" {
            "report.html"
        } else {
            name
        };
        ended.check(1, &["cannot write", file, "File too large"]);
        if is_log {
            let left = std::fs::read(&path).unwrap();
            assert!(
                left.is_empty() || left.ends_with(b"\n"),
                "nothing torn is left"
            );
        } else if name == "report" {
            assert!(place.names("report").is_empty(), "nothing half is left");
        } else {
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "older", "{name}");
            std::fs::remove_file(&path).unwrap();
        }
        let all = std::fs::read_dir(place.folder.path()).unwrap();
        for entry in all {
            let found = entry.unwrap().file_name().into_string().unwrap();
            let is_left = lac_files::is_leftover(&found) || found.ends_with(".parts");
            assert!(!is_left, "{name} left {found}");
        }
        // With room enough the same command does it.
        Lac::start(&args).end().check(0, &[]);
        assert!(path.exists());
    }
}

#[test]
fn results_end_with_a_whole_line_where_the_disk_is_full() {
    let place = Place::new();
    let extra = ["--limit", "24", "--batch-size", "2"];
    let (whole, full) = (
        place.eval("whole.jsonl", &extra),
        place.eval("full.jsonl", &extra),
    );
    Lac::start(&whole).end().check(0, &[]);
    let len = std::fs::metadata(place.path("whole.jsonl")).unwrap().len();
    let ended = Lac::start_limited(len / 2, &full).end();
    ended.check(1, &["cannot write", "full.jsonl", "File too large"]);
    let left = std::fs::read(place.path("full.jsonl")).unwrap();
    assert!(left.ends_with(b"\n"));
    let n_left = records(&place.path("full.jsonl")).len();
    assert!((1..24).contains(&n_left), "{n_left}");
    Lac::start(&full).end().check(0, &[]);
    let after = std::fs::read(place.path("full.jsonl")).unwrap();
    assert!(after.starts_with(&left), "nothing was done twice");
    let (whole, full) = (
        records(&place.path("whole.jsonl")),
        records(&place.path("full.jsonl")),
    );
    assert!(whole.keys().eq(full.keys()));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_device_is_an_error() {
    let full = || std::process::Stdio::from(std::fs::File::create("/dev/full").unwrap());
    let generate = [&["generate", "--model", "demo"][..], &PROMPT].concat();
    for args in [&generate[..], &["inspect", "--model", "demo"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lac"));
        let output = command.args(args).stdout(full()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert!(stderr.contains("No space left"), "{args:?}: {stderr}");
    }
    let trace = [
        &["trace", "--model", "demo", "--json", "/dev/full"][..],
        &PROMPT,
    ]
    .concat();
    let stderr = String::from_utf8(lac(&trace).stderr).unwrap();
    assert!(
        stderr.contains("cannot write /dev/full") && stderr.contains("No space left"),
        "{stderr}"
    );
}

/// No user can write a path below a file; in a folder without the right to write, only root can.
#[test]
fn what_cannot_be_written_is_named() {
    let place = written();
    std::fs::write(place.path("file"), "").unwrap();
    let closed = place.path("closed");
    std::fs::create_dir(&closed).unwrap();
    let mut permissions = std::fs::metadata(&closed).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(&closed, permissions).unwrap();
    let is_root = std::fs::write(closed.join("probe"), "").is_ok();
    let folders = if is_root {
        &["file"][..]
    } else {
        &["file", "closed"]
    };
    for folder in folders {
        for (name, mut args) in writers(&place) {
            let path = place.path(folder).join(name);
            args.push(path.display().to_string());
            let ended = Lac::start(&args).end();
            ended.check(1, &["cannot ", &path.display().to_string()]);
            assert!(ended.stdout.is_empty(), "{name}: {}", ended.stdout);
        }
    }
}

#[test]
fn a_second_writer_is_refused_and_told_of_the_first() {
    let place = written();
    let own_id = std::process::id();
    // File systems that number their files in another way than the kernel does are not told of.
    let told = |text: &str| {
        text.contains("being written by another process")
            && (!text.contains("id is") || text.contains(&format!("id is {own_id}")))
    };
    for (name, mut args) in writers(&place) {
        let path = place.path(name);
        args.push(path.display().to_string());
        // As a run of `lac` holds it.
        let (mut file, mut folder) = (None, None);
        match name {
            "report" | "new.parquet" => {
                let place = match name {
                    "report" => path.clone(),
                    _ => place.path("new.parquet.parts"),
                };
                std::fs::create_dir(&place).unwrap();
                folder = Some(lac_files::FolderLock::take(&place).unwrap());
            }
            _ => file = Some(lac_files::open_locked(&path).unwrap()),
        }
        let ended = Lac::start(&args).end();
        ended.check(1, &[name]);
        assert!(told(&ended.stderr), "{name}: {}", ended.stderr);
        drop((file, folder));
        Lac::start(&args).end().check(0, &[]);
    }
}

/// Weights are in memory before the first question: what happens to their files later changes nothing.
#[cfg(target_os = "linux")]
#[test]
fn a_model_that_is_replaced_during_a_run_changes_nothing() {
    let place = Place::new();
    let extra = ["--limit", "16", "--batch-size", "2"];
    Lac::start(&place.eval("calm.jsonl", &extra))
        .end()
        .check(0, &[]);
    let weights = place.path("model/model.safetensors");
    let original = std::fs::read(&weights).unwrap();
    let mut other = original.clone();
    *other.last_mut().unwrap() ^= 1;
    let cases: [(&str, &dyn Fn()); 2] = [
        ("replaced.jsonl", &|| {
            std::fs::write(place.path("other"), &other).unwrap();
            std::fs::rename(place.path("other"), &weights).unwrap();
        }),
        ("truncated.jsonl", &|| {
            std::fs::File::create(&weights).unwrap();
        }),
    ];
    for (name, change) in cases {
        let mut run = Lac::start(&place.eval(name, &extra));
        run.wait_until_running();
        change();
        run.end().check(0, &[]);
        std::fs::write(&weights, &original).unwrap();
        let (calm, disturbed) = (
            records(&place.path("calm.jsonl")),
            records(&place.path(name)),
        );
        assert!(calm.keys().eq(disturbed.keys()));
        for (calm, disturbed) in calm.values().zip(disturbed.values()) {
            assert_eq!(calm["log_likelihoods"], disturbed["log_likelihoods"]);
        }
    }
    // Results of one model are not gone on with by another.
    std::fs::write(&weights, &other).unwrap();
    let more = place.eval("calm.jsonl", &["--limit", "20"]);
    let ended = Lac::start(&more).end();
    ended.check(
        1,
        &[
            "calm.jsonl was started with other settings",
            "model.fingerprint",
        ],
    );
}

#[test]
fn what_cannot_fit_into_memory_is_refused_with_numbers() {
    let folder = crate::chat_model();
    let config = folder.path().join("config.json");
    let small = std::fs::read_to_string(&config).unwrap();
    let model = folder.path().display().to_string();
    let base = [
        "generate",
        "--model",
        &model,
        "--dummy-weights",
        "--prompt",
        "Hello",
    ];
    let check = |from: &str, to: &str, extra: &[&str], parts: &[&str]| {
        std::fs::write(&config, small.replacen(from, to, 1)).unwrap();
        let ended = Lac::start(&[&base[..], extra].concat()).end();
        ended.check(
            1,
            &["this needs about", "GiB of memory", "this machine has"],
        );
        ended.check(1, parts);
    };
    // 3 x 2^20 x 2^16 weights in each of 4 layers, and more.
    check(
        "\"hidden_size\": 32,\n        \"intermediate_size\": 64",
        "\"hidden_size\": 65536, \"intermediate_size\": 1048576",
        &[],
        &[
            "GiB for the weights in f32",
            "use --dtype bf16",
            "take a smaller model",
        ],
    );
    // Keys and values of 2^31 tokens.
    check(
        "\"tie_word",
        "\"max_position_embeddings\": 2147483647, \"tie_word",
        &["--max-new-tokens", "2147483647"],
        &["x 2147483647 tokens", "lower --max-new-tokens"],
    );
}

#[test]
fn a_context_is_filled_to_its_last_position() {
    let folder = crate::chat_model();
    let config = folder.path().join("config.json");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replacen(
        "\"tie_word",
        "\"max_position_embeddings\": 64, \"tie_word",
        1,
    );
    std::fs::write(&config, text).unwrap();
    let model = folder.path().display().to_string();
    let base = [
        "--model",
        &model,
        "--dummy-weights",
        "--max-new-tokens",
        "500",
    ];
    let run =
        |command: &str, extra: &[&str]| Lac::start(&[&[command], &base[..], extra].concat()).end();
    let ended = run("generate", &["--raw", "--prompt", "Hello", "--json"]);
    ended.check(0, &["the model's context of 64 tokens is full"]);
    let json: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    let len = |field: &str| json[field].as_array().unwrap().len();
    // All 64 positions are fed; the last one's logits give one token more.
    assert_eq!(len("prompt_ids") + len("ids"), 65);
    assert_eq!(json["stop_reason"], "context_full");
    let ids = vec!["5"; 64].join(",");
    run("trace", &["--prompt-ids", &ids]).check(0, &["the model's context of 64 tokens is full"]);
    let ids = vec!["5"; 65].join(",");
    run("trace", &["--prompt-ids", &ids]).check(1, &["65 tokens", "context holds 64"]);
}

/// A file that no command reads is not made.
#[test]
fn nothing_is_written_for_a_device() {
    stdout(
        &[
            &["trace", "--model", "demo", "--json", "/dev/null"][..],
            &PROMPT,
        ]
        .concat(),
    );
    assert!(!std::fs::metadata(Path::new("/dev/null")).unwrap().is_file());
}
