//! Excerpts of files for error texts.

/// Returns the beginning of a text from a file, which may hold megabytes of it.
pub(crate) fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    match text.char_indices().nth(MAX_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}
