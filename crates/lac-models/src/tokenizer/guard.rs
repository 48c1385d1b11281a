//! Keeps the tokenizers library from panicking and from making texts that fill the memory.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Runs the library and turns a panic into an error. It panics when a regular expression gives up on a text and when a
/// table of `tokenizer.json` refers to an entry that does not exist; neither can be checked beforehand.
pub(super) fn catch_panic<T>(
    work: impl FnOnce() -> tokenizers::Result<T>,
) -> tokenizers::Result<T> {
    // A panic can leave only the tokenizer's cache half changed. The library expects to find the cache's locks
    // poisoned.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(reason(&*panic).into()))
}

fn reason(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!(
        "the tokenizers library failed: {}",
        text.unwrap_or("it gives no reason")
    )
}

/// How many times longer a tokenizer's steps may make a text. Real tokenizers stay far below it.
const MAX_GROWTH: f64 = 4096.0;

/// Checks that no part of a tokenizer can make texts so long that they fill the memory. Forty steps that double a
/// letter make a terabyte of it.
///
/// # Errors
/// The part, and how many times longer it can make a text.
pub(super) fn check_growth(inner: &tokenizers::Tokenizer) -> Result<(), String> {
    let parts = [
        ("normalizer", serde_json::to_value(inner.get_normalizer())),
        (
            "pre_tokenizer",
            serde_json::to_value(inner.get_pre_tokenizer()),
        ),
        (
            "post_processor",
            serde_json::to_value(inner.get_post_processor()),
        ),
        ("decoder", serde_json::to_value(inner.get_decoder())),
    ];
    for (name, part) in parts {
        let growth = growth(&part.map_err(|error| format!("{name}: {error}"))?);
        if growth > MAX_GROWTH {
            return Err(format!(
                "its {name} can make a text {growth:.0} times longer, expected at most {MAX_GROWTH}"
            ));
        }
    }
    Ok(())
}

/// Returns how many times longer a step, or several steps in succession, can make a text at most.
fn growth(step: &Value) -> f64 {
    let inner = ["normalizers", "pretokenizers", "processors", "decoders"]
        .iter()
        .find_map(|name| step.get(name)?.as_array());
    if let Some(steps) = inner {
        return steps.iter().map(growth).product();
    }
    let len = |value: &Value| value.as_str().map_or(0, str::len) as f64;
    match step["type"].as_str().unwrap_or_default() {
        "Replace" => match len(&step["pattern"]["String"]) {
            // A regular expression may match nothing at every place.
            0.0 => 1.0 + len(&step["content"]),
            found => (len(&step["content"]) / found).max(1.0),
        },
        "Prepend" => 1.0 + len(&step["prepend"]),
        "Metaspace" => 1.0 + len(&step["replacement"]),
        "ByteLevel" => 2.0,
        "Precompiled" => longest_replacement(step["precompiled_charsmap"].as_str()),
        "TemplateProcessing" => ["single", "pair"]
            .iter()
            .filter_map(|form| step[form].as_array())
            .map(|pieces| {
                let is_text = |piece: &&Value| piece.get("Sequence").is_some();
                pieces.iter().filter(is_text).count() as f64
            })
            .fold(1.0, f64::max),
        _ => 1.0,
    }
}

/// Returns the longest text that a character can become. The map holds the length of a tree, the tree, and then texts
/// that end with a zero each.
fn longest_replacement(map: Option<&str>) -> f64 {
    let bytes = map.and_then(|map| STANDARD.decode(map).ok());
    let texts = bytes.as_deref().and_then(|bytes| {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        rest.get(u32::from_le_bytes(*len) as usize..)
    });
    texts
        .into_iter()
        .flat_map(|texts| texts.split(|&byte| byte == 0))
        .map(|text| text.len() as f64)
        .fold(1.0, f64::max)
}
