//! Folders whose tokenizer is in another form than `tokenizer.json`.

use std::path::Path;

/// The files of other forms, and what converting them needs beside transformers.
const FORMS: [(&[&str], &str); 6] = [
    (&["tekken.json"], " (it needs the package mistral-common)"),
    (
        &["tokenizer.model"],
        " (it needs the packages sentencepiece and protobuf)",
    ),
    (&["tiktoken.model"], " (it needs the package tiktoken)"),
    (
        &["spiece.model"],
        " (it needs the packages sentencepiece and protobuf)",
    ),
    (&["vocab.json", "merges.txt"], ""),
    (&["vocab.txt"], ""),
];

/// Returns what to do about a folder without `tokenizer.json` that has a tokenizer in another form.
pub(super) fn describe(folder: &Path) -> Option<String> {
    let is_there = |name: &&str| crate::file::is_there(&folder.join(name));
    let (names, needs) = FORMS
        .iter()
        .find(|(names, _)| names.iter().all(&is_there))?;
    let path = folder.display();
    Some(format!(
        "there is {} but no tokenizer.json; write one with: python -c \"from transformers import AutoTokenizer; \
         AutoTokenizer.from_pretrained('{path}').save_pretrained('{path}')\"{needs}",
        names.join(" and ")
    ))
}
