//! What a `config.json` means, against the models that two versions of transformers make of it.

use std::path::Path;

use lac_models::ModelConfig;
use lac_models::architecture::{ConfigError, ConfigReport};
use lac_models::decoder::{DecoderConfig, HeadKind, ProjectionBias};
use serde_json::Value;

const PATH: &str = "folder/config.json";

fn fixture(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/configs");
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

fn read(text: &str) -> Result<ModelConfig, ConfigError> {
    ModelConfig::from_json(text, PATH.as_ref())
}

/// Cases that are refused although a version of transformers loads them, with the field that the error names.
const REFUSED: &[(&str, &str)] = &[
    // Other activations are not computed.
    ("gelu", "hidden_act"),
    // Null where the class needs a number fails in transformers too, once the model runs.
    ("rms_norm_eps null", "rms_norm_eps"),
    // Parameters without a kind, or of two, are taken for no scaling at all, or for either.
    ("rope_scaling empty", "rope_scaling.rope_type"),
    ("rope_scaling without a type", "rope_scaling.rope_type"),
    ("rope_scaling of two types", "rope_scaling.rope_type"),
    // One version rotates a part of a head, the other does not heed the field.
    ("partial rotation of a half", "partial_rotary_factor"),
    (
        "partial rotation in rope_parameters",
        "rope_parameters.partial_rotary_factor",
    ),
];

/// Cases of no version of transformers that can be read in one way only.
const TAKEN: &[&str] = &[
    "torch_dtype with the library's name",
    "qwen2: head_dim null",
    "no type, but a class",
];

fn listed<'a>(name: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|listed| name == listed || name.ends_with(&format!(": {listed}")))
}

#[test]
fn a_configuration_means_what_it_means_to_transformers() {
    let newer = fixture("transformers-5.24.0.json");
    let older = fixture("transformers-4.50.1.json");
    let mut n_equal = 0;
    for case in fixture("cases.json").as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let text = match case.get("text") {
            Some(text) => text.as_str().unwrap().to_owned(),
            None => case["config"].to_string(),
        };
        let result = read(&text);
        let refused = REFUSED
            .iter()
            .find(|(listed_name, _)| listed(name, [*listed_name].into_iter()));
        if let Some((_, field)) = refused {
            let error = result.expect_err(name).to_string();
            assert!(
                error.contains(&format!("field {field} is")),
                "{name}: {error}"
            );
            continue;
        }
        // The newest version that loads it decides.
        let expected = [&newer[name], &older[name]]
            .into_iter()
            .find(|meaning| meaning.get("error").is_none());
        match (result, expected) {
            (Ok(config), Some(expected)) => {
                check_meaning(&config, expected, name);
                n_equal += 1;
            }
            (Ok(_), None) => assert!(listed(name, TAKEN.iter().copied()), "{name} is taken"),
            (Err(error), Some(_)) => panic!("{name}: {error}"),
            (Err(error), None) => assert!(error.to_string().contains(PATH), "{name}: {error}"),
        }
    }
    assert!(n_equal > 100, "{n_equal}");
}

fn check_meaning(config: &ModelConfig, expected: &Value, name: &str) {
    let mut expected = expected.clone();
    let frequencies = expected
        .as_object_mut()
        .unwrap()
        .remove("inv_freq")
        .unwrap();
    // A window that no text outgrows is none.
    let context = config.decoder.max_context() as u64;
    let mut ours = meaning(config);
    for windows in [&mut ours["windows"], &mut expected["windows"]] {
        for window in windows.as_array_mut().unwrap() {
            *window = window.as_u64().filter(|window| *window < context).into();
        }
    }
    // A division may round the last bit of it otherwise.
    let [scaling, expected_scaling] = [&mut ours, &mut expected].map(|meaning| {
        let scaling = meaning["attention_scaling"].take();
        scaling.as_f64().expect("a number")
    });
    assert!(
        (scaling - expected_scaling).abs() <= 1e-14,
        "{name}: {scaling} {expected_scaling}"
    );
    assert_eq!(ours, expected, "{name}");
    // transformers computes them in single precision.
    let frequencies: Vec<f32> = serde_json::from_value(frequencies).unwrap();
    let decoder = &config.decoder;
    let ours = decoder.rope.inverse_frequencies(decoder.head_dim);
    assert_eq!(ours.len(), frequencies.len(), "{name}");
    for (ours, theirs) in ours.iter().zip(&frequencies) {
        assert!(
            (ours - theirs).abs() <= 1e-6 * theirs,
            "{name}: {ours} {theirs}"
        );
    }
}

