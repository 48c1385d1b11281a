//! GGUF files: headers, metadata and tensors.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use lac_models::{ModelError, ModelFolder, WeightDtype};
use lac_test_corruption::{Allowance, cases, damaged_bytes, message, within};
use proptest::prelude::*;
use tempfile::TempDir;

use super::{check_error, check_parts};
use crate::gguf_builder::{GgufBuilder, small_llama, text_bytes};

/// A header takes its tree and its vocabulary; weights are held once, wider than in the file.
const ALLOWANCE: Allowance = Allowance {
    per_byte: 400,
    constant: 4 << 20,
};

const FILE: &str = "m.gguf";

/// Opens, hashes, loads and makes the tokenizer.
pub fn load(path: &Path, n_bytes: usize) -> Result<(), ModelError> {
    within(ALLOWANCE, n_bytes, || {
        let folder = ModelFolder::open(path)?;
        folder.weights_summary()?;
        folder.tokenizer()?;
        folder.fingerprint()?;
        folder.load(WeightDtype::F16, &Device::flex(), &mut |_| {})?;
        Ok(())
    })
}

pub fn load_bytes(bytes: &[u8]) -> Result<(), ModelError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(FILE);
    fs::write(&path, bytes).unwrap();
    load(&path, bytes.len())
}

#[track_caller]
fn check_bytes(what: &str, bytes: &[u8], parts: &[&str]) {
    let error = load_bytes(bytes).expect_err(what);
    check_error(&error, Path::new(FILE));
    check_parts(&error, parts, what);
}

#[track_caller]
pub fn check(what: &str, builder: GgufBuilder, parts: &[&str]) {
    check_bytes(what, &builder.build(), parts);
}

#[test]
fn good_files_are_read() {
    load_bytes(&small_llama().build()).unwrap();
    let older = GgufBuilder {
        version: 2,
        ..small_llama()
    };
    load_bytes(&older.build()).unwrap();
    let aligned = GgufBuilder {
        alignment: 4096,
        ..small_llama().u32("general.alignment", 4096)
    };
    load_bytes(&aligned.build()).unwrap();
    // What stands behind the last tensor is nothing's.
    load_bytes(&[small_llama().build(), vec![7; 100]].concat()).unwrap();
    // Tensors may stand in any order, with gaps between them.
    let mut moved = small_llama();
    let len = moved.build().len() as u64;
    let first = moved.tensors[0].clone();
    moved.tensors[0].offset = Some(len.next_multiple_of(32) + 64);
    let mut bytes = moved.build();
    bytes.resize(2 * len as usize + 4096, 0);
    assert_eq!(first.name, "token_embd.weight");
    load_bytes(&bytes).unwrap();
}

#[test]
fn headers_that_do_not_describe_their_file_are_refused() {
    let good = small_llama().build();
    check_bytes("nothing", b"", &["empty"]);
    check_bytes("three bytes", b"GGU", &["ends after 3 bytes", "cut off"]);
    check_bytes("an archive", b"PK\x03\x04 and more", &["zip archive"]);
    check_bytes(
        "a pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n",
        &["git lfs pull"],
    );
    check_bytes(
        "another file",
        b"XY\x03\x04 and more",
        &["XY", "expected GGUF"],
    );
    check_bytes("a format before", b"tjgg\x03\0\0\0", &["before GGUF"]);
    for (version, parts) in [
        (1, &["version 1", "expected 2 or 3"][..]),
        (4, &["version 4", "expected 2 or 3"]),
        (0, &["expected 2 or 3"]),
        (3 << 24, &["big-endian", "version 3", "little-endian"]),
    ] {
        let other = GgufBuilder {
            version,
            ..small_llama()
        };
        check(&format!("version {version}"), other, parts);
    }
    let with = |n_values, n_tensors| GgufBuilder {
        n_values,
        n_tensors,
        ..small_llama()
    };
    check(
        "keys without end",
        with(Some(u64::MAX), None),
        &["18446744073709551615 keys", "cut off"],
    );
    check(
        "many keys",
        with(Some(1 << 40), None),
        &["1099511627776 keys"],
    );
    check(
        "tensors without end",
        with(None, Some(u64::MAX)),
        &["18446744073709551615 tensors"],
    );
    check("a tensor too many", with(None, Some(12)), &["m.gguf"]);
    check("a key too many", with(Some(17), None), &["m.gguf"]);
    check(
        "no tensors",
        with(None, Some(0)),
        &["token_embd.weight", "missing"],
    );
    for len in [4, 8, 20, 30, 100, 300, 700] {
        check_bytes(&format!("{len} bytes"), &good[..len], &["cut off"]);
    }
    check_bytes(
        "cut off in the last tensor",
        &good[..good.len() - 64],
        &["output_norm.weight", "cut off"],
    );
}

