//! The files of a model folder, by name: which are read, and without which nothing can be loaded. A folder with weights in
//! safetensors files is that model; one without holds a model in GGUF, which needs no other file.
//!
//! A program that copies or downloads a model's folder asks here what it needs.

use std::collections::BTreeSet;
use std::path::Path;

use crate::checkpoint::{Checkpoint, describe_names};
use crate::gguf;
use crate::tokenizer::{TEMPLATE_FILES, TEMPLATE_FOLDER, TEMPLATE_SUFFIX};

/// The configuration.
pub const CONFIG: &str = "config.json";

/// The weights in one file. Where it is missing, [`INDEX`] names several.
pub const WEIGHTS: &str = "model.safetensors";

/// Says which tensor is in which file.
pub const INDEX: &str = "model.safetensors.index.json";

/// Files whose absence changes tokens, texts or where they end, without an error.
pub const SILENT_FILES: &[&str] = &[
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
];

/// Other small files: further forms of tokenizers and what processors say.
const OTHER_FILES: &[&str] = &[
    CONFIG,
    "tokenizer.model",
    "tekken.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "spiece.model",
    "tiktoken.model",
    "processor_config.json",
    "preprocessor_config.json",
];

/// Whether a file of that name decides a model's results or says what its folder is; weights apart.
pub fn is_small_file(path: &str) -> bool {
    let is_template = || {
        let name = path.strip_prefix(TEMPLATE_FOLDER);
        let name = name.and_then(|name| name.strip_prefix('/'));
        name.is_some_and(|name| name.ends_with(TEMPLATE_SUFFIX) && !name.contains('/'))
    };
    [SILENT_FILES, OTHER_FILES, &TEMPLATE_FILES, &[INDEX]]
        .iter()
        .any(|names| names.contains(&path))
        || is_template()
}

/// Whether a place with these files has a model in GGUF and no other.
fn is_gguf_model(listing: &BTreeSet<String>) -> bool {
    let has_safetensors = listing.iter().any(|path| path.ends_with(".safetensors"));
    !has_safetensors && listing.iter().any(|path| path.ends_with(".gguf"))
}

fn gguf_files(listing: &BTreeSet<String>) -> Result<Vec<String>, String> {
    gguf::select_files(listing.iter().map(String::as_str), None)
}

/// Whether a file is needed from a place that holds these files. Several files of weights are named by their index,
/// see [`missing`].
pub fn is_needed(path: &str, listing: &BTreeSet<String>) -> bool {
    if is_gguf_model(listing) {
        return gguf_files(listing).is_ok_and(|files| files.iter().any(|file| file == path));
    }
    match path {
        INDEX => !listing.contains(WEIGHTS),
        WEIGHTS => true,
        _ => is_small_file(path),
    }
}

/// The files that a folder lacks and without which no model can be loaded from it: the configuration and the weights,
/// all files of them. An index that cannot be read counts as one that is there: opening it says what is wrong.
pub fn missing(folder: &Path) -> Vec<String> {
    let is_missing = |name: &str| !crate::file::is_there(&folder.join(name));
    if is_missing(WEIGHTS) && is_missing(INDEX) && gguf::holds_files(folder) {
        return gguf::missing_files(folder, None);
    }
    let mut missing = Vec::new();
    if is_missing(CONFIG) {
        missing.push(CONFIG.to_owned());
    }
    match (is_missing(WEIGHTS), is_missing(INDEX)) {
        (false, _) => {}
        (true, true) => missing.push(WEIGHTS.to_owned()),
        (true, false) => {
            let shards = Checkpoint::shard_names(&folder.join(INDEX)).unwrap_or_default();
            missing.extend(shards.into_iter().filter(|shard| is_missing(shard)));
        }
    }
    missing
}

/// Checks that a place with these files has a model that can be loaded.
///
/// # Errors
/// What is there instead, and what to do about it.
pub fn check(listing: &BTreeSet<String>) -> Result<(), String> {
    let has = |name: &str| listing.contains(name);
    if is_gguf_model(listing) {
        return gguf_files(listing).map(drop);
    }
    if has(CONFIG) && (has(WEIGHTS) || has(INDEX)) {
        return Ok(());
    }
    if let Some(text) = describe_names(listing) {
        return Err(text);
    }
    Err(format!(
        "it does not hold {CONFIG} with {WEIGHTS} or {INDEX}"
    ))
}
