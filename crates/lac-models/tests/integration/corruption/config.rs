//! `config.json`.

use std::path::Path;

use lac_models::ModelConfig;
use lac_test_corruption::{cases, damaged_bytes, damaged_json, within};
use proptest::prelude::*;
use serde_json::{Map, Value};

use super::{JSON, check_error, check_parts};

const GOOD: &str = r#"{
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 16,
    "hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 4, "hidden_act": "silu", "rms_norm_eps": 1e-05,
    "max_position_embeddings": 64, "rope_theta": 10000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32},
    "attention_bias": false, "tie_word_embeddings": true, "torch_dtype": "float32",
    "eos_token_id": [1, 2], "bos_token_id": 0, "use_cache": true
}"#;

fn read(text: &str) -> Result<ModelConfig, lac_models::architecture::ConfigError> {
    within(JSON, text.len(), || {
        ModelConfig::from_json(text, "folder/config.json".as_ref())
    })
}

#[test]
fn sizes_that_no_model_has_are_refused() {
    let huge = (1u64 << 60).to_string();
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let cases: Vec<(&str, &str, &[&str])> = vec![
        ("hidden_size", "0", &["hidden_size", "from 1 to 2147483647"]),
        ("hidden_size", "-8", &["hidden_size"]),
        ("hidden_size", &huge, &["hidden_size", "from 1 to"]),
        ("hidden_size", "1e999", &["not a JSON object", "line 1"]),
        ("hidden_size", "NaN", &["not a JSON object"]),
        ("hidden_size", &nested, &["recursion limit"]),
        ("hidden_size", &long, &["hidden_size", "(1048578 bytes)"]),
        (
            "num_hidden_layers",
            "1000000000",
            &["num_hidden_layers", "65535"],
        ),
        ("num_attention_heads", "0", &["num_attention_heads"]),
        (
            "num_key_value_heads",
            "3",
            &["num_key_value_heads", "divisor"],
        ),
        ("head_dim", "0", &["head_dim"]),
        ("vocab_size", "0", &["vocab_size"]),
        ("vocab_size", "2147483647", &[]),
        ("rms_norm_eps", "0", &["rms_norm_eps"]),
        ("rms_norm_eps", "1e-320", &["rms_norm_eps", "1e-30"]),
        ("rms_norm_eps", "1e38", &["rms_norm_eps"]),
        ("rope_theta", "1e-300", &["rope_theta", "finite angles"]),
        ("rope_theta", "-1", &["rope_theta"]),
        (
            "rope_scaling",
            r#"{"rope_type": "linear", "factor": 1e-320}"#,
            &["finite angles"],
        ),
        (
            "rope_scaling",
            r#"{"rope_type": "linear", "factor": 0}"#,
            &["rope_scaling.factor", "above 0"],
        ),
        ("rope_scaling", "[]", &["rope_scaling", "an object or null"]),
        ("rope_scaling", "{}", &["rope_scaling.rope_type", "missing"]),
        ("eos_token_id", "-1", &["eos_token_id"]),
        ("eos_token_id", "4294967296", &["eos_token_id"]),
        ("sliding_window", "0", &["sliding_window"]),
    ];
    let good: Map<String, Value> = serde_json::from_str(GOOD).unwrap();
    for (field, value, parts) in cases {
        let mut config = good.clone();
        config.insert(field.to_owned(), Value::from("HERE"));
        let text = Value::from(config).to_string().replace("\"HERE\"", value);
        let what = format!("{field}: {}", &value[..value.len().min(40)]);
        match read(&text) {
            Err(error) => {
                check_error(&error, Path::new("config.json"));
                check_parts(&error, parts, &what);
            }
            Ok(_) => assert!(parts.is_empty(), "{what} was taken"),
        }
    }
    // Each size makes sense by itself.
    let large = GOOD
        .replace("\"vocab_size\": 16", "\"vocab_size\": 2147483647")
        .replace("\"hidden_size\": 8", "\"hidden_size\": 2147483647");
    let error = read(&large).unwrap_err();
    check_parts(&error, &["together make", "vocab_size"], "a product");
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn any_change_of_a_value_is_survived(text in damaged_json(GOOD)) {
        check(&text);
    }

    #[test]
    fn any_change_of_a_byte_is_survived(bytes in damaged_bytes(GOOD.into())) {
        check(&String::from_utf8_lossy(&bytes));
    }
}

/// What is accepted makes sense as a whole.
fn check(text: &str) {
    match read(text) {
        Err(error) => check_error(&error, Path::new("config.json")),
        Ok(config) => {
            let decoder = config.decoder;
            assert!(decoder.n_parameters() <= 1 << 50);
            assert!(decoder.n_heads.is_multiple_of(decoder.n_kv_heads));
            assert!(decoder.head_dim >= 2 && decoder.head_dim.is_multiple_of(2));
            assert!(decoder.n_parameters_read(1.0).is_finite());
        }
    }
}
