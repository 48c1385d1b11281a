//! Files that are no traces, or were, say what is wrong with them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lac_core::{Observer, Off, Pass};
use lac_trace::{TraceInfo, TraceReader, TraceWriter};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::support::{Noise, generation, info, record, write};

/// A Parquet file of somebody else's, with a row.
fn foreign(path: &Path, schema: &str, metadata: &[(&str, &str)]) {
    use parquet::data_type::Int32Type;

    let pairs = metadata
        .iter()
        .map(|(key, value)| KeyValue::new((*key).to_owned(), (*value).to_owned()))
        .collect();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(pairs))
        .build();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    while let Some(mut column) = group.next_column().unwrap() {
        let column_writer = column.typed::<Int32Type>();
        column_writer.write_batch(&[1], None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

const SETTINGS: [(&str, &str); 10] = [
    ("lac.format", "lac-trace"),
    ("lac.format_version", "1"),
    ("lac.version", "0.1.0"),
    ("lac.model", "noise"),
    ("lac.n_layers", "2"),
    ("lac.dtype", "f32"),
    ("lac.device", "cpu"),
    ("lac.policy", "trace"),
    ("lac.alpha", "0.8"),
    ("lac.gate_rounding", "f32"),
];

/// The settings with one of them changed or, with an empty value, left out.
pub fn settings<'a>(key: &str, value: &'a str) -> Vec<(&'static str, &'a str)> {
    SETTINGS
        .into_iter()
        .map(|(name, old)| (name, if name == key { value } else { old }))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

#[test]
fn every_error_names_the_file_and_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good.parquet");
    write(&good, info(2), &generation(&[4], 4, 2, &mut Noise::new(1)));
    let bytes = std::fs::read(&good).unwrap();
    let schema = "message other { required int32 sequence; }";

    type Make<'a> = Box<dyn Fn(&Path) + 'a>;
    let content = |content: &'static [u8]| -> Make<'_> {
        Box::new(move |path| std::fs::write(path, content).unwrap())
    };
    let with = |key: &'static str, value: &'static str| -> Make<'_> {
        Box::new(move |path| foreign(path, schema, &settings(key, value)))
    };
    let cases: Vec<(&str, Make<'_>, &str)> = vec![
        ("missing", Box::new(|_| {}), "cannot read"),
        ("empty", content(b""), "the file is empty"),
        (
            "text",
            content(b"Once upon a time"),
            "does not begin as a Parquet file does",
        ),
        (
            "json",
            content(b"{\"prompt_ids\": []}"),
            "JSON by its first character",
        ),
        ("magic only", content(b"PAR1"), "it was cut short"),
        (
            "no footer",
            content(b"PAR1\0\0\0\0\0\0\0\0PAR1"),
            "is damaged",
        ),
        (
            "half",
            Box::new(|path| std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap()),
            "it was cut short",
        ),
        (
            "somebody else's",
            Box::new(|path| foreign(path, schema, &[])),
            "does not say `lac.format = lac-trace`",
        ),
        (
            "newer",
            with("lac.format_version", "2"),
            "format version 2, this version of lac reads 1",
        ),
        ("no alpha", with("lac.alpha", ""), "lac.alpha is missing"),
        (
            "alpha",
            with("lac.alpha", "-1"),
            "expected a number that is not negative",
        ),
        (
            "layers",
            with("lac.n_layers", "many"),
            "expected a number of layers",
        ),
        (
            "no layers",
            with("lac.n_layers", "0"),
            "expected a number of layers",
        ),
        (
            "rounding",
            with("lac.gate_rounding", "up"),
            "expected f32 or bf16",
        ),
        ("columns", with("", ""), "column phase is missing"),
        (
            "folder",
            Box::new(|path| std::fs::create_dir(path).unwrap()),
            "a folder without part-*.parquet",
        ),
        (
            "parts of two runs",
            Box::new(|path| {
                std::fs::create_dir(path).unwrap();
                std::fs::copy(&good, path.join("part-000000.parquet")).unwrap();
                let mut other = info(2);
                other.model = "another".to_owned();
                let records = generation(&[4], 4, 2, &mut Noise::new(2));
                write(&path.join("part-000001.parquet"), other, &records);
            }),
            "parts of different runs",
        ),
    ];
    for (name, make, expected) in cases {
        let path = folder.path().join(name);
        make(&path);
        let error = TraceReader::open(&path).unwrap_err();
        let message = error.to_string();
        assert!(message.contains(name), "{name}: {message}");
        assert!(message.contains(expected), "{name}: {message}");
    }
}

