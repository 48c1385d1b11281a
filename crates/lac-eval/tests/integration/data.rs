//! Files as users have them, good and bad.

use std::path::Path;

use lac_eval::data::{Content, Item, Split};
use lac_eval::{Benchmark, DataSet};
use tempfile::TempDir;

use crate::sets;

fn contents(items: &[Item]) -> Vec<(&str, &Content)> {
    let mut all: Vec<_> = items
        .iter()
        .map(|item| (&*item.subject, &item.content))
        .collect();
    all.sort_by_key(|(subject, content)| (*subject, format!("{content:?}")));
    all
}

#[test]
fn every_layout_of_mmlu_holds_the_same_questions() {
    let sets = sets();
    let folder = sets.path().join("mmlu");
    let parquet = DataSet::load(Benchmark::Mmlu, &folder, Split::Test).unwrap();
    let csv = DataSet::load(Benchmark::Mmlu, &folder.join("data"), Split::Test).unwrap();
    assert_eq!((parquet.items.len(), csv.items.len()), (400, 400));
    assert_eq!(contents(&parquet.items), contents(&csv.items));
    assert_eq!(parquet.files.len(), 1);
    assert_eq!(csv.files.len(), 8);
    assert!(csv.files.iter().all(|file| file.n_rows == 50));
    assert_eq!(csv.subjects().len(), 8);
    for data in [&parquet, &csv] {
        assert_eq!(data.examples.len(), 8);
        assert!(data.examples.values().all(|examples| examples.len() == 5));
    }
    // A folder per subject, as in the hub's repository.
    let by_subject = TempDir::new().unwrap();
    let place = by_subject.path().join("any");
    std::fs::create_dir(&place).unwrap();
    let name = "test-00000-of-00001.parquet";
    std::fs::copy(folder.join("all").join(name), place.join(name)).unwrap();
    let apart = DataSet::load(Benchmark::Mmlu, by_subject.path(), Split::Test).unwrap();
    assert_eq!(apart.id(), parquet.id());
    // One file by itself, and the other split.
    let file = folder.join("data/test/pets_test.csv");
    let pets = DataSet::load(Benchmark::Mmlu, &file, Split::Test).unwrap();
    assert_eq!((pets.items.len(), &*pets.items[0].subject), (50, "pets"));
    let validation = DataSet::load(Benchmark::Mmlu, &folder, Split::Validation).unwrap();
    assert_eq!(validation.items.len(), 80);
}

#[test]
fn every_layout_of_boolq_holds_the_same_questions() {
    let sets = sets();
    let folder = sets.path().join("boolq");
    let jsonl = DataSet::load(Benchmark::Boolq, &folder, Split::Test).unwrap();
    let parquet = DataSet::load(Benchmark::Boolq, &folder.join("data"), Split::Test).unwrap();
    assert_eq!((jsonl.items.len(), parquet.items.len()), (300, 300));
    // The title is no part of a question's name, which is the same in both.
    assert_eq!(jsonl.id(), parquet.id());
    let titles = |data: &DataSet| {
        let has_title =
            |item: &&Item| matches!(item.content, Content::YesNo { title: Some(_), .. });
        data.items.iter().filter(has_title).count()
    };
    assert_eq!((titles(&jsonl), titles(&parquet)), (300, 0));

    // SuperGLUE's labels are numbers, in its jsonl truth values.
    let rows: Vec<String> = [("0", false), ("1", true), ("true", true)]
        .iter()
        .map(|(label, _)| {
            format!(r#"{{"question": "q{label}", "passage": "p", "label": {label}}}"#)
        })
        .collect();
    let other = TempDir::new().unwrap();
    std::fs::write(other.path().join("val.jsonl"), rows.join("\n")).unwrap();
    let data = DataSet::load(Benchmark::Boolq, other.path(), Split::Test).unwrap();
    let answers: Vec<bool> = data
        .items
        .iter()
        .map(|item| matches!(item.content, Content::YesNo { answer: true, .. }))
        .collect();
    assert_eq!(answers, [false, true, true]);
}

/// Files of `tests/fixtures/make_codecs.py`.
#[test]
fn parquet_is_read_in_every_codec() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/codecs");
    let check = |benchmark, writer: &str, codec: &str, expected: &DataSet| {
        let name = format!("{benchmark}-{writer}-{codec}.parquet");
        let data = DataSet::load(benchmark, &folder.join(&name), Split::Test).unwrap();
        assert_eq!(data.items, expected.items, "{name}");
    };
    for (benchmark, n_items) in [(Benchmark::Mmlu, 12), (Benchmark::Boolq, 8)] {
        let plain = folder.join(format!("{benchmark}-pyarrow-none.parquet"));
        let plain = DataSet::load(benchmark, &plain, Split::Test).unwrap();
        assert_eq!(plain.items.len(), n_items);
        for codec in ["snappy", "gzip", "lz4", "brotli", "zstd"] {
            check(benchmark, "pyarrow", codec, &plain);
            if benchmark == Benchmark::Mmlu {
                check(benchmark, "polars", codec, &plain);
            }
        }
        if benchmark == Benchmark::Mmlu {
            check(benchmark, "polars", "uncompressed", &plain);
        }
    }
}

