//! Folders and files that hold something else than a model in safetensors form: each is named for what it is, with what
//! to do about it.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use lac_models::{ModelFolder, WeightDtype, model_files};
use lac_test_corruption::message;
use tempfile::TempDir;

use crate::parity::fixture;

const POINTER: &str = "version https://git-lfs.github.com/spec/v1\noid sha256:5af571cbf074e6d21a03528d2330792e\nsize 269060552\n";
const PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Sign in</title>";
const REFUSAL: &str = r#"{"error":"Access to model org/name is restricted"}"#;

/// A folder with the given files, each with some bytes, and with `config.json` where that is asked for.
fn folder(has_config: bool, files: &[&str]) -> TempDir {
    let folder = TempDir::new().unwrap();
    if has_config {
        fs::copy(
            fixture("llama").join("config.json"),
            folder.path().join("config.json"),
        )
        .unwrap();
    }
    for name in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "some bytes").unwrap();
    }
    folder
}

fn error_of(path: &Path) -> String {
    let loaded = ModelFolder::open(path).and_then(|folder| {
        folder.tokenizer()?;
        folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})
    });
    message(&loaded.expect_err(&path.display().to_string()))
}

/// The error of the weights, the tokenizer aside.
fn weights_error_of(path: &Path) -> String {
    let loaded = ModelFolder::open(path)
        .and_then(|folder| folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {}));
    message(&loaded.expect_err(&path.display().to_string()))
}

#[track_caller]
fn check(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    assert!(error.len() < 1000, "{error}");
}

#[test]
fn weights_in_other_forms_are_named() {
    for (files, parts) in [
        (
            &["pytorch_model.bin"][..],
            &["pickle form", "pytorch_model.bin", "save_pretrained"][..],
        ),
        (
            &[
                "pytorch_model-00001-of-00002.bin",
                "pytorch_model.bin.index.json",
            ],
            &["pickle form", "save_pretrained"],
        ),
        (&["model.pt"], &["pickle form", "model.pt"]),
        (
            &["consolidated.safetensors", "params.json", "tekken.json"],
            &["consolidated.safetensors", "Mistral", "convert"],
        ),
        (
            &["consolidated.00.pth", "params.json"],
            &["consolidated.00.pth", "Meta", "convert"],
        ),
        (
            &["original/consolidated.00.pth", "original/params.json"],
            &["original/consolidated.00.pth", "Meta"],
        ),
        (
            &["model-00001-of-00003.safetensors"],
            &[
                "one of 3 files",
                "model.safetensors.index.json",
                "other files",
            ],
        ),
        (
            &[
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors",
            ],
            &[
                "one of 2 files",
                "model.safetensors.index.json",
                "is missing: download",
            ],
        ),
        (
            &["model-00001-of-00001.safetensors"],
            &["rename it to model.safetensors"],
        ),
        (
            &["model.fp16.safetensors"],
            &["model.fp16.safetensors", "rename it"],
        ),
        (
            &["model-q4_k_m.gguf", "README.md"],
            &["model-q4_k_m.gguf", "not a whole GGUF file"],
        ),
        (&["tf_model.h5"], &["TensorFlow", "from_tf=True"]),
        (&["flax_model.msgpack"], &["Flax", "from_flax=True"]),
        (&["model.onnx"], &["ONNX", "original model"]),
        (
            &["onnx/model.onnx", "onnx/model_quantized.onnx"],
            &["ONNX", "onnx/model.onnx"],
        ),
        (&["weights.npz"], &["MLX", "weights.npz"]),
        (&["openvino_model.xml", "openvino_model.bin"], &["OpenVINO"]),
        (
            &["model.safetensors.incomplete"],
            &[
                "not finished",
                "model.safetensors.incomplete",
                "run it again",
            ],
        ),
        (
            &[".cache/huggingface/download/x.incomplete"],
            &["not finished", "x.incomplete"],
        ),
        (&["model.safetensors.part"], &["not finished"]),
        (&["README.md"], &["model.safetensors"]),
        (&[], &["no weights", "expected model.safetensors"]),
    ] {
        for has_config in [true, false] {
            let folder = folder(has_config, files);
            let error = weights_error_of(folder.path());
            if has_config || !files.is_empty() && files != ["README.md"] {
                check(&error, parts);
            } else {
                check(&error, &["config.json"]);
            }
        }
    }
}

#[test]
fn folders_that_are_no_models_are_named() {
    let adapter = folder(false, &["adapter_model.safetensors"]);
    let config = r#"{"peft_type": "LORA", "base_model_name_or_path": "org/base"}"#;
    fs::write(adapter.path().join("adapter_config.json"), config).unwrap();
    check(
        &error_of(adapter.path()),
        &["adapter", "org/base", "merge_and_unload"],
    );
    fs::copy(
        fixture("llama").join("config.json"),
        adapter.path().join("config.json"),
    )
    .unwrap();
    check(
        &weights_error_of(adapter.path()),
        &["adapter", "org/base", "merge_and_unload"],
    );
    fs::write(adapter.path().join("adapter_config.json"), "{").unwrap();
    check(
        &weights_error_of(adapter.path()),
        &["adapter", "its base model"],
    );

    let commit = "5f0b02c75b57c5855da9ae460ce51323ea669d8a";
    let inner = format!("snapshots/{commit}/config.json");
    let repository = folder(false, &["refs/main", &inner]);
    check(&error_of(repository.path()), &["hub cache", commit]);
    let cache = folder(false, &["models--org--name/refs/main"]);
    check(&error_of(cache.path()), &["hub cache", "org/name"]);
    let above = folder(
        false,
        &["model-a/config.json", "model-b/config.json", "logs/x"],
    );
    check(
        &error_of(above.path()),
        &["did you mean", "model-a", "model-b"],
    );
    let diffusers = folder(false, &["model_index.json", "unet/config.json"]);
    check(&error_of(diffusers.path()), &["diffusers"]);
}

