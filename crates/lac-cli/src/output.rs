//! Results to stdout or to a file, whole or not at all; notes to stderr.
//!
//! Everything that the program prints goes through this file. Pipes and files get texts byte for byte; for a terminal,
//! [`visible`] takes the power out of control characters, which a model or a file may have put
//! there.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Error, Result};
use lac_session::Notice;
use serde::Serialize;
use serde_json::Serializer;

use crate::json_format::{OnOneLine, Readable};
use crate::visible::visible;

/// Writes a line to stdout.
pub fn print_line(line: &str) -> Result<()> {
    print(&format!("{line}\n"))
}

/// Writes text to stdout, at once.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(guarded(text, &stdout).as_bytes());
    written.and_then(|()| stdout.flush()).map_err(failed)
}

/// Writes a picture and a line break to stdout. The picture's colours are taken out where the output is not a terminal, and
/// where `NO_COLOR` is set; it holds no other control characters than these colours and line breaks.
pub fn print_picture(picture: &str) -> Result<()> {
    writeln!(anstream::stdout(), "{picture}").map_err(failed)
}

/// Writes a message of the program to stderr, behind its name; the arguments are those of `format!`.
macro_rules! warn_user {
    ($($message:tt)*) => {
        $crate::output::write_note(&format!("lac: {}\n", format_args!($($message)*)))
    };
}

/// Writes a line to stderr; the arguments are those of `format!`.
macro_rules! note {
    ($($line:tt)*) => {
        $crate::output::write_note(&format!("{}\n", format_args!($($line)*)))
    };
}

pub(crate) use {note, warn_user};

/// Writes a notice to stderr.
pub fn tell(notice: Notice) {
    match notice {
        Notice::Warning(text) => warn_user!("{text}"),
        Notice::Note(text) => note!("{text}"),
    }
}

/// Writes lines to stderr. Where stderr is closed or full they are lost: there is no other place to say so.
pub fn write_note(lines: &str) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_all(guarded(lines, &stderr).as_bytes());
}

fn guarded<'t>(text: &'t str, output: &impl IsTerminal) -> Cow<'t, str> {
    if output.is_terminal() {
        visible(text)
    } else {
        Cow::Borrowed(text)
    }
}

/// Writes JSON to a file, or to stdout for `-`.
pub fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, OnOneLine);
    value
        .serialize(&mut serializer)
        .context("cannot write JSON")?;
    let text = String::from_utf8(bytes).context("cannot write JSON")?;
    write_line(path, &text)
}

/// Writes text to a file.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    lac_files::write_atomically(path, |file| file.write_all(text.as_bytes()))
        .map_err(failed)
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

/// The reader of what is written has gone, such as `head` after its lines: no failure.
#[derive(Debug)]
pub struct ReaderGone;

impl Display for ReaderGone {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the output has gone")
    }
}

impl std::error::Error for ReaderGone {}

fn failed(error: io::Error) -> Error {
    match error.kind() {
        ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => error.into(),
    }
}
