//! Control characters made visible, for a terminal: there they move the cursor, change the title or ring the bell.

use std::borrow::Cow;

/// Shows every control character but line breaks and tabs by its sign: those below a space and DEL by Unicode's control
/// pictures, `␛` for ESC, and those from U+0080 to U+009F, which have no sign, by `�`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if text.chars().any(is_hidden) {
        let signs = text.chars().map(|c| if is_hidden(c) { sign(c) } else { c });
        Cow::Owned(signs.collect())
    } else {
        Cow::Borrowed(text)
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control() && c != '\n' && c != '\t'
}

fn sign(control: char) -> char {
    match control {
        // The signs stand from U+2400 on in the order of the characters.
        '\0'..=' ' => char::from_u32(0x2400 + u32::from(control)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        _ => '\u{fffd}',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_stand_for_control_characters_alone() {
        for (text, expected) in [
            ("\u{1b}[2J", "␛[2J"),
            ("\u{7}\u{8}\0\u{7f}\r\n", "␇␈␀␡␍\n"),
            ("\u{1f}\u{9b}31m\u{85}", "␟�31m�"),
            ("a\tb\nç 語 🦀", "a\tb\nç 語 🦀"),
        ] {
            assert_eq!(visible(text), expected);
        }
        assert!(matches!(visible("plain"), Cow::Borrowed(_)));
    }
}