/// Says of a configuration what the fixture says of a model.
fn meaning(config: &ModelConfig) -> Value {
    let decoder = &config.decoder;
    let DecoderConfig {
        hidden_size,
        head_dim,
        ..
    } = *decoder;
    let mut biases: Vec<&str> = Vec::new();
    for (bias, names) in [
        (
            decoder.qkv_bias,
            &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"][..],
        ),
        (decoder.o_bias, &["self_attn.o_proj"]),
        (
            decoder.mlp_bias,
            &["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
        ),
    ] {
        if bias == ProjectionBias::Present {
            biases.extend(names);
        }
    }
    serde_json::json!({
        "model_type": config.architecture.model_type(),
        "n_parameters": decoder.n_parameters(),
        "n_layers": decoder.n_layers,
        "embedding": [decoder.vocab_size, hidden_size],
        "q": [decoder.n_heads * head_dim, hidden_size],
        "k": [decoder.n_kv_heads * head_dim, hidden_size],
        "gate": [decoder.intermediate_size, hidden_size],
        "biases": biases,
        "tied": decoder.head == HeadKind::Tied,
        "eps": decoder.rms_norm_eps,
        "max_position_embeddings": decoder.max_position_embeddings,
        "attention_scaling": decoder.rope.attention_factor,
        "windows": (0..decoder.n_layers).map(|idx| decoder.window_of(idx)).collect::<Vec<_>>(),
        "eos_token_ids": config.eos_token_ids,
        "dtype": config.saved_dtype.clone(),
    })
}

/// A small Llama with fields beside its own.
fn llama(extra: &str) -> String {
    let comma = if extra.is_empty() { "" } else { ", " };
    format!(
        r#"{{"model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
            "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 160,
            "max_position_embeddings": 64{comma}{extra}}}"#
    )
}