/// A file cut anywhere is an error, and one with a changed byte never makes anything panic.
#[test]
fn damage_anywhere_is_survived() {
    let folder = TempDir::new().unwrap();
    let good = folder.path().join("good.parquet");
    write(&good, info(3), &generation(&[5], 3, 3, &mut Noise::new(4)));
    let bytes = std::fs::read(&good).unwrap();
    let path = folder.path().join("damaged.parquet");
    let read = |path: &PathBuf| TraceReader::open(path).and_then(|trace| trace.for_each(|_| {}));
    for length in (0..bytes.len()).step_by(131) {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("damaged.parquet"), "{length}: {message}");
    }
    // What the Parquet library says when it panics is of no interest here.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut n_noticed = 0;
    for at in (0..bytes.len()).step_by(7) {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        std::fs::write(&path, &changed).unwrap();
        if let Err(error) = read(&path) {
            n_noticed += 1;
            assert!(error.to_string().contains("damaged.parquet"), "{error}");
        }
    }
    std::panic::set_hook(hook);
    assert!(n_noticed > 0);
}

#[test]
fn a_value_that_no_gate_gives_is_found() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let pass = Pass::prompt(&[[1, 2, 3]], 0).unwrap();
    let mut pass = record(pass, 2, &mut Noise::new(1));
    pass.gate.as_mut().unwrap().deltas[4] = f32::NAN;
    let mut writer = TraceWriter::create(&path, info(2)).unwrap();
    writer.pass(&pass).unwrap();
    // The recorder finds it too when it makes the file of the parts, and leaves the parts.
    let message = writer.finish().unwrap_err().to_string();
    assert!(message.contains("column delta holds NaN"), "{message}");
    let trace = TraceReader::open(&folder.path().join("trace.parquet.parts")).unwrap();
    let message = trace.for_each(|_| {}).unwrap_err().to_string();
    assert!(
        message.contains("column delta holds NaN in row 1"),
        "{message}"
    );
}

#[test]
fn the_recorder_refuses_what_does_not_fit() {
    let folder = TempDir::new().unwrap();
    let error = TraceInfo::new("noise", 2, &Off).unwrap_err().to_string();
    assert!(error.contains("the policy off measures nothing"), "{error}");

    let path = folder.path().join("trace.parquet");
    let mut noise = Noise::new(1);
    let mut writer = TraceWriter::create(&path, info(2)).unwrap();
    let pass = Pass::prompt(&[[1, 2]], 0).unwrap();
    let error = writer
        .pass(&record(pass.clone(), 3, &mut noise))
        .unwrap_err()
        .to_string();
    assert!(error.contains("3 layers in a trace with 2"), "{error}");
    let mut ungated = record(pass, 2, &mut noise);
    ungated.gate = None;
    assert!(writer.pass(&ungated).is_err());
    let error = writer.finish().unwrap_err().to_string();
    assert!(error.contains("holds no token"), "{error}");
    assert!(!folder.path().join("trace.parquet.parts").exists());

    let nowhere = folder.path().join("no/such/folder/trace.parquet");
    let error = TraceWriter::create(&nowhere, info(2)).err().unwrap();
    assert!(error.to_string().contains("no/such/folder"), "{error}");
}
