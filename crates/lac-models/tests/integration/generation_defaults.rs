//! Settings of a `generation_config.json` against transformers' `generate`, text by text; and those of GGUF files.

use std::fs;

use lac_core::generation::SamplingConfig;
use lac_core::{GenerateArgs, GenerationConfig, Off, generate};
use lac_models::ModelFolder;
use lac_models::generation_defaults::GenerationDefaults;
use lac_models::gguf::BlockFormat;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;

use crate::devices::devices;
use crate::gguf_builder::{GgufBuilder, small_llama};
use crate::parity::{fixture, load};

#[derive(Deserialize)]
struct Cases {
    n_new: usize,
    cases: Vec<Case>,
}

/// What `fixtures/make/generation.py` writes.
#[derive(Deserialize)]
struct Case {
    settings: Value,
    prompt: Vec<u32>,
    /// The text, up to the first choice that is too close to call.
    ids: Vec<u32>,
    is_whole: bool,
}

#[test]
fn greedy_texts_under_a_folders_settings_are_those_of_transformers() {
    let fixture: Cases = serde_json::from_str(include_str!("../fixtures/generation.json")).unwrap();
    for (backend, device) in devices() {
        let model = load("llama", &device);
        let mut n_compared = 0;
        for case in &fixture.cases {
            let settings = case.settings.to_string();
            let defaults =
                GenerationDefaults::from_json(&settings, "generation_config.json".as_ref())
                    .unwrap();
            assert!(defaults.not_used.is_empty());
            let stop_tokens: Vec<u32> = case.settings["eos_token_id"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|id| id.as_u64().unwrap() as u32)
                .collect();
            let config = GenerationConfig::greedy(fixture.n_new)
                .with_processors(defaults.processors)
                .with_stop_tokens(stop_tokens);
            let prompts = std::slice::from_ref(&case.prompt);
            let output = generate(&model, prompts, &config, GenerateArgs::new(&mut Off)).unwrap();
            let ids = &output.rows[0].ids;
            assert_eq!(ids[..case.ids.len()], case.ids, "{backend}, {settings}");
            assert!(!case.is_whole || ids.len() == case.ids.len(), "{settings}");
            n_compared += case.ids.len();
        }
        // Most choices are clear.
        assert!(n_compared > 8 * fixture.cases.len(), "{n_compared} tokens");
    }
}

const KEY: &str = "general.sampling.";

/// What a file with further keys says, or its error.
fn of_gguf(file: GgufBuilder) -> Result<GenerationDefaults, String> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("m.gguf");
    file.write(&path);
    let model = ModelFolder::open(&path).unwrap();
    model
        .generation_defaults()
        .map_err(|error| error.to_string())
}

#[test]
fn a_gguf_file_says_how_its_tokens_are_chosen() {
    let silent = of_gguf(small_llama()).unwrap();
    assert_eq!(silent, GenerationDefaults::default());

    let key = |name: &str| format!("{KEY}{name}");
    let drawn = small_llama()
        .f32(&key("temp"), 0.7)
        .i32(&key("top_k"), 20)
        .f32(&key("top_p"), 0.8)
        .f32(&key("min_p"), 0.0)
        .f32(&key("penalty_repeat"), 1.05);
    let drawn = of_gguf(drawn).unwrap();
    let expected = SamplingConfig::new(0.7, 0).with_top_k(20).with_top_p(0.8);
    assert_eq!(drawn.sampling, Some(expected));
    assert_eq!(drawn.processors.repetition_penalty, 1.05);
    assert!(drawn.path.unwrap().ends_with("m.gguf"));
    assert!(drawn.not_used.is_empty());

    for (file, sampling) in [
        (small_llama().f32(&key("temp"), 0.0), None),
        (small_llama().f32(&key("penalty_repeat"), 1.0), None),
        (
            small_llama().i32(&key("top_k"), -1),
            Some(SamplingConfig::new(1.0, 0)),
        ),
        (
            small_llama().f32(&key("top_p"), 0.5),
            Some(SamplingConfig::new(1.0, 0).with_top_p(0.5)),
        ),
    ] {
        assert_eq!(of_gguf(file).unwrap().sampling, sampling);
    }

    let other = small_llama()
        .i32(&key("penalty_last_n"), 64)
        .i32(&key("mirostat"), 2)
        .f32(&key("xtc_probability"), 0.0);
    let not_used = [
        "general.sampling.mirostat 2",
        "general.sampling.penalty_last_n 64",
    ];
    assert_eq!(of_gguf(other).unwrap().not_used, not_used);
}

#[test]
fn a_gguf_file_that_cannot_be_drawn_from_is_an_error() {
    let key = |name: &str| format!("{KEY}{name}");
    for (file, words) in [
        (
            small_llama().f32(&key("temp"), -1.0),
            "temp is -1, expected a number of at least 0",
        ),
        (
            small_llama().f32(&key("temp"), f32::NAN),
            "temp is NaN, expected a finite number",
        ),
        (
            small_llama().text(&key("top_p"), "all"),
            "top_p is \"all\", expected a finite number",
        ),
        (
            small_llama().f32(&key("top_p"), 1.5),
            "top_p is 1.5, expected a number from 0 to 1",
        ),
        (
            small_llama().f32(&key("top_k"), 0.5),
            "top_k is 0.5, expected an integer",
        ),
        (
            small_llama().f32(&key("penalty_repeat"), 0.0),
            "penalty_repeat is 0, expected a number above 0",
        ),
    ] {
        let error = of_gguf(file).unwrap_err();
        assert!(error.contains("m.gguf"), "{error}");
        assert!(error.contains(&format!("{KEY}{words}")), "{error}");
    }
}

#[test]
fn settings_of_draws_are_written_into_gguf_files() {
    for settings in [
        r#"{"do_sample": true, "temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05}"#,
        r#"{"do_sample": true, "temperature": 0.6, "min_p": 0.05}"#,
        r#"{"do_sample": true}"#,
        r#"{"do_sample": false, "repetition_penalty": 1.2}"#,
        r#"{"bos_token_id": 1}"#,
    ] {
        let folder = TempDir::new().unwrap();
        for entry in fs::read_dir(fixture("qwen2")).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        fs::write(folder.path().join("generation_config.json"), settings).unwrap();
        let path = folder.path().join("m.gguf");
        let original = ModelFolder::open(folder.path()).unwrap();
        original
            .write_gguf(BlockFormat::BF16, &path, &mut |_| {})
            .unwrap();
        let (written, original) = (
            ModelFolder::open(&path).unwrap().generation_defaults(),
            original.generation_defaults(),
        );
        let (written, original) = (written.unwrap(), original.unwrap());
        assert_eq!(written.sampling, original.sampling, "{settings}");
        assert_eq!(written.processors, original.processors, "{settings}");
    }
}
