//! What is written is what is read.

use std::path::Path;
use std::time::Duration;

use lac_core::Observer;
use lac_trace::file::{FlushLimits, TraceState};
use lac_trace::{TraceReader, TraceWriter};
use proptest::prelude::*;
use tempfile::TempDir;

use super::support::{Noise, Owned, generation, hostile, info, tokens, write};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However a run is cut into parts, the file holds every token that counts, in order.
    #[test]
    fn every_token_comes_back(
        lengths in prop::collection::vec(1usize..6, 1..4),
        n_new in 0usize..6,
        n_layers in 1usize..5,
        bytes in 1usize..4000,
        seed in any::<u64>(),
    ) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("trace.parquet");
        let mut noise = Noise::new(seed);
        let mut records = generation(&lengths, n_new, n_layers, &mut noise);
        // A second generation counts its sequences on.
        records.extend(generation(&[2], 1, n_layers, &mut noise));

        let limits = FlushLimits { bytes, after: Duration::from_secs(3600) };
        let mut writer = TraceWriter::create(&path, info(n_layers))
            .unwrap()
            .with_pieces(hostile)
            .with_limits(limits);
        records.iter().for_each(|record| writer.pass(record).unwrap());
        writer.unfed(0, 17);
        let n_tokens = writer.n_tokens();
        prop_assert_eq!(writer.n_sequences() as usize, lengths.len() + 1);
        prop_assert_eq!(writer.finish().unwrap(), n_tokens);

        let trace = TraceReader::open(&path).unwrap();
        prop_assert_eq!(trace.state(), TraceState::Complete);
        prop_assert_eq!(trace.n_tokens(), n_tokens);
        let mut described = info(n_layers);
        described.unfed.insert(0, 17);
        prop_assert_eq!(trace.info(), &described);
        prop_assert!(!folder.path().join("trace.parquet.parts").exists());

        let mut expected = Vec::new();
        let mut first = 0;
        for record in &records {
            if record.pass.past() == 0 && !expected.is_empty() {
                first += lengths.len() as u32;
            }
            let gate = record.gate.as_ref().unwrap();
            for (row, slot) in record.counted() {
                let layers = |values: &[f32]| -> Vec<f32> {
                    (0..n_layers).map(|layer| values[record.at(layer, row, slot)]).collect()
                };
                let token = row * record.pass.seq() + slot;
                let id = record.pass.token_ids()[token];
                let position = record.pass.position(row, slot).unwrap() as u32;
                expected.push(Owned {
                    place: (first + row as u32, record.pass.phase(), position),
                    id: Some(id),
                    piece: hostile(id),
                    embedding_norm: gate.embedding_norms[token],
                    norms: layers(&gate.norms),
                    deltas: layers(&gate.deltas),
                    thresholds: layers(&gate.thresholds),
                    active: (0..n_layers)
                        .map(|layer| gate.active[record.at(layer, row, slot)])
                        .collect(),
                    executed: record.executed(),
                });
            }
        }
        prop_assert_eq!(tokens(&trace), expected);
    }
}

/// Files of `tests/fixtures/make_codecs.py`.
#[test]
fn a_trace_that_was_saved_again_is_read() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let own = TraceReader::open(&fixtures.join("trace.parquet")).unwrap();
    let expected = tokens(&own);
    let open = |name: &str| TraceReader::open(&fixtures.join("codecs").join(name));
    for name in [
        "pyarrow-none.parquet",
        "pyarrow-snappy.parquet",
        "pyarrow-gzip.parquet",
        "pyarrow-lz4.parquet",
        "pyarrow-brotli.parquet",
        "pyarrow-zstd.parquet",
        "polars-zstd.parquet",
    ] {
        let trace = open(name).unwrap();
        assert_eq!(trace.info(), own.info(), "{name}");
        assert_eq!(tokens(&trace), expected[..12], "{name}");
    }
    let error = open("without-metadata.parquet").unwrap_err().to_string();
    assert!(error.contains("has to keep its metadata"), "{error}");
}

#[test]
fn json_and_csv_hold_the_same_numbers() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let records = generation(&[3, 2], 3, 2, &mut Noise::new(5));
    let mut described = info(2);
    described.unfed.insert(1, 9);
    write(&path, described, &records);
    let trace = TraceReader::open(&path).unwrap();
    let all = tokens(&trace);

    let json_path = folder.path().join("trace.json");
    trace.write_json(&json_path, 1).unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json_path).unwrap()).unwrap();
    let own: Vec<&Owned> = all.iter().filter(|token| token.place.0 == 1).collect();
    assert_eq!(json["layers"], 2);
    assert_eq!(json["prompt_ids"].as_array().unwrap().len(), 2);
    // Two tokens were fed, and one more was chosen.
    assert_eq!(json["generated"].as_array().unwrap().len(), 3);
    assert_eq!(json["generated"][2], 9);
    for (field, pick) in [("deltas", 0), ("rg_deltas", 2)] {
        for layer in 0..2 {
            for column in 0..2 {
                let value = json[field][layer][column].as_f64().unwrap() as f32;
                assert_eq!(value, own[pick + column].deltas[layer], "{field}");
            }
        }
    }
    let error = trace.write_json(&json_path, 2).unwrap_err().to_string();
    assert!(
        error.contains("no sequence 2: they count from 0 to 1"),
        "{error}"
    );

    let csv_path = folder.path().join("trace.csv");
    trace.write_csv(&csv_path).unwrap();
    let mut reader = csv::Reader::from_path(&csv_path).unwrap();
    let header: Vec<String> = reader
        .headers()
        .unwrap()
        .iter()
        .map(str::to_owned)
        .collect();
    let at = |name: &str| header.iter().position(|column| column == name).unwrap();
    let mut n_rows = 0;
    for (row, token) in reader.records().map(Result::unwrap).zip(&all) {
        assert_eq!(row[at("sequence")].parse::<u32>().unwrap(), token.place.0);
        assert_eq!(&row[at("piece")], token.piece.as_deref().unwrap());
        for layer in 0..2 {
            let delta: f32 = row[at(&format!("delta_{layer}"))].parse().unwrap();
            assert_eq!(delta, token.deltas[layer]);
            let active = &row[at(&format!("active_{layer}"))];
            assert_eq!(active == "1", token.active[layer]);
        }
        n_rows += 1;
    }
    assert_eq!(n_rows, all.len());
}

/// Half a minute without a pass does not mean half a minute without a part.
#[test]
fn what_has_waited_long_enough_is_written() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.parquet");
    let limits = FlushLimits {
        bytes: usize::MAX,
        after: Duration::from_millis(1),
    };
    let mut writer = TraceWriter::create(&path, info(2))
        .unwrap()
        .with_limits(limits);
    for record in generation(&[1], 4, 2, &mut Noise::new(3)) {
        writer.pass(&record).unwrap();
        std::thread::sleep(Duration::from_millis(3));
    }
    let parts = std::fs::read_dir(folder.path().join("trace.parquet.parts")).unwrap();
    assert!(parts.count() >= 2);
    assert_eq!(writer.finish().unwrap(), 5);
}