#[test]
fn gpqa_is_read_by_column_names() {
    let sets = sets();
    let data = DataSet::load(Benchmark::Gpqa, &sets.path().join("gpqa"), Split::Test).unwrap();
    assert_eq!(data.items.len(), 100);
    // Other columns in another order; cells of several lines. The rows are made up.
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("gpqa_diamond.csv");
    let text = "\u{feff}Incorrect Answer 2,Unknown,Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 3\n\
                \"w2\nnext line\",x,\"Which, \"\"one\"\"?\n\nSecond paragraph.\",right,w1,w3\n";
    std::fs::write(&file, text).unwrap();
    let data = DataSet::load(Benchmark::Gpqa, folder.path(), Split::Test).unwrap();
    let expected = Content::Choices {
        question: "Which, \"one\"?\n\nSecond paragraph.".into(),
        choices: ["right", "w1", "w2\nnext line", "w3"]
            .map(String::from)
            .to_vec(),
        answer: 0,
    };
    assert_eq!(data.items[0].content, expected);
    assert_eq!(data.items[0].subject, "gpqa");
}

#[test]
fn files_that_editors_saved_again_hold_the_same_questions() {
    let sets = sets();
    let folder = TempDir::new().unwrap();
    for (benchmark, name) in [
        (Benchmark::Boolq, "boolq/dev.jsonl"),
        (Benchmark::Mmlu, "mmlu/data/test/pets_test.csv"),
        (Benchmark::Gpqa, "gpqa/gpqa_diamond.csv"),
    ] {
        let file = sets.path().join(name);
        let saved = folder.path().join(file.file_name().unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        let windows = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        std::fs::write(&saved, &windows).unwrap();
        let load = |file| DataSet::load(benchmark, file, Split::Test).unwrap();
        assert_eq!(load(&saved).id(), load(&file).id(), "{name}");

        let utf16 = windows.encode_utf16().flat_map(u16::to_le_bytes);
        let name = saved.file_name().unwrap().to_str().unwrap();
        check_failure(
            benchmark,
            name,
            utf16.collect::<Vec<u8>>(),
            &["UTF-16", "save it as UTF-8"],
        );
    }
}

/// Rows by hand: the right options, the first one apart.
#[test]
fn samples_name_their_right_options() {
    let check = |rows: &[&str], expected: &[&[usize]]| {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("samples_x_1.jsonl");
        for text in [rows.join("\n"), format!("[\n{}\n]", rows.join(",\n"))] {
            std::fs::write(&file, text).unwrap();
            let data = DataSet::load(Benchmark::Samples, &file, Split::Test).unwrap();
            let right = |item: &Item| match &item.content {
                Content::Scripted {
                    answer, also_right, ..
                } => [&[*answer][..], also_right].concat(),
                other => panic!("{other:?}"),
            };
            let right: Vec<Vec<usize>> = data.items.iter().map(right).collect();
            assert_eq!(right, expected, "{rows:?}");
        }
    };
    let pairs = r#"[["c", " 1"], ["c", " 2"], ["c", " 3"]]"#;
    let row =
        |target: &str, more: &str| format!(r#"{{"arguments": {pairs}, "target": {target}{more}}}"#);
    // A number is an index, unless the harness's own score says that it is a text.
    check(&[&row("1", "")], &[&[1]]);
    check(&[&row("\"1\"", "")], &[&[1]]);
    let resps = r#", "resps": [[["-1.0", "False"]], [["-2.0", "False"]], [["-3.0", "False"]]]"#;
    let first_chosen = |acc: &str| format!(r#"{resps}, "acc": {acc}"#);
    check(
        &[
            &row("\"1\"", &first_chosen("1.0")),
            &row("\"2\"", &first_chosen("0.0")),
        ],
        &[&[0], &[1]],
    );
    check(
        &[
            &row("\"0\"", &first_chosen("1.0")),
            &row("\"1\"", &first_chosen("0.0")),
        ],
        &[&[0], &[1]],
    );
    check(&[&row("[0, 2]", "")], &[&[0, 2]]);
    check(&[&row("1.0", "")], &[&[1]]);
    check(&[&row("true", "")], &[&[1]]);
    // Rows of a second filter say the same again.
    check(
        &[
            &row("0", r#", "filter": "none""#),
            &row("0", r#", "filter": "other""#),
            &row("2", r#", "filter": "none""#),
        ],
        &[&[0], &[2]],
    );
    // Winogrande's form, by a score and by hand.
    let contexts = |more: &str| format!(r#"{{"arguments": [["a", " x."], ["b", " x."]], {more}}}"#);
    let logged = r#""resps": [[["-1.0", "False"]], [["-2.0", "False"]]]"#;
    check(
        &[
            &contexts(&format!(r#""target": "x.", {logged}, "acc": 1.0"#)),
            &contexts(&format!(r#""target": "x.", {logged}, "acc": 0.0"#)),
            &contexts(r#""target": 1"#),
        ],
        &[&[0], &[1], &[1]],
    );
    check_failure(
        Benchmark::Samples,
        "samples_x_1.jsonl",
        contexts(r#""target": "x.""#),
        &["row 1", "as in winogrande"],
    );
    check_failure(
        Benchmark::Samples,
        "samples_x_1.jsonl",
        r#"{"arguments": [["c", " a", {"visual": []}], ["c", " b", {"visual": []}]], "target": 0}"#,
        &["row 1", "images or sound"],
    );
    check_failure(
        Benchmark::Samples,
        "samples_x_1.jsonl",
        r#"{"arguments": [["c", " a"]], "target": 0}"#,
        &["row 1", "two or more pairs"],
    );
}

/// What was downloaded in the place of a data set is named for what it is.
#[test]
fn files_that_are_no_data_are_named() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:5af5\nsize 269\n";
    for (text, part) in [
        (pointer, "git lfs pull"),
        ("<!DOCTYPE html><html>", "HTML page"),
        ("{\"error\": \"gated\"}", "refused the download"),
        ("PK\u{3}\u{4}", "zip archive"),
    ] {
        for (benchmark, name) in [
            (Benchmark::Mmlu, "x.parquet"),
            (Benchmark::Mmlu, "x_test.csv"),
            (Benchmark::Boolq, "v.jsonl"),
            (Benchmark::Gpqa, "gpqa.csv"),
            (Benchmark::Samples, "samples_x_1.jsonl"),
        ] {
            check_failure(benchmark, name, text, &[part]);
        }
    }
}

fn check_failure(benchmark: Benchmark, name: &str, bytes: impl AsRef<[u8]>, parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    let error = DataSet::load(benchmark, &file, Split::Test).unwrap_err();
    let message = lac_test_corruption::message(&error);
    for part in parts.iter().chain(&[name]) {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

#[test]
fn bad_files_are_named_with_their_row() {
    let mmlu = Benchmark::Mmlu;
    check_failure(
        mmlu,
        "x_test.csv",
        "q,a,b,c,d,A\nq,a,b,c,d,E\n",
        &["row 2", "\"E\"", "A, B, C or D"],
    );
    check_failure(
        mmlu,
        "x_test.csv",
        "q,a,b,c,d,A\nq,a,b,c,A\n",
        &["row 2", "5 cells, expected 6"],
    );
    check_failure(
        mmlu,
        "x_test.csv",
        "q,a,b,c,d,A\n  ,a,b,c,d,A\n",
        &["row 2", "question is empty"],
    );
    check_failure(mmlu, "x_test.csv", "", &["not a single question"]);
    check_failure(
        mmlu,
        "x.parquet",
        "no parquet",
        &["not a readable parquet file"],
    );
    check_failure(mmlu, "x.txt", "", &[".parquet, .jsonl or .csv"]);
    let row = r#"{"question": "q", "subject": "s", "choices": ["a", "b", "c"], "answer": 0}"#;
    check_failure(mmlu, "x.jsonl", row, &["row 1", "expected four texts"]);
    let row = r#"{"question": "q", "subject": "s", "choices": ["a", "b", "c", "d"], "answer": 4}"#;
    check_failure(mmlu, "x.jsonl", row, &["row 1", "0 to 3"]);

    let boolq = Benchmark::Boolq;
    let good = r#"{"question": "q", "passage": "p", "answer": true}"#;
    let label = r#"{"question": "q", "passage": "p", "label": -1}"#;
    check_failure(
        boolq,
        "v.jsonl",
        format!("{good}\n{label}"),
        &["row 2", "label holds -1"],
    );
    let torn = format!("{good}\n{}", &good[..20]);
    check_failure(boolq, "v.jsonl", &torn, &["row 2", "not a JSON object"]);
    let empty = r#"{"question": "", "passage": "p", "answer": true}"#;
    check_failure(boolq, "v.jsonl", empty, &["row 1", "question is empty"]);
    let other = r#"{"query": "q", "passage": "p", "answer": true}"#;
    check_failure(
        boolq,
        "v.jsonl",
        other,
        &["no column question", "query, passage, answer"],
    );

    let gpqa = Benchmark::Gpqa;
    check_failure(
        gpqa,
        "gpqa.csv",
        "Question,Answer\nq,a\n",
        &["row 1", "no column Correct Answer"],
    );
    let text = "Question,Correct Answer,Incorrect Answer 1,Incorrect Answer 2,Incorrect Answer 3\nq,r,a,,c\n";
    check_failure(
        gpqa,
        "gpqa.csv",
        text,
        &["row 1", "Incorrect Answer 2 is empty"],
    );

    let samples = Benchmark::Samples;
    let row =
        r#"{"doc_id": 0, "arguments": {"gen_args_0": {"arg_0": "c", "arg_1": {"until": []}}}}"#;
    check_failure(
        samples,
        "samples_x_1.jsonl",
        row,
        &["row 1", "pairs of context"],
    );

    let error = DataSet::load(mmlu, Path::new("nowhere/at_all"), Split::Test).unwrap_err();
    assert!(error.to_string().contains("Hugging Face cache"), "{error}");
    let empty = TempDir::new().unwrap();
    for (benchmark, part) in [
        (mmlu, "test-*.parquet"),
        (boolq, "dev.jsonl"),
        (gpqa, "gpqa_diamond.csv"),
    ] {
        let error = DataSet::load(benchmark, empty.path(), Split::Test).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
}
