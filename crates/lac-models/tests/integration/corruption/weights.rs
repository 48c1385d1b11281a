//! Safetensors files and the index of several.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use lac_models::{ModelError, ModelFolder, WeightDtype, checkpoint::Checkpoint};
use lac_test_corruption::{Allowance, cases, damaged_bytes, damaged_json, within};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{check_error, check_parts};

const CONFIG: &str = r#"{"model_type": "llama", "vocab_size": 16, "hidden_size": 8,
    "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "tie_word_embeddings": true}"#;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

const ADAPTER: &str = r#"{"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 8}"#;

/// A header takes its tree; weights are held once, in a data type of twice the width at most.
const ALLOWANCE: Allowance = Allowance {
    per_byte: 300,
    constant: 4 << 20,
};

/// The model's tensors, F32, one behind the other.
fn tensors() -> Vec<(&'static str, Vec<usize>)> {
    vec![
        ("model.embed_tokens.weight", vec![16, 8]),
        ("model.layers.0.input_layernorm.weight", vec![8]),
        ("model.layers.0.self_attn.q_proj.weight", vec![8, 8]),
        ("model.layers.0.self_attn.k_proj.weight", vec![8, 8]),
        ("model.layers.0.self_attn.v_proj.weight", vec![8, 8]),
        ("model.layers.0.self_attn.o_proj.weight", vec![8, 8]),
        ("model.layers.0.post_attention_layernorm.weight", vec![8]),
        ("model.layers.0.mlp.gate_proj.weight", vec![16, 8]),
        ("model.layers.0.mlp.up_proj.weight", vec![16, 8]),
        ("model.layers.0.mlp.down_proj.weight", vec![8, 16]),
        ("model.norm.weight", vec![8]),
    ]
}

fn header(tensors: &[(&str, Vec<usize>)]) -> (String, usize) {
    let mut header = serde_json::Map::new();
    let mut start = 0;
    for (name, shape) in tensors {
        let end = start + 4 * shape.iter().product::<usize>();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert((*name).to_owned(), entry);
        start = end;
    }
    (Value::from(header).to_string(), start)
}

/// A file of a header and of so many bytes of small numbers.
fn file(header: &str, n_bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    let value = 0.125f32.to_le_bytes();
    file.extend(value.iter().cycle().take(n_bytes));
    file
}

fn good() -> Vec<u8> {
    let (header, n_bytes) = header(&tensors());
    file(&header, n_bytes)
}

fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("config.json"), CONFIG).unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn load(folder: &Path, n_bytes: usize) -> Result<(), ModelError> {
    within(ALLOWANCE, n_bytes, || {
        let folder = ModelFolder::open(folder)?;
        folder.fingerprint()?;
        folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
        Ok(())
    })
}

fn check_weights(what: &str, bytes: &[u8], parts: &[&str]) {
    let folder = folder(&[(WEIGHTS, bytes)]);
    let error = load(folder.path(), bytes.len()).expect_err(what);
    check_error(&error, Path::new(WEIGHTS));
    check_parts(&error, parts, what);
}

