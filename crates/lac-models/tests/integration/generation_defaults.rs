//! Settings of a `generation_config.json` against transformers' `generate`, text by text.

use lac_core::{GenerateArgs, GenerationConfig, Off, generate};
use lac_models::generation_defaults::GenerationDefaults;
use serde::Deserialize;
use serde_json::Value;

use crate::devices::devices;
use crate::parity::load;

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
