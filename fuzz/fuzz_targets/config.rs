//! `config.json`.
#![no_main]

use lac_fuzz::check;
use lac_models::ModelConfig;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(config) = check(ModelConfig::from_json(text, "config.json".as_ref())) {
        assert!(config.decoder.n_parameters() <= 1 << 50);
        assert!(config.decoder.n_parameters_read(1.0).is_finite());
    }
});
