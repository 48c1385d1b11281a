//! Data sets and files of results that were damaged, or made to do harm: reading them gives
//! questions or results, or an error that names the file and the row or line.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use lac_eval::data::Split;
use lac_eval::{Benchmark, DataSet, EvalReport, ResultLog, Results, Settings};
use lac_test_corruption::{Allowance, cases, damaged_bytes, damaged_json, within};
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Rows become trees of 72 bytes a value, which lists double while they grow.
const TEXT: Allowance = Allowance {
    per_byte: 300,
    constant: 4 << 20,
};

/// The reader's own bound. A damaged header of a page can make the Parquet library set aside, and
/// not touch, up to 2 GiB.
const PARQUET: Allowance = Allowance {
    per_byte: 1024,
    constant: (256 << 20) + (2 << 30),
};

const CODECS: [&str; 4] = ["gzip", "lz4", "brotli", "zstd"];

fn load(benchmark: Benchmark, file: &Path, allowance: Allowance) -> lac_eval::Result<DataSet> {
    let n_bytes = std::fs::metadata(file).map_or(0, |file| file.len()) as usize;
    within(allowance, n_bytes, || {
        DataSet::load(benchmark, file, Split::Test)
    })
}

/// Writes a file and reads it; an error has to name it.
fn survives(benchmark: Benchmark, name: &str, bytes: &[u8], allowance: Allowance) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, bytes).unwrap();
    match load(benchmark, &file, allowance) {
        Ok(data) => assert!(!data.items.is_empty()),
        Err(error) => {
            let message = lac_test_corruption::message(&error);
            assert!(message.contains(name), "{message}");
            assert!(message.len() < 4000, "{message}");
        }
    }
}

fn refused(benchmark: Benchmark, name: &str, text: &str, parts: &[&str]) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    std::fs::write(&file, text).unwrap();
    let error = load(benchmark, &file, TEXT).expect_err(name);
    let message = lac_test_corruption::message(&error);
    for part in parts.iter().chain(&[name]) {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    assert!(message.len() < 4000, "{} bytes", message.len());
}

