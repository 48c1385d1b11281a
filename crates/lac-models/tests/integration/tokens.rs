//! Token ids of folders with every kind of tokenizer file, against transformers 4.50.1 and 5.24.0.

use std::fs;
use std::path::{Path, PathBuf};

use lac_models::{AddSpecialTokens, DecodedSpecialTokens, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value};
use tempfile::TempDir;

#[derive(Deserialize)]
struct Cases {
    texts: Vec<String>,
    variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Variant {
    name: String,
    /// The version of transformers whose ids count.
    rules: String,
    base: String,
    changes: Map<String, Value>,
    files: Map<String, Value>,
    refused: Option<Vec<String>>,
    like: Option<String>,
    /// How many further entries the vocabulary gets.
    n_more_entries: u32,
    transformers: Map<String, Value>,
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn cases() -> Cases {
    serde_json::from_slice(&fs::read(fixtures().join("tokens/cases.json")).unwrap()).unwrap()
}

fn write_folder(variant: &Variant) -> TempDir {
    let base = match variant.base.as_str() {
        name @ ("gpt2" | "llama2") => fixtures().join(format!("tokens/{name}.json")),
        name => fixtures().join("chat").join(name).join("tokenizer.json"),
    };
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(base).unwrap()).unwrap();
    for (pointer, value) in &variant.changes {
        *tokenizer.pointer_mut(pointer).unwrap() = value.clone();
    }
    const FIRST_MORE_ID: u32 = 2000;
    for idx in 0..variant.n_more_entries {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        vocab.insert(format!("more {idx}"), (FIRST_MORE_ID + idx).into());
    }
    let folder = TempDir::new().unwrap();
    let write = |name: &str, text: String| fs::write(folder.path().join(name), text).unwrap();
    write("tokenizer.json", tokenizer.to_string());
    for (name, content) in &variant.files {
        match content {
            Value::Null => fs::remove_file(folder.path().join(name)).unwrap(),
            Value::String(text) => write(name, text.clone()),
            content => write(name, content.to_string()),
        }
    }
    folder
}

/// Returns what lac makes of a folder, in the form in which transformers' results are recorded.
fn results(tokenizer: &Tokenizer, variant: &Variant, texts: &[String]) -> Value {
    let cases: Vec<Value> = texts
        .iter()
        .map(|text| {
            let ids = tokenizer.encode(text, AddSpecialTokens::Always).unwrap();
            serde_json::json!({
                "ids": ids,
                "without_special": tokenizer.encode(text, AddSpecialTokens::Never).unwrap(),
                "decoded": tokenizer.decode(&ids, DecodedSpecialTokens::Keep).unwrap(),
                "decoded_skipping": tokenizer.decode(&ids, DecodedSpecialTokens::Skip).unwrap(),
            })
        })
        .collect();
    let special = (0..2000 + variant.n_more_entries).filter(|&id| tokenizer.is_special(id));
    serde_json::json!({
        "bos": tokenizer.bos_id(),
        "eos": tokenizer.eos_id(),
        "pad": tokenizer.pad_id(),
        "special": special.collect::<Vec<u32>>(),
        "cases": cases,
    })
}

#[test]
fn tokens_are_those_of_transformers_or_an_error() {
    let Cases { texts, variants } = cases();
    assert!(variants.len() > 100 && texts.len() >= 10);
    let mut faults = Vec::new();
    for variant in &variants {
        let loaded = Tokenizer::from_folder(write_folder(variant).path());
        let expected = match &variant.like {
            None => variant,
            Some(name) => variants.iter().find(|v| v.name == *name).unwrap(),
        };
        let expected = &expected.transformers[&variant.rules];
        let name = &variant.name;
        let fault = match (loaded, &variant.refused) {
            (Err(error), Some(parts)) => {
                let message = lac_test_corruption::message(&error);
                let missing = parts.iter().find(|part| !message.contains(*part));
                missing.map(|part| format!("{name}: {message:?} lacks {part:?}"))
            }
            (Ok(_), Some(_)) => Some(format!("{name}: was loaded")),
            (Err(error), None) => (expected.get("error").is_none())
                .then(|| format!("{name}: {}", lac_test_corruption::message(&error))),
            (Ok(_), None) if expected.get("error").is_some() => Some(format!(
                "{name}: was loaded, and transformers says {}",
                expected["error"]
            )),
            (Ok(tokenizer), None) => {
                let mut expected = expected.clone();
                expected.as_object_mut().unwrap().remove("class");
                difference(&results(&tokenizer, variant, &texts), &expected)
                    .map(|difference| format!("{name}: {difference}"))
            }
        };
        faults.extend(fault);
    }
    assert!(
        faults.is_empty(),
        "{} of {}:\n{}",
        faults.len(),
        variants.len(),
        faults.join("\n")
    );
}

fn difference(given: &Value, expected: &Value) -> Option<String> {
    for name in ["bos", "eos", "pad", "special"] {
        if given[name] != expected[name] {
            return Some(format!(
                "{name} is {}, expected {}",
                given[name], expected[name]
            ));
        }
    }
    let (given, expected) = (given["cases"].as_array()?, expected["cases"].as_array()?);
    given
        .iter()
        .zip(expected)
        .enumerate()
        .find_map(|(text, (given, expected))| {
            let differs = |name: &&&String| given[name.as_str()] != expected[name.as_str()];
            let name = expected.as_object()?.keys().collect::<Vec<_>>();
            let name = name.iter().find(differs)?;
            Some(format!(
                "text {text}, {name}: {}, expected {}",
                given[name.as_str()],
                expected[name.as_str()]
            ))
        })
}
