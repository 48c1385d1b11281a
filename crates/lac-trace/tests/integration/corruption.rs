//! Traces that were damaged, or made to do harm: reading them gives tokens or an error that names
//! the file, in memory that the file's size bounds.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use lac_test_corruption::{Allowance, cases, damaged_bytes, within};
use lac_trace::{Statistics, TraceReader};
use parquet::basic::Compression;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, FloatType, Int32Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use proptest::prelude::*;
use tempfile::TempDir;

use super::damaged::settings;
use super::support::{Noise, generation, hostile, info};

/// The reader's own bound. A damaged header of a page can make the Parquet library set aside, and
/// not touch, up to 2 GiB.
const ALLOWANCE: Allowance = Allowance {
    per_byte: 512,
    constant: (128 << 20) + (2 << 30),
};

/// Where nothing is damaged but the numbers.
const TIGHT: Allowance = Allowance {
    per_byte: 512,
    constant: 128 << 20,
};

/// Reads a trace to its end, and counts it.
fn read(path: &Path, allowance: Allowance) -> lac_trace::Result<u64> {
    let n_bytes = std::fs::metadata(path).map_or(0, |file| file.len()) as usize;
    within(allowance, n_bytes, || {
        let trace = TraceReader::open(path)?;
        let statistics = Statistics::of(&trace)?;
        statistics.summary();
        Ok(statistics.phases.prompt.n_tokens + statistics.phases.response.n_tokens)
    })
}

fn good() -> Vec<u8> {
    static GOOD: OnceLock<Vec<u8>> = OnceLock::new();
    GOOD.get_or_init(|| {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("good.parquet");
        let records = generation(&[5, 3], 3, 3, &mut Noise::new(4));
        let mut writer = lac_trace::TraceWriter::create(&path, info(3))
            .unwrap()
            .with_pieces(hostile);
        for record in &records {
            lac_core::Observer::pass(&mut writer, record).unwrap();
        }
        writer.finish().unwrap();
        std::fs::read(path).unwrap()
    })
    .clone()
}

/// A trace whose rows all hold the same, which Parquet writes in no space at all.
fn repeated(path: &Path, n_rows: usize, n_layers: usize, piece: &str) {
    let list = |name: &str, kind: &str| {
        format!(
            "required group {name} (LIST) {{ repeated group list {{ required {kind} element; }} }}\n"
        )
    };
    let schema = format!(
        "message trace {{
            required int32 sequence; required binary phase (STRING); required int32 position;
            optional int32 token_id; optional binary piece (STRING); required float embedding_norm;
            {}{}{}{}{}
        }}",
        list("active", "boolean"),
        list("executed", "boolean"),
        list("norm", "float"),
        list("delta", "float"),
        list("threshold", "float"),
    );
    let n_layers_text = n_layers.to_string();
    let pairs = settings("lac.n_layers", &n_layers_text)
        .into_iter()
        .map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()))
        .collect();
    let properties = WriterProperties::builder()
        .set_key_value_metadata(Some(pairs))
        .set_compression(Compression::SNAPPY)
        .set_data_page_row_count_limit(usize::MAX)
        .build();
    let schema = Arc::new(parse_message_type(&schema).unwrap());
    let file = File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let (ones, present) = (vec![1i32; n_rows], vec![1i16; n_rows]);
    let n = n_rows * n_layers;
    let levels: Vec<i16> = (0..n).map(|idx| i16::from(idx % n_layers != 0)).collect();
    let mut column_idx = 0;
    while let Some(mut column) = group.next_column().unwrap() {
        match column_idx {
            0 | 2 => column.typed::<Int32Type>().write_batch(&ones, None, None),
            3 => column
                .typed::<Int32Type>()
                .write_batch(&ones, Some(&present), None),
            1 => column.typed::<ByteArrayType>().write_batch(
                &vec![ByteArray::from("prompt"); n_rows],
                None,
                None,
            ),
            4 => column.typed::<ByteArrayType>().write_batch(
                &vec![ByteArray::from(piece); n_rows],
                Some(&present),
                None,
            ),
            5 => column
                .typed::<FloatType>()
                .write_batch(&vec![1.0; n_rows], None, None),
            6 | 7 => column.typed::<BoolType>().write_batch(
                &vec![true; n],
                Some(&vec![1; n]),
                Some(&levels),
            ),
            _ => column.typed::<FloatType>().write_batch(
                &vec![1.0; n],
                Some(&vec![1; n]),
                Some(&levels),
            ),
        }
        .unwrap();
        column.close().unwrap();
        column_idx += 1;
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn rows_that_repeat_themselves_do_not_fill_the_memory() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("repeated.parquet");
    repeated(&path, 1000, 4, "a");
    assert_eq!(read(&path, TIGHT).unwrap(), 1000);
    // Row groups of eight million values a column, in some kilobytes.
    repeated(&path, 8000, 1024, "a");
    let error = read(&path, TIGHT).unwrap_err().to_string();
    assert!(error.contains("repeated.parquet"), "{error}");
    assert!(error.contains("8000 tokens of 1024 layers"), "{error}");
    // A piece of 200 kilobytes, a thousand times.
    repeated(&path, 1000, 1, &"x".repeat(200_000));
    let error = read(&path, TIGHT).unwrap_err().to_string();
    assert!(error.contains("column piece holds more text"), "{error}");
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_change_of_a_byte_is_survived(bytes in damaged_bytes(good())) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("damaged.parquet");
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = read(&path, ALLOWANCE) {
            let message = lac_test_corruption::message(&error);
            prop_assert!(message.contains("damaged.parquet"), "{}", message);
            prop_assert!(message.len() < 4000, "{}", message);
        }
    }

    #[test]
    fn any_change_of_a_trace_saved_again_is_survived(
        bytes in prop::sample::select(&["gzip", "lz4", "brotli", "zstd"]).prop_flat_map(|codec| {
            let file = format!("tests/fixtures/codecs/pyarrow-{codec}.parquet");
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
            damaged_bytes(std::fs::read(file).unwrap())
        }),
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("damaged.parquet");
        std::fs::write(&path, &bytes).unwrap();
        if let Err(error) = read(&path, ALLOWANCE) {
            let message = lac_test_corruption::message(&error);
            prop_assert!(message.contains("damaged.parquet"), "{}", message);
            prop_assert!(message.len() < 4000, "{}", message);
        }
    }

    /// The parts of an interrupted run, one of them damaged.
    #[test]
    fn any_change_of_a_part_is_survived(bytes in damaged_bytes(good())) {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("part-000000.parquet"), good()).unwrap();
        std::fs::write(folder.path().join("part-000001.parquet"), &bytes).unwrap();
        if let Err(error) = read(folder.path(), ALLOWANCE) {
            let message = lac_test_corruption::message(&error);
            prop_assert!(message.contains("part-00000"), "{}", message);
        }
    }
}
