//! `--model organisation/name` and data sets by their id: found in the local Hugging Face cache, without a network.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const COMMIT: &str = "5f0b02c75b57c5855da9ae460ce51323ea669d8a";
const OTHER: &str = "6a1b02c75b57c5855da9ae460ce51323ea669d8b";

/// Runs the program with no other variables of the hub than these; `~` is the given folder.
fn lac(home: &Path, variables: &[(&str, &str)], args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lac"));
    for (name, _) in std::env::vars_os() {
        let is_of_hub = ["HF_", "HUGGING", "TRANSFORMERS_", "PYTORCH_", "XDG_"]
            .iter()
            .any(|start| name.to_string_lossy().starts_with(start));
        if is_of_hub {
            command.env_remove(name);
        }
    }
    // A hub that refuses connections, should it be asked.
    command.env("HF_ENDPOINT", "http://127.0.0.1:1");
    command.env("HOME", home);
    command.envs(variables.iter().copied());
    command.args(args).output().unwrap()
}

fn inspects(home: &Path, variables: &[(&str, &str)], model: &str) -> Result<String, String> {
    let output = lac(home, variables, &["inspect", "--model", model, "--json"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    if !output.status.success() {
        return Err(stderr);
    }
    let inspected: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(inspected["architecture"], "qwen2");
    Ok(stderr)
}

/// A home folder with the embedded model as `org/name` in a cache.
fn home_with(cache: &str, reference: Option<&str>) -> TempDir {
    let home = TempDir::new().unwrap();
    let folder = home.path().join(cache).join("models--org--name");
    let snapshot = folder.join("snapshots").join(COMMIT);
    lac_demo::unpack(lac_demo::model_files(), &snapshot).unwrap();
    if let Some(text) = reference {
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::write(folder.join("refs/main"), text).unwrap();
    }
    home
}

#[test]
fn a_model_is_found_in_the_cache_that_the_variables_name() {
    for (cache, variables) in [
        (".cache/huggingface/hub", &[][..]),
        ("hf/hub", &[("HF_HOME", "~/hf")]),
        ("xdg/huggingface/hub", &[("XDG_CACHE_HOME", "~/xdg")]),
        ("new", &[("HF_HUB_CACHE", "$HOME/new")]),
        ("old", &[("HUGGINGFACE_HUB_CACHE", "${HOME}/old")]),
        ("t", &[("TRANSFORMERS_CACHE", "~/t")]),
    ] {
        let home = home_with(cache, Some(COMMIT));
        for id in [
            "org/name",
            "org/name@main",
            "org/name@5f0b02c",
            "hf://org/name",
        ] {
            let stderr = inspects(home.path(), variables, id).unwrap();
            assert_eq!(stderr, "", "{variables:?} {id}");
        }
        let mut offline = variables.to_vec();
        offline.push(("HF_HUB_OFFLINE", "1"));
        assert_eq!(
            inspects(home.path(), &offline, "org/name").as_deref(),
            Ok("")
        );
    }
}

#[test]
fn references_are_read_leniently_and_a_guess_is_said() {
    let with_line_end = format!("{COMMIT}\n");
    for (reference, said) in [
        (Some(with_line_end.as_str()), ""),
        (Some(""), "does not say which commit of org/name main is at"),
        (None, "does not say which commit of org/name main is at"),
    ] {
        let home = home_with(".cache/huggingface/hub", reference);
        for variables in [&[][..], &[("HF_HUB_OFFLINE", "1")]] {
            let stderr = inspects(home.path(), variables, "org/name").unwrap();
            assert!(stderr.contains(said), "{reference:?}: {stderr}");
            assert_eq!(
                stderr.is_empty(),
                said.is_empty(),
                "{reference:?}: {stderr}"
            );
        }
    }
}

#[test]
fn what_is_missing_is_said() {
    let home = home_with(".cache/huggingface/hub", Some(OTHER));
    let offline = [("TRANSFORMERS_OFFLINE", "yes")];
    let cut = home_with(".cache/huggingface/hub", Some(COMMIT));
    let snapshot = cut
        .path()
        .join(".cache/huggingface/hub/models--org--name/snapshots")
        .join(COMMIT);
    std::fs::remove_file(snapshot.join("model.safetensors")).unwrap();
    for (home, variables, id, parts) in [
        (
            &home,
            &offline[..],
            "org/name",
            &[
                "--model org/name",
                "revision main",
                COMMIT,
                "TRANSFORMERS_OFFLINE",
            ][..],
        ),
        (
            &home,
            &[],
            "org/name",
            &["revision main", "http://127.0.0.1:1"],
        ),
        (
            &home,
            &offline,
            "org/other",
            &["no such folder", "models--org--other"],
        ),
        (
            &home,
            &offline,
            "org/name@v9",
            &["org/name@v9", "revision v9"],
        ),
        (&home, &offline, "name", &["name is not a folder"]),
        (
            &home,
            &offline,
            "./org/name",
            &["./org/name is not a folder"],
        ),
        (
            &home,
            &offline,
            "https://huggingface.co/org/name/blob/main/x",
            &["organisation/name"],
        ),
        (
            &cut,
            &offline,
            "org/name",
            &["lacks model.safetensors", COMMIT],
        ),
        (
            &cut,
            &[("HF_HOME", "~/elsewhere")],
            "org/name",
            &["elsewhere/hub/models--org--name"],
        ),
    ] {
        let stderr = inspects(home.path(), variables, id).unwrap_err();
        for part in parts {
            assert!(stderr.contains(part), "{id}: {part:?} is not in: {stderr}");
        }
    }
}

#[test]
fn data_sets_are_looked_up_like_models() {
    let home = TempDir::new().unwrap();
    let folder = home.path().join("hf/hub/datasets--cais--mmlu");
    let snapshot = folder.join("snapshots").join(COMMIT);
    lac_demo::unpack(lac_demo::set_files(), &home.path().join("sets")).unwrap();
    std::fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    std::fs::write(folder.join("refs/main"), format!("{COMMIT}\n")).unwrap();
    std::fs::rename(home.path().join("sets/mmlu"), &snapshot).unwrap();
    let out = home.path().join("out.jsonl").display().to_string();
    let eval = [
        "eval",
        "--model",
        "demo",
        "--benchmark",
        "mmlu",
        "--limit",
        "1",
        "--few-shot",
        "0",
        "--out",
        &out,
    ];
    for (variables, data, part) in [
        (&[("HF_HOME", "~/hf")][..], "cais/mmlu", None),
        (&[("HF_HUB_CACHE", "~/hf/hub")], "cais/mmlu@5f0b02c", None),
        (
            &[],
            "cais/mmlu",
            Some(".cache/huggingface/hub/datasets--cais--mmlu"),
        ),
        (
            &[("HF_HOME", "~/hf")],
            "cais/other",
            Some("datasets--cais--other"),
        ),
    ] {
        let output = lac(
            home.path(),
            variables,
            &[&eval[..], &["--data", data]].concat(),
        );
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        match part {
            None => assert!(output.status.success(), "{variables:?} {data}: {stderr}"),
            Some(part) => assert!(stderr.contains(part), "{part:?} is not in: {stderr}"),
        }
    }
}

/// A type behind the id names one of a repository's GGUF files. These are no models: the error says which was opened.
#[test]
fn a_type_behind_an_id_names_a_gguf_file() {
    let home = TempDir::new().unwrap();
    let folder = home
        .path()
        .join(".cache/huggingface/hub/models--org--name-GGUF");
    let snapshot = folder.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    std::fs::create_dir_all(folder.join("refs")).unwrap();
    std::fs::write(folder.join("refs/main"), COMMIT).unwrap();
    for name in [
        "name-Q4_0.gguf",
        "name-Q8_0.gguf",
        "name-Q2_K-00001-of-00002.gguf",
    ] {
        std::fs::write(snapshot.join(name), b"GGUF\x03\0\0\0").unwrap();
    }
    for (model, part) in [
        (
            "org/name-GGUF:Q8_0",
            "name-Q8_0.gguf is not a whole GGUF file",
        ),
        (
            "org/name-GGUF:q4_0",
            "name-Q4_0.gguf is not a whole GGUF file",
        ),
        (
            "org/name-GGUF:name-Q4_0.gguf",
            "name-Q4_0.gguf is not a whole GGUF file",
        ),
        (
            "org/name-GGUF@5f0b02c:Q4_0",
            "name-Q4_0.gguf is not a whole GGUF file",
        ),
        ("org/name-GGUF:Q5_K", "Q5_K.gguf"),
        ("org/name-GGUF:Q2_K", "name-Q2_K-00002-of-00002.gguf"),
        ("org/other:Q4_0", "models--org--other"),
        ("org/name-GGUF", "several"),
    ] {
        let offline = &[("HF_HUB_OFFLINE", "1")];
        let output = lac(
            home.path(),
            offline,
            &["tokenize", "--model", model, "--prompt", "a"],
        );
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success());
        assert!(
            stderr.contains(part),
            "{model}: {part:?} is not in: {stderr}"
        );
    }
}
