//! Texts of other systems' editors: with byte order marks, and with other line ends.

use std::io::{self, ErrorKind};
use std::path::Path;

use crate::foreign::{FileForm, binary, recognise};

/// What is made of line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnds {
    /// They stay as the file has them. For formats with their own rules, such as CSV, where a cell may hold one.
    AsWritten,
    /// `\r\n` (Windows) and `\r` alone become `\n`, as Python reads texts.
    Newline,
}

/// The bytes that other encodings than UTF-8 put before a text. UTF-32's begins with UTF-16's, and stands first.
const OTHER_MARKS: [(&[u8], &str); 4] = [
    (&[0xff, 0xfe, 0, 0], "UTF-32"),
    (&[0, 0, 0xfe, 0xff], "UTF-32"),
    (&[0xff, 0xfe], "UTF-16"),
    (&[0xfe, 0xff], "UTF-16"),
];

/// The byte order mark, as UTF-8 writes it.
const MARK: &str = "\u{feff}";

/// Reads a file of UTF-8 text, without a byte order mark at its start.
///
/// # Errors
/// Those of opening and reading the file; those of [`text_of`].
pub fn read_text(path: &Path, line_ends: LineEnds) -> io::Result<String> {
    text_of(std::fs::read(path)?, line_ends)
}

/// Makes a text of a file's bytes, without a byte order mark at their start. Inside a text the mark is a character as
/// any other.
///
/// # Errors
/// [`ErrorKind::InvalidData`] for a pointer of git-lfs, and for bytes that are not UTF-8. It names the line of the first wrong byte, or the encoding
/// where a byte order mark does.
pub fn text_of(bytes: Vec<u8>, line_ends: LineEnds) -> io::Result<String> {
    if let Some(what) = recognise(&bytes, FileForm::FreeText) {
        return Err(io::Error::new(ErrorKind::InvalidData, what));
    }
    let mut text = String::from_utf8(bytes).map_err(|error| {
        let n_valid = error.utf8_error().valid_up_to();
        io::Error::new(ErrorKind::InvalidData, reason(error.as_bytes(), n_valid))
    })?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len());
    }
    if line_ends == LineEnds::Newline && text.contains('\r') {
        text = text.replace("\r\n", "\n").replace('\r', "\n");
    }
    Ok(text)
}

/// Says why bytes are no UTF-8 text, and what to do.
fn reason(bytes: &[u8], n_valid: usize) -> String {
    let mark = OTHER_MARKS.iter().find(|(mark, _)| bytes.starts_with(mark));
    if let Some((_, encoding)) = mark {
        return format!("it is {encoding} text, as its byte order mark says: save it as UTF-8");
    }
    if let Some(what) = binary(bytes) {
        return what.to_owned();
    }
    let before = &bytes[..n_valid];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    format!(
        "it is not UTF-8 text: line {line} holds the byte 0x{:02x} where UTF-8 has none like it; save it as UTF-8",
        bytes.get(n_valid).copied().unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_taken_off_and_line_ends_made_alike() {
        let check = |bytes: &[u8], line_ends, expected: &str| {
            let text = text_of(bytes.to_vec(), line_ends).unwrap();
            assert_eq!(text, expected, "{bytes:?}");
        };
        check(
            "\u{feff}a\r\nb\rc\n".as_bytes(),
            LineEnds::Newline,
            "a\nb\nc\n",
        );
        check(
            "\u{feff}a\r\nb\rc\n".as_bytes(),
            LineEnds::AsWritten,
            "a\r\nb\rc\n",
        );
        check(b"\r\r\n\n", LineEnds::Newline, "\n\n\n");
        check("a\u{feff}b".as_bytes(), LineEnds::Newline, "a\u{feff}b");
        // One mark is the file's; a second one belongs to the text.
        check(
            "\u{feff}\u{feff}".as_bytes(),
            LineEnds::AsWritten,
            "\u{feff}",
        );
        check(b"", LineEnds::Newline, "");
    }

    #[test]
    fn other_encodings_are_named() {
        let check = |bytes: &[u8], expected: &[&str]| {
            let error = text_of(bytes.to_vec(), LineEnds::Newline).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            for part in expected.iter().chain(&["save it as UTF-8"]) {
                assert!(error.to_string().contains(part), "{error}");
            }
        };
        check(&[0xff, 0xfe, b'a', 0], &["UTF-16"]);
        check(&[0xfe, 0xff, 0, b'a'], &["UTF-16"]);
        check(&[0xff, 0xfe, 0, 0, b'a', 0, 0, 0], &["UTF-32"]);
        check(&[0, 0, 0xfe, 0xff, 0, 0, 0, b'a'], &["UTF-32"]);
        // Latin-1.
        check(b"one\ncaf\xe9\n", &["line 2", "0xe9"]);
        // Cut in the middle of a character.
        check(b"caf\xc3", &["line 1", "0xc3"]);
    }

    #[test]
    fn a_missing_file_stays_a_missing_file() {
        let error = read_text(Path::new("/no/such/file"), LineEnds::Newline).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}