#[test]
fn headers_that_do_not_describe_their_file_are_refused() {
    let good = good();
    load(folder(&[(WEIGHTS, &good)]).path(), good.len()).unwrap();
    let (header, n_bytes) = header(&tensors());
    let with_len = |len: u64| [&len.to_le_bytes(), &good[8..]].concat();
    check_weights("7 bytes", &good[..7], &["7 bytes"]);
    check_weights("a header of nothing", &[0; 8], &["its header"]);
    check_weights(
        "beyond the file",
        &with_len(50_000),
        &["50000 bytes", "cut off"],
    );
    check_weights(
        "2^60",
        &with_len(1 << 60),
        &["header of 1152921504606846976 bytes"],
    );
    check_weights("2^64 - 1", &with_len(u64::MAX), &["at most 100000000"]);
    check_weights("short", &with_len(100), &["its header"]);
    let surplus = [&good[..], &[0; 4]].concat();
    check_weights("surplus", &surplus, &["does not describe"]);

    let change = |what: &str, from: &str, to: &str, parts: &[&str]| {
        assert!(header.contains(from), "{from}");
        check_weights(what, &file(&header.replacen(from, to, 1), n_bytes), parts);
    };
    let embedding = r#""shape":[16,8],"data_offsets":[0,512]"#;
    for (what, to, parts) in [
        (
            "reversed",
            r#""shape":[16,8],"data_offsets":[512,0]"#,
            &["bytes 512 to 0"][..],
        ),
        (
            "overlapping",
            r#""shape":[16,8],"data_offsets":[0,544]"#,
            &["embed_tokens", "does not fill its 544"],
        ),
        (
            "a hole",
            r#""shape":[16,8],"data_offsets":[4,516]"#,
            &["embed_tokens", "begin at 0"],
        ),
        (
            "huge offsets",
            r#""shape":[16,8],"data_offsets":[0,18446744073709551615]"#,
            &["embed_tokens"],
        ),
        (
            "offsets beyond any",
            r#""shape":[16,8],"data_offsets":[0,99999999999999999999]"#,
            &["embed_tokens"],
        ),
        (
            "negative offsets",
            r#""shape":[16,8],"data_offsets":[-512,0]"#,
            &["embed_tokens"],
        ),
        (
            "a huge shape",
            r#""shape":[4294967296,4294967296],"data_offsets":[0,512]"#,
            &["embed_tokens", "does not fill"],
        ),
        (
            "a shape of nothing",
            r#""shape":[0,8],"data_offsets":[0,512]"#,
            &["embed_tokens", "does not fill"],
        ),
        (
            "another shape",
            r#""shape":[8,16],"data_offsets":[0,512]"#,
            &["embed_tokens", "[8, 16]", "[16, 8]"],
        ),
        (
            "no shape",
            r#""data_offsets":[0,512]"#,
            &["embed_tokens", "shape"],
        ),
        (
            "a text as shape",
            r#""shape":"16","data_offsets":[0,512]"#,
            &["embed_tokens"],
        ),
    ] {
        change(what, embedding, to, parts);
    }
    change(
        "a width that does not fit",
        "F32",
        "F64",
        &["does not fill"],
    );
    change("a type that nobody knows", "F32", "F33", &["F33"]);
    change(
        "integers",
        "F32",
        "I32",
        &["embed_tokens", "I32", "expected F32"],
    );
    change(
        "half a byte",
        "F32",
        "F4",
        &["embed_tokens", "does not fill"],
    );
    change(
        "another name",
        "model.norm.weight",
        "model.Norm.weight",
        &["model.norm.weight", "missing"],
    );
    // The same name twice: an empty tensor leaves no hole behind.
    let twice = r#"{"model.norm.weight":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"#;
    change("a name twice", "{", twice, &["model.norm.weight", "twice"]);
    let surplus = r#"{"nothing":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"#;
    change(
        "a tensor of nothing",
        "{",
        surplus,
        &["unexpected", "nothing"],
    );
}

#[test]
fn weights_that_are_no_numbers_are_named() {
    let good = good();
    let data = good.len() - header(&tensors()).1;
    // The third value of the second row of the embedding.
    let at = data + 4 * (8 + 2);
    for (value, text) in [
        (f32::NAN, "NaN"),
        (f32::INFINITY, "inf"),
        (f32::NEG_INFINITY, "-inf"),
    ] {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let parts = ["model.embed_tokens.weight", text, "[1, 2]"];
        check_weights(text, &bytes, &parts);
    }
    let mut bytes = good;
    bytes[at..at + 4].copy_from_slice(&1e6f32.to_le_bytes());
    let folder = folder(&[(WEIGHTS, &bytes)]);
    load(folder.path(), bytes.len()).unwrap();
    let folder = ModelFolder::open(folder.path()).unwrap();
    let error = folder
        .load(WeightDtype::F16, &Device::flex(), &mut |_| {})
        .unwrap_err();
    let parts = [
        "embed_tokens",
        "1000000",
        "[1, 2]",
        "f16 cannot hold",
        "bf16",
    ];
    check_parts(&error, &parts, "a large number");
}

fn index_of(file_of: impl Fn(&str) -> String) -> String {
    let map: serde_json::Map<String, Value> = tensors()
        .iter()
        .map(|(name, _)| ((*name).to_owned(), file_of(name).into()))
        .collect();
    json!({"metadata": {"total_size": 1}, "weight_map": map}).to_string()
}

