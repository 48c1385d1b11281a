//! Results to stdout or to a file, whole or not at all.

use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{Formatter, PrettyFormatter};

/// Writes a line to stdout.
pub fn print_line(line: &str) -> Result<()> {
    writeln!(anstream::stdout(), "{line}")?;
    Ok(())
}

/// Writes JSON to a file, or to stdout for `-`.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).context("cannot write JSON")?;
    write_line(path, &text)
}

/// Writes text to a file.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    lac_files::write_atomically(path, |file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes JSON for people to read: a line for every field, each list on one line.
pub fn write_json_readable(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Readable::default());
    value
        .serialize(&mut serializer)
        .context("cannot write JSON")?;
    let text = String::from_utf8(bytes).context("cannot write JSON")?;
    write_line(path, &text)
}

/// Writes a line to a file of its own, or to stdout for `-`.
fn write_line(path: &Path, line: &str) -> Result<()> {
    if path == Path::new("-") {
        return print_line(line);
    }
    write_text(path, &format!("{line}\n"))
}

/// Objects with line breaks and indentation, lists without.
#[derive(Default)]
struct Readable(PrettyFormatter<'static>);

impl Formatter for Readable {
    fn begin_array_value<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> std::io::Result<()> {
        if is_first {
            Ok(())
        } else {
            writer.write_all(b", ")
        }
    }

    fn begin_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        is_first: bool,
    ) -> std::io::Result<()> {
        self.0.begin_object_key(writer, is_first)
    }

    fn begin_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: Write + ?Sized>(&mut self, writer: &mut W) -> std::io::Result<()> {
        self.0.end_object_value(writer)
    }
}

/// Returns whether an error only says that the reader of our output has gone.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == ErrorKind::BrokenPipe)
}
