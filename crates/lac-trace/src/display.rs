//! The vocabulary's spelling of tokens, made readable.

/// How a vocabulary spells bytes and spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spelling {
    /// Every byte is a printable character (GPT-2, Llama 3, Qwen): `Ġ` is a space.
    Bytes,
    /// `▁` is a space and `<0x0A>` a byte (SentencePiece: Llama 2, Mistral).
    SentencePiece,
    /// Texts as they are.
    Plain,
}

impl Spelling {
    /// Guesses from all pieces of a trace.
    pub fn of<'a>(pieces: impl Iterator<Item = &'a str>) -> Self {
        let mut spelling = Self::Plain;
        for piece in pieces {
            if piece.contains(['Ġ', 'Ċ']) {
                return Self::Bytes;
            }
            if piece.contains('▁') || byte_of(piece).is_some() {
                spelling = Self::SentencePiece;
            }
        }
        spelling
    }

    /// Returns the text of a piece; bytes that are not UTF-8 by themselves are spelled `\xE4`.
    pub fn read(self, piece: &str) -> String {
        match self {
            Self::Plain => piece.to_owned(),
            Self::SentencePiece => match byte_of(piece) {
                Some(byte) => text_of(&[byte]),
                None => piece.replace('▁', " "),
            },
            Self::Bytes => match piece.chars().map(byte_level).collect::<Option<Vec<u8>>>() {
                Some(bytes) => text_of(&bytes),
                // Added tokens such as `<|im_start|>` may be spelled in other characters.
                None => piece.to_owned(),
            },
        }
    }
}

/// Returns the byte that a piece such as `<0x0A>` stands for.
fn byte_of(piece: &str) -> Option<u8> {
    let digits = piece.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2)
        .then(|| u8::from_str_radix(digits, 16).ok())
        .flatten()
}

/// Returns the byte that a character stands for in byte-level vocabularies: printable Latin-1 characters stand for
/// themselves, the other bytes follow from U+0100 on.
fn byte_level(character: char) -> Option<u8> {
    let is_printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(character);
    if let Ok(byte) = u8::try_from(code) {
        return is_printable(byte).then_some(byte);
    }
    let nth = code.checked_sub(0x100)? as usize;
    (0..=u8::MAX).filter(|&byte| !is_printable(byte)).nth(nth)
}

fn text_of(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02X}"));
        }
    }
    text
}

/// Returns a text on one line, with a sign for each character that cannot be seen.
pub(crate) fn on_one_line(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' => '↵',
            '\t' => '→',
            '\u{2028}' | '\u{2029}' => '↵',
            c if c.is_control() => '?',
            c => c,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_text() {
        let bytes = ["Ġthe", "Ċ", "é", "Ã©", "ä½", "<|im_start|>"];
        let sentences = ["▁the", "<0x0A>", "é", "<0xE4>"];
        for (pieces, spelling, expected) in [
            (
                &bytes[..],
                Spelling::Bytes,
                // U+00E9 stands for the byte E9, which is not UTF-8 by itself.
                &[" the", "\n", "\\xE9", "é", "\\xE4\\xBD", "<|im_start|>"][..],
            ),
            (
                &sentences[..],
                Spelling::SentencePiece,
                &[" the", "\n", "é", "\\xE4"][..],
            ),
            (
                &["Once", " upon"][..],
                Spelling::Plain,
                &["Once", " upon"][..],
            ),
        ] {
            assert_eq!(Spelling::of(pieces.iter().copied()), spelling);
            let read: Vec<String> = pieces.iter().map(|piece| spelling.read(piece)).collect();
            assert_eq!(read, expected);
        }
    }
}