#[test]
fn an_index_leads_nowhere_else() {
    let good = good();
    let shard = "model-00001-of-00001.safetensors";
    let check = |what: &str, index: &str, parts: &[&str]| {
        let folder = folder(&[(shard, &good), (INDEX, index.as_bytes())]);
        let error = load(folder.path(), good.len() + index.len()).expect_err(what);
        check_parts(&error, parts, what);
        assert!(Checkpoint::open(folder.path()).is_err(), "{what}");
    };
    let index = index_of(|_| shard.to_owned());
    let whole = folder(&[(shard, &good), (INDEX, index.as_bytes())]);
    load(whole.path(), good.len() + index.len()).unwrap();
    let names = Checkpoint::shard_names(&whole.path().join(INDEX)).unwrap();
    assert_eq!(names.into_iter().collect::<Vec<_>>(), [shard]);

    for path in [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        ".",
        "",
        "folder/model.safetensors",
        "..\\model.safetensors",
    ] {
        let index = index_of(|_| path.to_owned());
        check(path, &index, &[INDEX, "plain file name", "model."]);
        let folder = folder(&[(INDEX, index.as_bytes())]);
        assert!(Checkpoint::shard_names(&folder.path().join(INDEX)).is_err());
    }
    check(
        "itself",
        &index_of(|_| INDEX.to_owned()),
        &[INDEX, "not a whole safetensors file"],
    );
    check(
        "a NUL",
        &index_of(|_| "a\0b".to_owned()),
        &[INDEX, "not beside it"],
    );
    check(
        "missing",
        &index_of(|_| "other.safetensors".to_owned()),
        &["other.safetensors"],
    );
    check(
        "nothing",
        r#"{"weight_map": {}}"#,
        &[INDEX, "names no tensor"],
    );
    check("no map", "{}", &[INDEX, "weight_map"]);
    check(
        "a number",
        r#"{"weight_map": {"a": 1}}"#,
        &[INDEX, "line 1"],
    );
    let twice = format!(r#"{{"weight_map": {{"a": "{shard}", "a": "other"}}}}"#);
    check("a name twice", &twice, &[INDEX, "a stands in it twice"]);
    let elsewhere = format!(r#"{{"weight_map": {{"model.elsewhere": "{shard}"}}}}"#);
    check(
        "a tensor elsewhere",
        &elsewhere,
        &[shard, "does not hold the tensor model.elsewhere"],
    );
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_files_only() {
    use std::os::unix::fs::symlink;
    let good = good();
    let check = |target: &str, parts: &[&str]| {
        for name in [WEIGHTS, "config.json"] {
            let folder = folder(&[(WEIGHTS, &good)]);
            let path = folder.path().join(name);
            fs::remove_file(&path).unwrap();
            let target = if target == "itself" { name } else { target };
            symlink(target, &path).unwrap();
            let error = load(folder.path(), good.len()).expect_err(target);
            check_error(&error, name.as_ref());
            check_parts(&error, parts, target);
        }
    };
    check("itself", &["cannot read"]);
    check("nowhere", &["cannot read", "No such file"]);
    check("/dev/zero", &["not a regular file"]);
    check("/dev", &["not a regular file"]);
    // The cache of the hub is made of links.
    let linked = folder(&[("blob", &good)]);
    symlink("blob", linked.path().join(WEIGHTS)).unwrap();
    load(linked.path(), good.len()).unwrap();
}

/// The metadata of a header names tensors that are one; it may name anything.
#[test]
fn notes_about_shared_tensors_are_survived() {
    let (header, n_bytes) = header(&tensors());
    let long = "x".repeat(1 << 16);
    for (metadata, is_read) in [
        (r#"{"format": "pt"}"#, true),
        (r#"{"lm_head.weight": "model.embed_tokens.weight"}"#, true),
        (
            r#"{"model.norm.weight": "model.norm.weight", "": ""}"#,
            true,
        ),
        (r#"{"a": "b", "b": "a"}"#, true),
        (&format!(r#"{{"{long}": "{long}"}}"#), true),
        (r#"{"lm_head.weight": 1}"#, false),
        (r#"{"lm_head.weight": null}"#, false),
        ("[]", false),
    ] {
        let header = header.replacen('{', &format!(r#"{{"__metadata__": {metadata},"#), 1);
        let bytes = file(&header, n_bytes);
        let folder = folder(&[(WEIGHTS, &bytes)]);
        let loaded = load(folder.path(), bytes.len());
        assert_eq!(loaded.is_ok(), is_read, "{metadata}: {loaded:?}");
    }
}

/// A folder with an adapter's configuration is described, whatever stands in it.
fn describes(config: &[u8]) {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("adapter_config.json"), config).unwrap();
    let error = load(folder.path(), config.len()).expect_err("it is an adapter");
    check_parts(&error, &["adapter", "merge"], "an adapter");
    let message = lac_test_corruption::message(&error);
    assert!(message.len() < 4000, "{message}");
}

fn survives(name: &str, bytes: &[u8], more: usize, folder: &TempDir) {
    fs::write(folder.path().join(name), bytes).unwrap();
    if let Err(error) = load(folder.path(), bytes.len() + more) {
        // The index and its shard are both at fault when they contradict each other.
        let message = lac_test_corruption::message(&error);
        assert!(message.contains(".safetensors"), "{message}");
        assert!(message.len() < 4000, "{message}");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn any_change_of_a_header_is_survived(header in damaged_json(&header(&tensors()).0)) {
        let (_, n_bytes) = super::weights::header(&tensors());
        survives(WEIGHTS, &file(&header, n_bytes), 0, &folder(&[]));
    }

    #[test]
    fn any_change_of_a_byte_is_survived(bytes in damaged_bytes(good())) {
        survives(WEIGHTS, &bytes, 0, &folder(&[]));
    }

    #[test]
    fn any_change_of_an_adapter_is_survived(
        bytes in damaged_bytes(ADAPTER.as_bytes().to_vec()),
        text in damaged_json(ADAPTER),
    ) {
        describes(&bytes);
        describes(text.as_bytes());
    }

    #[test]
    fn any_change_of_an_index_is_survived(
        index in damaged_json(&index_of(|_| "shard.safetensors".to_owned())),
    ) {
        let shard = good();
        let folder = folder(&[("shard.safetensors", &shard)]);
        survives(INDEX, index.as_bytes(), shard.len(), &folder);
    }
}