#[test]
fn a_file_in_the_place_of_a_folder_is_named() {
    let folder = folder(true, &["model.safetensors", "model.gguf", "notes.txt"]);
    let path = |name: &str| folder.path().join(name);
    fs::write(path("model.gguf"), b"GGUF\x03\0\0\0").unwrap();
    let place = folder.path().display().to_string();
    for (name, parts) in [
        ("model.safetensors", &["not a folder", place.as_str()][..]),
        ("config.json", &["not a folder", &place]),
        ("model.gguf", &["model.gguf", "not a whole GGUF file"]),
        ("notes.txt", &["not a folder", "config.json"]),
    ] {
        check(&error_of(&path(name)), parts);
    }
}

/// A whole model in which one file is not what its name says.
#[test]
fn what_was_saved_in_the_place_of_a_file_is_named() {
    let whole = || {
        let folder = TempDir::new().unwrap();
        for from in [fixture("qwen2"), fixture("qwen2").join("../../chat/qwen")] {
            for entry in fs::read_dir(from).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        folder
    };
    ModelFolder::open(whole().path())
        .unwrap()
        .tokenizer()
        .unwrap();
    for name in [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors.index.json",
        "model-00001-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
        "special_tokens_map.json",
        "added_tokens.json",
    ] {
        for (bytes, part) in [
            (POINTER.as_bytes(), "git lfs pull"),
            (PAGE.as_bytes(), "HTML page"),
            (REFUSAL.as_bytes(), "refused the download"),
            (b"\x1f\x8b\x08\0\0\0\0\0\0\0", "gzip"),
            (b"PK\x03\x04\x14\0\0\0\0\0", "zip archive"),
            (b"GGUF\x03\0\0\0\0\0", "GGUF"),
        ] {
            let folder = whole();
            fs::write(folder.path().join(name), bytes).unwrap();
            check(&error_of(folder.path()), &[name, part]);
        }
        let folder = whole();
        fs::write(folder.path().join(name), "").unwrap();
        check(&error_of(folder.path()), &[name]);
    }
    let template = whole();
    fs::write(template.path().join("chat_template.jinja"), POINTER).unwrap();
    check(
        &error_of(template.path()),
        &["chat_template.jinja", "git lfs pull"],
    );
}

#[test]
fn shards_that_an_index_names_and_that_are_missing_are_listed() {
    let shards = [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
        "model-00003-of-00003.safetensors",
    ];
    for (removed, beside, parts) in [
        (
            &shards[1..2],
            None,
            &[
                "model-00002-of-00003.safetensors",
                "which is not beside it",
                "download",
            ][..],
        ),
        (
            &shards[1..],
            None,
            &[
                "model-00002-of-00003",
                "model-00003-of-00003",
                "2 of 3 files",
            ],
        ),
        (&shards[..], None, &["3 of 3 files"]),
        (
            &shards[..1],
            Some("model-00001-of-00003.safetensors.incomplete"),
            &["not finished", "run it again"],
        ),
    ] {
        let folder = TempDir::new().unwrap();
        for entry in fs::read_dir(fixture("qwen2")).unwrap() {
            let entry = entry.unwrap();
            if !removed.contains(&entry.file_name().to_str().unwrap()) {
                fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
            }
        }
        if let Some(name) = beside {
            fs::write(folder.path().join(name), "half").unwrap();
        }
        check(&weights_error_of(folder.path()), parts);
        assert_eq!(model_files::missing(folder.path()), removed);
    }
}

#[test]
fn a_listing_says_what_is_needed() {
    let listing = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let whole = listing(&[
        "config.json",
        "model.safetensors",
        "model.safetensors.index.json",
        "README.md",
    ]);
    assert_eq!(model_files::check(&whole), Ok(()));
    for (name, is_needed) in [
        ("config.json", true),
        ("model.safetensors", true),
        // One file is enough.
        ("model.safetensors.index.json", false),
        ("added_tokens.json", true),
        ("tokenizer.model", true),
        ("additional_chat_templates/rag.jinja", true),
        ("additional_chat_templates/deep/rag.jinja", false),
        ("README.md", false),
        ("pytorch_model.bin", false),
        ("onnx/config.json", false),
    ] {
        assert_eq!(model_files::is_needed(name, &whole), is_needed, "{name}");
    }
    let sharded = listing(&["config.json", "model.safetensors.index.json"]);
    assert_eq!(model_files::check(&sharded), Ok(()));
    assert!(model_files::is_needed(
        "model.safetensors.index.json",
        &sharded
    ));
    // A model in GGUF is one file, unless it was split, and needs no other.
    let gguf = listing(&["config.json", "model.Q4_K_M.gguf"]);
    assert_eq!(model_files::check(&gguf), Ok(()));
    assert!(model_files::is_needed("model.Q4_K_M.gguf", &gguf));
    assert!(!model_files::is_needed("config.json", &gguf));
    for (names, part) in [
        (&["config.json", "pytorch_model.bin"][..], "pickle form"),
        (
            &["model.Q4_K_M.gguf", "model.Q8_0.gguf"],
            "several models in GGUF",
        ),
        (
            &["adapter_config.json", "adapter_model.safetensors"],
            "adapter",
        ),
        (
            &["params.json", "consolidated.safetensors"],
            "consolidated.safetensors",
        ),
        (&["original/consolidated.00.pth", "config.json"], "Meta"),
        (&["README.md"], "config.json with model.safetensors"),
        (&["model.safetensors"], "config.json"),
    ] {
        let error = model_files::check(&listing(names)).unwrap_err();
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}