#[test]
fn what_decides_nothing_is_passed_over_and_listed() {
    let plain = read(&llama("")).unwrap();
    assert_eq!(plain.ignored_fields, Vec::<String>::new());
    assert_eq!(plain.warning(), None);
    plain.check_fields_are_known(PATH.as_ref()).unwrap();
    for (extra, ignored, unknown) in [
        (
            r#""transformers.js_config": {"dtype": "q4"}, "is_llama_config": true, "rope_interleaved": false"#,
            &[
                "is_llama_config",
                "rope_interleaved",
                "transformers.js_config",
            ][..],
            &[][..],
        ),
        (
            r#""activation": "swiglu", "model_max_length": 4096, "partial_rotary_factor": 1.0"#,
            &["activation", "model_max_length", "partial_rotary_factor"],
            &[],
        ),
        (
            r#""rope_scaling": {"type": "default", "finetuned": true}"#,
            &["rope_scaling.finetuned"],
            &[],
        ),
        (
            r#""rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "frob": 1}, "zig": [], "zag": 0"#,
            &["rope_parameters.frob", "zag", "zig"],
            &["rope_parameters.frob", "zag", "zig"],
        ),
        (r#""frob": null"#, &["frob"], &[]),
        (r#""frob": false"#, &["frob"], &["frob"]),
        // A class of another name may be the same model.
        (
            r#""architectures": ["MyLlamaForCausalLM"]"#,
            &["architectures"],
            &["architectures"],
        ),
        (
            r#""quantization_config": {}, "num_local_experts": 0"#,
            &["num_local_experts", "quantization_config"],
            &[],
        ),
    ] {
        let config = read(&llama(extra)).unwrap();
        assert_eq!(config.ignored_fields, ignored, "{extra}");
        assert_eq!(config.unknown_fields, unknown, "{extra}");
        assert_eq!(config.decoder, plain.decoder, "{extra}");
        let warning = config.warning();
        let strict = config.check_fields_are_known(PATH.as_ref());
        assert_eq!(warning.is_none(), unknown.is_empty(), "{extra}");
        assert_eq!(strict.is_ok(), unknown.is_empty(), "{extra}");
        for field in unknown {
            assert!(warning.as_ref().unwrap().contains(field), "{warning:?}");
            let error = strict.as_ref().unwrap_err().to_string();
            assert!(error.contains(field) && error.contains(PATH), "{error}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_named_at_once() {
    for (extra, parts) in [
        (
            r#""quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic"}"#,
            &["quantization_config", "quantised by fp8", "without -FP8"][..],
        ),
        (
            r#""quantization_config": {"bits": 4, "group_size": 128, "quant_method": "gptq"}"#,
            &["GPTQ", "without -GPTQ"],
        ),
        (
            r#""quantization_config": {"w_bit": 4, "zero_point": true}"#,
            &["AWQ", "without -AWQ"],
        ),
        (
            r#""quantization_config": {"_load_in_4bit": true, "load_in_4bit": true}"#,
            &["bitsandbytes", "dequantize"],
        ),
        (
            r#""quantization": {"bits": 4, "group_size": 64}"#,
            &["MLX", "quantization"],
        ),
        (
            r#""hidden_act": "gelu", "num_local_experts": 8, "partial_rotary_factor": 0.5, "vocab_size": "many""#,
            &[
                "hidden_act is gelu",
                "num_local_experts",
                "partial_rotary_factor",
                "vocab_size",
            ],
        ),
        (
            r#""rope_scaling": {"type": "linear"}, "final_logit_softcapping": 30.0"#,
            &["rope_scaling.factor is missing", "final_logit_softcapping"],
        ),
        (
            r#""layer_types": ["full_attention", "full_attention", "sliding_attention"]"#,
            &[
                "layer_types is sliding in layer 2",
                "full_attention in every layer",
            ],
        ),
        (
            r#""rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2]}"#,
            &["rope_scaling.long_factor is a list of 3", "4 rotated pairs"],
        ),
        (
            r#""rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1, 0]}"#,
            &["rope_scaling.short_factor", "a list of numbers above 0"],
        ),
        (
            r#""rope_scaling": {"rope_type": "yarn"}"#,
            &["rope_scaling.factor is missing"],
        ),
        (
            r#""rope_scaling": {"rope_type": "yarn", "factor": 2, "mscale": "much"}"#,
            &["rope_scaling.mscale is"],
        ),
        (
            r#""layer_types": ["full_attention"]"#,
            &["layer_types is a list of 1", "num_hidden_layers 3"],
        ),
        (
            r#""layer_types": ["linear_attention"]"#,
            &["layer_types", "linear_attention"],
        ),
    ] {
        let text = llama(extra);
        let error = read(&text).unwrap_err().to_string();
        for part in parts.iter().chain(&[PATH]) {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
        // What could be read is still told.
        let report = ConfigReport::of_json(&text, PATH.as_ref());
        assert!(!report.problems.is_empty(), "{extra}");
        assert_eq!(report.config.unwrap().decoder.hidden_size, 64, "{extra}");
    }
    for text in ["", "{", "[]", "3"] {
        let report = ConfigReport::of_json(text, PATH.as_ref());
        assert!(
            report.config.is_none() && report.problems.len() == 1,
            "{text}"
        );
    }
}

/// Another family's `config.json` beside the fields of [`llama`].
fn of_family(model_type: &str, extra: &str) -> String {
    llama(extra).replace("\"llama\"", &format!("\"{model_type}\""))
}

#[test]
fn families_name_the_fields_that_they_cannot_use() {
    for (model_type, extra, parts) in [
        (
            "phi3",
            r#""partial_rotary_factor": 0.4"#,
            &["partial_rotary_factor is 0.4", "head_dim 8"][..],
        ),
        (
            "phi3",
            r#""partial_rotary_factor": 1.5"#,
            &["partial_rotary_factor is 1.5"],
        ),
        (
            "smollm3",
            r#""no_rope_layers": [1, 0]"#,
            &["no_rope_layers is a list of 2", "each of the layers"],
        ),
        (
            "smollm3",
            r#""no_rope_layers": "all""#,
            &["no_rope_layers is"],
        ),
        (
            "gemma2",
            r#""hidden_activation": "gelu""#,
            &["hidden_activation is gelu"],
        ),
        (
            "gemma3_text",
            r#""query_pre_attn_scalar": 0"#,
            &["query_pre_attn_scalar is 0"],
        ),
        (
            "gemma3_text",
            r#""use_bidirectional_attention": true"#,
            &["use_bidirectional_attention"],
        ),
        (
            "granite",
            r#""residual_multiplier": null"#,
            &["residual_multiplier is missing"],
        ),
        (
            "granite",
            r#""logits_scaling": -1"#,
            &["logits_scaling is -1"],
        ),
        (
            "ministral3",
            r#""rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 2}"#,
            &["rope_parameters.llama_4_scaling_beta is missing", "queries"],
        ),
        (
            "ministral3",
            r#""rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "llama_4_scaling_beta": 0.1}"#,
            &["rope_parameters.original_max_position_embeddings is missing"],
        ),
        (
            "ministral3",
            r#""rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6, "factor": 2, "llama_4_scaling_beta": -1}"#,
            &["rope_parameters.llama_4_scaling_beta is -1"],
        ),
        (
            "ministral3",
            r#""rope_parameters": {}"#,
            &["rope_parameters is missing"],
        ),
        // What a family needs that is not there.
        (
            "mistral3",
            "",
            &["model_type is mistral3", "vision tower", "GGUF"],
        ),
        (
            "gemma3",
            "",
            &["model_type is gemma3", "vision tower", "gemma3_text"],
        ),
        ("olmoe", "", &["another router"]),
        ("deepseek_v3", "", &["multi-head latent attention"]),
        ("mamba", "", &["layers that keep a state"]),
        ("gpt_oss", "", &["attention sinks"]),
        ("frob", "", &["model_type is frob", "qwen3"]),
    ] {
        let text = of_family(model_type, extra);
        let error = read(&text).expect_err(&text).to_string();
        for part in parts.iter().chain(&[PATH]) {
            assert!(error.contains(part), "{part:?} is not in: {error}");
        }
    }
}

/// Files of older and of newer writers that mean the same.
#[test]
fn families_are_read_in_every_form() {
    for (model_type, older, newer) in [
        (
            "gemma3_text",
            r#""rope_theta": 2e6, "rope_local_base_freq": 5e3, "sliding_window": 9,
                "rope_scaling": {"rope_type": "linear", "factor": 8.0}, "sliding_window_pattern": 2"#,
            r#""sliding_window": 9, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
                "rope_parameters": {
                    "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 2e6},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 5e3}}"#,
        ),
        (
            "phi3",
            r#""rope_theta": 5e4, "partial_rotary_factor": 0.75, "original_max_position_embeddings": 16,
                "rope_scaling": {"type": "su", "short_factor": [1, 2, 3], "long_factor": [2, 3, 4]}"#,
            r#""rope_parameters": {"rope_type": "longrope", "rope_theta": 5e4, "partial_rotary_factor": 0.75,
                "short_factor": [1, 2, 3], "long_factor": [2, 3, 4], "original_max_position_embeddings": 16}"#,
        ),
        (
            "qwen3",
            r#""use_sliding_window": true, "sliding_window": 9, "max_window_layers": 2"#,
            r#""use_sliding_window": true, "sliding_window": 9,
                "layer_types": ["full_attention", "full_attention", "sliding_attention"]"#,
        ),
        (
            "smollm3",
            r#""no_rope_layer_interval": 3"#,
            r#""no_rope_layers": [1, 1, 0], "use_sliding_window": false, "sliding_window": null"#,
        ),
        (
            "olmo3",
            r#""sliding_window": 9, "rope_scaling": {"type": "yarn", "factor": 2,
                "original_max_position_embeddings": 32}"#,
            r#""sliding_window": 9, "rope_parameters": {
                "full_attention": {"rope_type": "yarn", "factor": 2, "rope_theta": 5e5,
                    "original_max_position_embeddings": 32},
                "sliding_attention": {"rope_type": "default", "rope_theta": 5e5}},
                "layer_types": ["sliding_attention", "sliding_attention", "sliding_attention"]"#,
        ),
        (
            // Without parameters of rotary positions, the class has some of its own.
            "ministral3",
            r#""rope_theta": 1e6, "rope_scaling": {"type": "yarn", "factor": 16, "mscale": 1, "mscale_all_dim": 1,
                "original_max_position_embeddings": 16384, "llama_4_scaling_beta": 0.1}"#,
            "",
        ),
    ] {
        let [older, newer] = [older, newer].map(|extra| {
            let text = of_family(model_type, extra);
            read(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
        });
        assert_eq!(older.decoder, newer.decoder, "{model_type}");
        assert_eq!(older.unknown_fields, [""; 0], "{model_type}");
        assert_eq!(newer.unknown_fields, [""; 0], "{model_type}");
    }
}

#[test]
fn files_of_any_writer_are_read() {
    let plain = read(&llama("")).unwrap();
    let marked = format!("\u{feff}{}", llama(""));
    assert_eq!(read(&marked).unwrap(), plain);
    let windows = llama("").replace('\n', "\r\n");
    assert_eq!(read(&windows).unwrap(), plain);
    let file = tempfile::tempdir().unwrap();
    let path = file.path().join("config.json");
    std::fs::write(&path, marked).unwrap();
    assert_eq!(ModelConfig::from_file(&path).unwrap(), plain);
    // Whole numbers in any form of a number.
    let floats = llama("")
        .replace(": 64", ": 64.0")
        .replace(": 96", ": 9.6e1")
        .replace(": 160", ": 160.00");
    assert_eq!(read(&floats).unwrap(), plain);
    let error = read(&llama("").replace(": 96", ": 96.5")).unwrap_err();
    assert!(
        error.to_string().contains("intermediate_size is 96.5"),
        "{error}"
    );
}

#[test]
fn a_stretched_context_holds_more() {
    for (scaling, context) in [
        (r#"null"#, 64),
        (r#"{"type": "linear", "factor": 4.0}"#, 256),
        (r#"{"type": "linear", "factor": 2.5}"#, 160),
        (r#"{"type": "linear", "factor": 0.5}"#, 64),
        (r#"{"type": "linear", "factor": 1e30}"#, (1 << 31) - 1),
        // The number is the stretched one already where it is larger than that of the training.
        (
            r#"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 16}"#,
            64,
        ),
        (
            r#"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64}"#,
            512,
        ),
        // As published: the number of the training context, of the stretched one, and none of the two.
        (
            r#"{"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}"#,
            256,
        ),
        (
            r#"{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}"#,
            64,
        ),
        (r#"{"type": "dynamic", "factor": 2.0}"#, 128),
        (
            r#"{"type": "longrope", "short_factor": [1, 1, 1, 1], "long_factor": [2, 2, 2, 2],
                "original_max_position_embeddings": 16}"#,
            64,
        ),
    ] {
        let config = read(&llama(&format!(r#""rope_scaling": {scaling}"#))).unwrap();
        assert_eq!(config.decoder.max_context(), context, "{scaling}");
        let words = config.decoder.describe_context();
        assert!(words.contains("max_position_embeddings 64"), "{words}");
        assert_eq!(words.contains("times"), context != 64, "{words}");
    }
}
