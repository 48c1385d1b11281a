//! Forms of JSON. In all of them DEL and the control characters from U+0080 on are escaped, which JSON leaves open, as
//! those below a space are, which it requires: a terminal then shows the same JSON as a file holds.

use std::io::Write;

use serde_json::ser::{Formatter, PrettyFormatter};

/// Everything on one line, without spaces.
pub struct OnOneLine;

impl Formatter for OnOneLine {
    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        write_escaped(writer, fragment)
    }
}

/// Objects with line breaks and indentation, lists without.
#[derive(Default)]
pub struct Readable(PrettyFormatter<'static>);

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

    fn write_string_fragment<W: Write + ?Sized>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        write_escaped(writer, fragment)
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

/// Writes a piece of a string that holds nothing that JSON requires to be escaped.
fn write_escaped<W: Write + ?Sized>(writer: &mut W, fragment: &str) -> std::io::Result<()> {
    let mut rest = fragment;
    while let Some((before, c, after)) = split_at_control(rest) {
        write!(writer, "{before}\\u{:04x}", u32::from(c))?;
        rest = after;
    }
    writer.write_all(rest.as_bytes())
}

/// Returns the first control character with what stands before and after it.
fn split_at_control(text: &str) -> Option<(&str, char, &str)> {
    let (start, c) = text.char_indices().find(|(_, c)| c.is_control())?;
    Some((&text[..start], c, &text[start + c.len_utf8()..]))
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::Serializer;

    use super::*;

    #[test]
    fn every_control_character_is_escaped_and_read_back() {
        let text: String = (0..0xa1).filter_map(char::from_u32).collect();
        let check = |bytes: Vec<u8>| {
            let json = String::from_utf8(bytes).unwrap();
            assert!(!json.chars().any(char::is_control), "{json:?}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
            assert!(
                json.contains("\\u007f\\u0080") && json.contains("\\u001b"),
                "{json}"
            );
        };
        let mut bytes = Vec::new();
        text.serialize(&mut Serializer::with_formatter(&mut bytes, OnOneLine))
            .unwrap();
        check(bytes);
        let mut bytes = Vec::new();
        let format = Readable::default();
        text.serialize(&mut Serializer::with_formatter(&mut bytes, format))
            .unwrap();
        check(bytes);
    }
}
