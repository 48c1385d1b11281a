//! Files that were damaged, or made to do harm: reading them gives a result or an error that names
//! the file, in memory that the file's size bounds. docs/reliability.md says what was found.

mod config;
mod gguf;
mod gguf_model;
mod tokenizers;
mod weights;

use std::error::Error;
use std::path::Path;

use lac_test_corruption::{Allowance, message};

/// JSON becomes a tree of 72 bytes a value, and lists grow by doubling.
const JSON: Allowance = Allowance {
    per_byte: 300,
    constant: 1 << 20,
};

/// Insists that an error says something, at no great length, and names the file.
fn check_error(error: &dyn Error, file: &Path) {
    let message = message(error);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(message.contains(name), "{name} is not in: {message}");
    assert!(message.len() < 4000, "{} bytes: {message}", message.len());
}

/// Insists that an error's text has these parts.
fn check_parts(error: &dyn Error, parts: &[&str], what: &str) {
    let message = message(error);
    for part in parts {
        assert!(
            message.contains(part),
            "{what}: {part:?} is not in: {message}"
        );
    }
}