#[test]
fn rows_that_make_no_sense_are_refused() {
    let (mmlu, boolq, samples) = (Benchmark::Mmlu, Benchmark::Boolq, Benchmark::Samples);
    let row = |choices: &str| {
        format!(r#"{{"question": "q", "subject": "s", "choices": {choices}, "answer": 0}}"#)
    };
    for choices in [
        r#"["a", 1, "b", "c", "d"]"#,
        r#"["a", "b", "c", null]"#,
        r#"{"a": 1}"#,
        "[]",
    ] {
        refused(mmlu, "test.jsonl", &row(choices), &["row 1", "four texts"]);
    }
    let long = format!(r#"["{}"]"#, "x".repeat(1 << 20));
    refused(
        mmlu,
        "test.jsonl",
        &row(&long),
        &["row 1", "four texts", "bytes)"],
    );
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    refused(
        mmlu,
        "test.jsonl",
        &row(&nested),
        &["row 1", "recursion limit"],
    );
    for answer in ["4", "-1", "0.5", "1e999", "\"E\"", "null"] {
        let text = row(r#"["a", "b", "c", "d"]"#)
            .replace("\"answer\": 0", &format!("\"answer\": {answer}"));
        refused(mmlu, "test.jsonl", &text, &["row 1"]);
    }
    refused(
        boolq,
        "dev.jsonl",
        r#"{"question": "q", "passage": "p", "answer": 2}"#,
        &["row 1", "answer holds 2"],
    );
    refused(
        boolq,
        "dev.jsonl",
        "[1, 2]",
        &["row 1", "not a JSON object"],
    );
    refused(boolq, "dev.jsonl", "{\"question\": \"q\"", &["row 1"]);
    let sample = |arguments: &str, resps: &str| {
        format!(r#"{{"arguments": {arguments}, "target": 0, "resps": {resps}}}"#)
    };
    let pairs = r#"[["c", "a"], ["c", "b"]]"#;
    refused(
        samples,
        "samples_x_1.jsonl",
        &sample(pairs, r#"[["NaN"], ["-1.0"]]"#),
        &["row 1", "log-likelihood"],
    );
    refused(
        samples,
        "samples_x_1.jsonl",
        &sample(pairs, r#"[["-1.0"]]"#),
        &["row 1", "one log-likelihood per option"],
    );
    let gap = r#"{"gen_args_0": ["c", "a"], "gen_args_1": ["c", "b"], "gen_args_7": ["c", "d"]}"#;
    refused(
        samples,
        "samples_x_1.jsonl",
        &sample(gap, "[]"),
        &["row 1", "pairs of context"],
    );
    let many = sample(pairs, "[]").replace("\"target\": 0", "\"target\": 99999999999999999999");
    refused(
        samples,
        "samples_x_1.jsonl",
        &many,
        &["row 1", "expected an option"],
    );
}

/// A header of half a megabyte and many rows: the rows share its names.
#[test]
fn a_long_header_is_kept_once() {
    let text = format!(
        "{},Question\n{}",
        "x".repeat(500_000),
        "a,b\n".repeat(50_000)
    );
    refused(
        Benchmark::Gpqa,
        "gpqa_diamond.csv",
        &text,
        &["row 1", "no column Correct Answer"],
    );
}

/// A question that is the same in every row, which Parquet writes in no space at all.
#[test]
fn rows_that_repeat_themselves_do_not_fill_the_memory() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("repeated.parquet");
    let write = |n_rows: usize, text: &str| {
        let schema =
            "message schema { required binary question (STRING); required binary passage (STRING);
                      required int64 label; }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let out = File::create(&file).unwrap();
        let mut writer = SerializedFileWriter::new(out, schema, Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        for _ in 0..2 {
            let mut column = group.next_column().unwrap().unwrap();
            let texts = vec![ByteArray::from(text); n_rows];
            column
                .typed::<ByteArrayType>()
                .write_batch(&texts, None, None)
                .unwrap();
            column.close().unwrap();
        }
        let mut column = group.next_column().unwrap().unwrap();
        column
            .typed::<Int64Type>()
            .write_batch(&vec![1; n_rows], None, None)
            .unwrap();
        column.close().unwrap();
        group.close().unwrap();
        writer.close().unwrap();
    };
    let tight = Allowance {
        per_byte: 1024,
        constant: 256 << 20,
    };
    write(300, "a question");
    assert_eq!(
        load(Benchmark::Boolq, &file, tight).unwrap().items.len(),
        300
    );
    for (n_rows, text) in [(300_000, "a".to_owned()), (2000, "x".repeat(1 << 16))] {
        write(n_rows, &text);
        let error = load(Benchmark::Boolq, &file, tight)
            .unwrap_err()
            .to_string();
        assert!(error.contains("repeated.parquet"), "{error}");
        assert!(
            error.contains("which a file of this size does not hold"),
            "{error}"
        );
    }
}

fn settings() -> Settings {
    serde_json::from_value(json!({
        "version": 1, "benchmark": "mmlu", "data": {"n_items": 20, "hash": "d"},
        "asking": {"protocol": "generative", "few_shot": 0, "chat": true,
                   "passages": "as-in-file", "quirks": []},
        "model": {"name": "m", "fingerprint": "f", "dtype": "f32"},
        "skipping": {"policy": "last-active", "alpha": 0.8, "rounding": "f32"},
    }))
    .unwrap()
}

fn record(number: usize) -> Value {
    json!({
        "item": format!("{number:016x}"), "settings": settings().hash(), "row": number,
        "subject": "anatomy", "answer": 0, "predicted": number % 3,
        "log_likelihoods": [-1.5, -2.0], "text": "A",
        "usage": {"prompt": {"tokens": 3, "active": [3, 1], "passes": 1, "executed": 2.0},
                  "response": {"tokens": 0, "passes": 0, "executed": 0.0}},
        "seconds": 0.5,
    })
}

fn header() -> Value {
    json!({"settings": settings(), "hash": settings().hash()})
}

fn log(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Reads results, makes their tables and takes them up again.
fn read_results(text: &[u8]) -> Result<usize, String> {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("results.jsonl");
    std::fs::write(&file, text).unwrap();
    let results = within(TEXT, text.len(), || {
        let results = Results::read(&file)?;
        let report = EvalReport::new(std::slice::from_ref(&results));
        report
            .tables
            .iter()
            .flat_map(|table| &table.rows)
            .for_each(|row| {
                assert!((0.0..=100.0).contains(&row.overall.accuracy));
                assert!(
                    row.overall
                        .usage_prompt
                        .is_none_or(|usage| (0.0..=100.0).contains(&usage))
                );
            });
        Ok(results)
    });
    let check = |error: lac_eval::Error| {
        let message = lac_test_corruption::message(&error);
        assert!(message.contains("results.jsonl"), "{message}");
        assert!(message.len() < 4000, "{message}");
        message
    };
    match results {
        Err(error) => Err(check(error)),
        Ok(results) => {
            match ResultLog::open(&file, vec![settings()]) {
                Ok(log) => assert_eq!(log.results().records, results.records),
                Err(error) => drop(check(error)),
            }
            Ok(results.records.len())
        }
    }
}

#[test]
fn results_that_make_no_sense_are_refused() {
    let good = log(&[
        header().to_string(),
        record(0).to_string(),
        record(1).to_string(),
    ]);
    assert_eq!(read_results(good.as_bytes()), Ok(2));
    for (from, to, part) in [
        ("\"few_shot\":0", "\"few_shot\":5", "line 1: its hash is"),
        (
            "\"tokens\":3",
            "\"tokens\":18446744073709551615",
            "usage.prompt.tokens is",
        ),
        (
            "\"passes\":1",
            "\"passes\":18446744073709551615",
            "usage.prompt.passes is",
        ),
        (
            "[3,1]",
            "[3,4]",
            "active[1] is 4, expected at most the 3 tokens",
        ),
        ("[3,1]", "[3,-1]", "neither settings nor a result"),
        (
            "\"executed\":2.0",
            "\"executed\":-2.0",
            "usage.prompt.executed",
        ),
        (
            "\"executed\":2.0",
            "\"executed\":1e300",
            "usage.prompt.executed",
        ),
        (
            "\"executed\":2.0",
            "\"executed\":1e999",
            "neither settings nor a result",
        ),
        ("\"seconds\":0.5", "\"seconds\":-1", "seconds is -1"),
        (
            "\"predicted\":0",
            "\"predicted\":-1",
            "neither settings nor a result",
        ),
    ] {
        assert!(good.contains(from), "{from} is not in {good}");
        let error = read_results(good.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.contains(part), "{part:?} is not in: {error}");
        assert!(error.contains("line "), "{error}");
    }
    let long = good.replace(&settings().hash(), &"x".repeat(1 << 20));
    assert!(
        read_results(long.as_bytes())
            .unwrap_err()
            .contains("bytes)")
    );
}

/// Reading takes time that grows with the file, whatever it repeats.
#[test]
fn many_settings_and_results_take_no_time() {
    let mut lines = Vec::new();
    for number in 0..2000 {
        let mut settings = settings();
        settings.data.hash = number.to_string();
        lines.push(json!({"settings": settings, "hash": settings.hash()}).to_string());
    }
    lines.push(header().to_string());
    lines.extend((0..2000).map(|number| record(number).to_string()));
    assert_eq!(read_results(log(&lines).as_bytes()), Ok(2000));
}

fn set_file(name: &str) -> Vec<u8> {
    let found = lac_demo::set_files()
        .iter()
        .find(|file| file.0.ends_with(name));
    found.unwrap().1.to_vec()
}

/// The first lines of a text.
fn head(text: Vec<u8>, n_lines: usize) -> String {
    let text = String::from_utf8(text).unwrap();
    text.lines()
        .take(n_lines)
        .map(|line| format!("{line}\n"))
        .collect()
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn any_change_of_a_parquet_file_is_survived(
        mmlu in damaged_bytes(set_file("mmlu/all/validation-00000-of-00001.parquet")),
        boolq in damaged_bytes(set_file("boolq/data/train-00000-of-00001.parquet")),
    ) {
        survives(Benchmark::Mmlu, "test.parquet", &mmlu, PARQUET);
        survives(Benchmark::Boolq, "test.parquet", &boolq, PARQUET);
    }

    #[test]
    fn any_change_of_a_compressed_file_is_survived(
        (codec, bytes) in prop::sample::select(&CODECS).prop_flat_map(|codec| {
            let file = format!("tests/fixtures/codecs/boolq-pyarrow-{codec}.parquet");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            (Just(codec), damaged_bytes(std::fs::read(file).unwrap()))
        }),
    ) {
        survives(Benchmark::Boolq, &format!("{codec}.parquet"), &bytes, PARQUET);
    }

    #[test]
    fn any_change_of_a_text_file_is_survived(
        gpqa in damaged_bytes(head(set_file("gpqa_diamond.csv"), 5).into()),
        mmlu in damaged_bytes(set_file("val/pets_val.csv")),
        boolq in damaged_bytes(head(set_file("boolq/train.jsonl"), 5).into()),
    ) {
        survives(Benchmark::Gpqa, "gpqa_diamond.csv", &gpqa, TEXT);
        survives(Benchmark::Mmlu, "pets_test.csv", &mmlu, TEXT);
        survives(Benchmark::Boolq, "dev.jsonl", &boolq, TEXT);
    }

    #[test]
    fn any_change_of_a_row_is_survived(
        boolq in damaged_json(&head(set_file("boolq/train.jsonl"), 1)),
        mmlu in damaged_json(r#"{"question": "q", "subject": "s", "choices": ["a", "b", "c", "d"], "answer": 2}"#),
        sample in damaged_json(r#"{"doc_id": 0, "target": "1", "arguments": {"gen_args_0": {"arg_0": "c", "arg_1": "a"},
            "gen_args_1": {"arg_0": "c", "arg_1": "b"}}, "resps": [[["-1.5", "False"]], [["-0.5", "True"]]]}"#),
    ) {
        survives(Benchmark::Boolq, "dev.jsonl", boolq.as_bytes(), TEXT);
        survives(Benchmark::Mmlu, "test.jsonl", mmlu.as_bytes(), TEXT);
        survives(Benchmark::Samples, "samples_x_1.jsonl", sample.as_bytes(), TEXT);
    }

    #[test]
    fn any_change_of_a_result_is_survived(
        header in prop_oneof![3 => Just(header().to_string()), 1 => damaged_json(&header().to_string())],
        record in damaged_json(&record(1).to_string()),
    ) {
        let _ = read_results(log(&[header, self::record(0).to_string(), record]).as_bytes());
    }

    #[test]
    fn any_change_of_a_byte_of_results_is_survived(
        bytes in damaged_bytes(log(&[header().to_string(), record(0).to_string()]).into()),
    ) {
        let _ = read_results(&bytes);
    }
}