#[test]
fn metadata_that_cannot_be_is_refused() {
    let good = small_llama;
    let key = "general.name";
    check(
        "a text without end",
        good().value(key, 8, u64::MAX.to_le_bytes().to_vec()),
        &[key, "18446744073709551615 bytes of text"],
    );
    check(
        "a text of no text",
        good().value(key, 8, [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()),
        &[key, "UTF-8"],
    );
    check(
        "a type that is none",
        good().value(key, 13, vec![0; 8]),
        &[key, "type 13", "0 to 12"],
    );
    check(
        "neither true nor false",
        good().value(key, 7, vec![2]),
        &[key, "holds 2", "true"],
    );
    let array =
        |number: u32, count: u64| [&number.to_le_bytes()[..], &count.to_le_bytes()].concat();
    check(
        "numbers without end",
        good().value(key, 9, array(4, u64::MAX)),
        &[key, "18446744073709551615 numbers"],
    );
    check(
        "many numbers",
        good().value(key, 9, array(12, 1 << 61)),
        &[key, "2305843009213693952 numbers"],
    );
    check(
        "texts without end",
        good().value(key, 9, array(8, 1 << 60)),
        &[key, "1152921504606846976 texts"],
    );
    check(
        "arrays without end",
        good().value(key, 9, array(9, 1 << 60)),
        &[key, "1152921504606846976 arrays"],
    );
    let deep = (0..100).flat_map(|_| array(9, 1)).collect();
    check(
        "arrays in arrays",
        good().value(key, 9, deep),
        &[key, "more than 4 deep"],
    );
    // Nested arrays that are not too deep are read.
    let nested = [
        array(9, 2),
        array(0, 3),
        vec![1, 2, 3],
        array(8, 1),
        text_bytes("a"),
    ]
    .concat();
    load_bytes(&good().value("general.any", 9, nested).build()).unwrap();
    let mut twice = good();
    twice.values.push(twice.values[0].clone());
    check("a key twice", twice, &["general.architecture twice"]);
    for alignment in [0, 3, 48] {
        check(
            &format!("alignment {alignment}"),
            good().u32("general.alignment", alignment),
            &["general.alignment", "power of two"],
        );
    }
    check(
        "an alignment of text",
        good().text("general.alignment", "32"),
        &["general.alignment", "\"32\""],
    );
}

#[test]
fn tensors_that_cannot_be_are_refused() {
    let name = "blk.0.attn_q.weight";
    let with = |change: &dyn Fn(&mut crate::gguf_builder::TensorPart)| {
        small_llama().entry(name, |entry| change(entry))
    };
    let rotation = small_llama().f32_tensor("rope_freqs.weight", &[4], &[1.0, 0.0, 8.0, 8.0]);
    for (what, builder, parts) in [
        (
            "a type that is none",
            with(&|entry| entry.ggml_type = 77),
            &[name, "number 77", "Q4_K"][..],
        ),
        (
            "a type that is not read",
            with(&|entry| entry.ggml_type = 16),
            &[name, "IQ2_XXS", "Q4_K"],
        ),
        (
            "numbers of 64 bits",
            with(&|entry| entry.ggml_type = 28),
            &[name, "F64"],
        ),
        (
            "no dimensions",
            with(&|entry| entry.shape = vec![]),
            &[name, "0 dimensions"],
        ),
        (
            "five dimensions",
            with(&|entry| entry.shape = vec![1; 5]),
            &[name, "5 dimensions"],
        ),
        (
            "dimensions without end",
            with(&|entry| entry.shape = vec![0; 200]),
            &["m.gguf"],
        ),
        (
            "a dimension of 0",
            with(&|entry| entry.shape = vec![0, 32]),
            &[name, "without any values"],
        ),
        (
            "a shape beyond any",
            with(&|entry| entry.shape = vec![1 << 40, 1 << 40]),
            &[name, "larger than any memory"],
        ),
        (
            "a shape that wraps",
            with(&|entry| entry.shape = vec![1 << 32, 1 << 32, 1 << 32]),
            &[name, "larger than any memory"],
        ),
        (
            "another shape",
            with(&|entry| entry.shape = vec![16, 64]),
            &[name, "[16, 64]", "[32, 32]"],
        ),
        (
            "three dimensions",
            with(&|entry| entry.shape = vec![1, 32, 32]),
            &[name, "[1, 32, 32]"],
        ),
        (
            "half a block",
            with(&|entry| {
                entry.ggml_type = 2;
                entry.shape = vec![32, 16];
            }),
            &[name, "rows of 16", "Q4_0"],
        ),
        (
            "a row of no whole super-block",
            with(&|entry| entry.ggml_type = 12),
            &[name, "rows of 32", "Q4_K", "256"],
        ),
        (
            "a place beyond the file",
            with(&|entry| entry.offset = Some(1 << 40)),
            &[name, "cut off"],
        ),
        (
            "a place beyond any",
            with(&|entry| entry.offset = Some(u64::MAX - 31)),
            &[name, "cut off"],
        ),
        (
            "a place that is not aligned",
            with(&|entry| entry.offset = Some(33)),
            &[name, "alignment 32"],
        ),
        (
            "a place that is taken",
            with(&|entry| entry.offset = Some(0)),
            &["begins before", "ends"],
        ),
        (
            "another name",
            with(&|entry| entry.name = "blk.0.other.weight".into()),
            &[name, "missing"],
        ),
        (
            "a name of a megabyte",
            with(&|entry| entry.name = "x".repeat(1 << 20)),
            &["missing"],
        ),
        (
            "a tensor too many",
            small_llama().f32_tensor("blk.1.attn_q.weight", &[1], &[1.0]),
            &["unexpected", "blk.1.attn_q.weight", "llama"],
        ),
        (
            "factors of rotary positions",
            rotation,
            &["rope_freqs.weight", "holds 0"],
        ),
        (
            "a mixture of experts",
            small_llama().f32_tensor("blk.0.ffn_gate_exps.weight", &[1], &[1.0]),
            &["ffn_gate_exps"],
        ),
    ] {
        check(what, builder, parts);
    }
    let mut twice = small_llama();
    twice.tensors.push(twice.tensors[2].clone());
    check("a name twice", twice, &[name, "twice"]);
    let value = |value: f32| {
        small_llama().entry(name, |entry| {
            let at = 4 * (32 * 3 + 5);
            entry.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    check("no number", value(f32::NAN), &[name, "NaN", "[3, 5]"]);
    check(
        "infinite",
        value(f32::NEG_INFINITY),
        &[name, "-inf", "[3, 5]"],
    );
    check(
        "too large",
        value(1e6),
        &[name, "1000000", "f16 cannot hold", "bf16"],
    );
    // A scale that is no number makes 32 values that are none.
    let mut blocks = vec![0; 32 * 34];
    blocks[34 * 7 + 1] = 0x7e;
    let quantised = small_llama().entry(name, |entry| {
        entry.ggml_type = 8;
        entry.bytes = blocks;
    });
    check(
        "a scale that is no number",
        quantised,
        &[name, "NaN", "[7, 0]"],
    );
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_change_of_a_byte_is_survived(bytes in damaged_bytes(small_llama().build())) {
        if let Err(error) = load_bytes(&bytes) {
            let message = message(&error);
            prop_assert!(message.contains(FILE), "{message}");
            prop_assert!(message.len() < 4000, "{message}");
        }
    }
}
