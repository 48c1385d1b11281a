//! Results to stdout or to a file, whole or not at all.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

/// Writes a line to stdout.
pub fn print_line(line: &str) -> Result<()> {
    writeln!(anstream::stdout(), "{line}")?;
    Ok(())
}

/// Writes JSON to a file, or to stdout for `-`.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).context("cannot write JSON")?;
    if path == Path::new("-") {
        return print_line(&text);
    }
    write_text(path, &format!("{text}\n"))
}

/// Writes text to a file.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_whole(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

/// The same, with line breaks and indentation, for files that people read.
pub fn write_json_pretty(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot write JSON")?;
    if path == Path::new("-") {
        return print_line(&text);
    }
    write_whole(path, format!("{text}\n").as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a temporary file beside the target, syncs it and renames it: a reader sees the old
/// file or the new one, and a full disk leaves the old one as it was.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Whether an error only says that nobody reads our output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == ErrorKind::BrokenPipe)
}
