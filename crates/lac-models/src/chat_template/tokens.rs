//! The words, operands and operators of a tag.

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// A name or keyword.
    Word,
    /// A number, a text or a bracket with all that it holds.
    Operand,
    Operator,
    Open,
    Close,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    /// Returns the token of the tag that it was cut from.
    pub(super) fn text(self, body: &str) -> &str {
        &body[self.start..self.end]
    }

    /// Returns whether the token opens what could be a call.
    pub(super) fn is_call(self, body: &str) -> bool {
        self.kind == Kind::Open && self.text(body) == "("
    }

    /// Returns whether the token is this word or operator.
    pub(super) fn is(self, body: &str, text: &str) -> bool {
        matches!(self.kind, Kind::Word | Kind::Operator) && self.text(body) == text
    }
}

/// Cuts what stands in a tag.
pub(super) fn tokens(body: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(first) = body[start..].chars().next() {
        let rest = &body[start..];
        let (kind, len) = match first {
            _ if first.is_whitespace() => {
                start += first.len_utf8();
                continue;
            }
            '\'' | '"' => (Kind::Operand, text_len(rest, first)),
            '0'..='9' => (Kind::Operand, number_len(rest)),
            _ if is_name(first) => {
                let len = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                (Kind::Word, len)
            }
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            _ => {
                let pairs = ["**", "//", "==", "!=", "<=", ">="];
                let is_pair = pairs.iter().any(|pair| rest.starts_with(pair));
                (Kind::Operator, if is_pair { 2 } else { first.len_utf8() })
            }
        };
        let end = start + len;
        tokens.push(Token { kind, start, end });
        start = end;
    }
    tokens
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns the length of a text with its quotes.
fn text_len(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (idx, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return idx + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Returns a text in quotes with the escapes that Python knows in a form that the engine knows. Python leaves a backslash
/// before other characters as it is.
pub(super) fn portable_text(quoted: &str) -> String {
    let mut out = String::with_capacity(quoted.len());
    let mut rest = quoted;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let Some(first) = escape.chars().next() else {
            return quoted.to_owned();
        };
        let mut len = first.len_utf8();
        match first {
            '\n' => {}
            'a' => out.push('\u{7}'),
            'b' => out.push('\u{8}'),
            'f' => out.push('\u{c}'),
            'v' => out.push('\u{b}'),
            'n' | 'r' | 't' | '\'' | '"' | '\\' => out.extend(['\\', first]),
            'x' | 'u' => out.extend(['\\', first]),
            'U' => {
                let digits = escape.get(1..9);
                let code = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let Some(character) = code.and_then(char::from_u32) else {
                    // The engine names the fault.
                    out.push_str("\\u");
                    rest = &escape[len..];
                    continue;
                };
                out.push(character);
                len = 9;
            }
            '0'..='7' => {
                let is_octal = |c: char| c.is_digit(8);
                let n_digits = escape.chars().take(3).take_while(|&c| is_octal(c)).count();
                len = n_digits;
                let code = u32::from_str_radix(&escape[..len], 8).ok();
                out.extend(code.and_then(char::from_u32));
            }
            _ => {
                out.push_str("\\\\");
                out.push(first);
            }
        }
        rest = &escape[len..];
    }
    out.push_str(rest);
    out
}

/// Returns the length of a number: `12`, `1_000`, `0x1f`, `1.5e-3`.
fn number_len(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut len = 0;
    while let Some(&byte) = bytes.get(len) {
        let is_exponent = !rest.starts_with("0x") && matches!(byte, b'e' | b'E');
        let goes_on = match byte {
            b'.' => is_digit(len + 1),
            _ => byte.is_ascii_alphanumeric() || byte == b'_',
        };
        if !goes_on {
            break;
        }
        len += 1;
        if is_exponent && matches!(bytes.get(len), Some(b'+' | b'-')) && is_digit(len + 1) {
            len += 1;
        }
    }
    len.max(1)
}
