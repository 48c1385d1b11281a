//! The pattern by which Mistral's tokenizers cut a text, which folders of transformers 4 have wrong.

use serde_json::{Value, json};
use tokenizers::PreTokenizerWrapper;

use super::configs::ModelConfig;

/// How many entries a vocabulary must exceed. Mistral's larger ones came with the wrong pattern.
const N_ENTRIES: usize = 100_000;

const PATTERN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Returns whether a folder can have the wrong pattern: its `config.json` names one of Mistral's models or none, and no
/// version of transformers from 5.0.0 on.
pub(super) fn may_be_wrong(model: &ModelConfig) -> bool {
    let is_mistral = model.model_type.as_deref().is_none_or(|model_type| {
        matches!(
            model_type,
            "mistral" | "mistral3" | "voxtral" | "ministral" | "pixtral"
        )
    });
    let is_old = model.transformers_version.as_deref().is_none_or(|version| {
        let release = version.find(|c: char| !c.is_ascii_digit() && c != '.');
        let (numbers, suffix) = version.split_at(release.unwrap_or(version.len()));
        let mut numbers = numbers
            .split('.')
            .map(|number| number.parse::<u64>().unwrap_or(0));
        match numbers.next() {
            Some(major) if major >= 5 => {
                // What comes before 5.0.0: 5.0.0.dev0, 5.0.0rc1.
                major == 5 && numbers.all(|number| number == 0) && !suffix.is_empty()
            }
            _ => true,
        }
    });
    is_mistral && is_old
}

/// Returns the steps of a tokenizer with the right pattern, as transformers 5 puts it in, or nothing where the
/// vocabulary is small.
pub(super) fn with_right_pattern(
    steps: Option<&PreTokenizerWrapper>,
    n_entries: usize,
) -> tokenizers::Result<Option<PreTokenizerWrapper>> {
    let Some(steps) = steps.filter(|_| n_entries > N_ENTRIES) else {
        return Ok(None);
    };
    let split = json!({"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": false});
    let mut current = serde_json::to_value(steps)?;
    let steps = match current["type"].as_str() {
        Some("Sequence") => {
            let first = current["pretokenizers"].get_mut(0);
            let first =
                first.ok_or("it has no step whose pattern \"fix_mistral_regex\" can replace")?;
            *first = split;
            current["pretokenizers"].take()
        }
        // The steps of such a tokenizer would lose the spaces.
        Some("Metaspace") => json!([
            split,
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]),
        _ => Value::Array(vec![split, current]),
    };
    let steps = json!({"type": "Sequence", "pretokenizers": steps});
    Ok(Some(serde_json::from_value(steps)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_folders_of_mistral_can_be_wrong() {
        let check = |model_type: Option<&str>, version: Option<&str>, expected: bool| {
            let model = ModelConfig {
                model_type: model_type.map(str::to_owned),
                transformers_version: version.map(str::to_owned),
                ..ModelConfig::default()
            };
            assert_eq!(may_be_wrong(&model), expected, "{model_type:?} {version:?}");
        };
        check(Some("mistral"), Some("4.57.1"), true);
        check(Some("mistral3"), None, true);
        check(None, Some("4.36.0.dev0"), true);
        check(Some("llama"), Some("4.57.1"), false);
        check(Some("mistral"), Some("5.0.0"), false);
        check(Some("mistral"), Some("5.3.0.dev0"), false);
        check(Some("mistral"), Some("5.0.0.dev0"), true);
        check(Some("mistral"), Some("5.0.0rc1"), true);
        check(Some("mistral"), Some("10.1"), false);
    }
}
