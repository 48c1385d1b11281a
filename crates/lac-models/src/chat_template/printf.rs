//! Python's `%` on texts: `'%05.1f %(name)s'`.
//!
//! Source: the library reference of Python, "printf-style String Formatting".

use minijinja::value::{Value, ValueKind};
use minijinja::{Error, State};

use super::floats::{MAX_PRECISION, fixed, general, scientific};
use super::text_filters::escaped;
use super::values::{Number, ascii, invalid, number, python_repr, python_str};

/// Returns `template % right` for a text.
pub(super) fn format(
    state: &mut State<'_, '_>,
    template: &Value,
    right: &Value,
) -> Result<Value, Error> {
    let text = template.as_str().unwrap_or_default();
    state.consume_fuel((text.len() / 64) as u64)?;
    let mut arguments = Arguments::new(right)?;
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (directive, len) = Directive::parse(rest, &mut arguments)?;
        rest = &rest[len..];
        // Fields can be wide, so they are counted before they are made.
        let n_bytes = directive
            .width
            .saturating_add(directive.precision.unwrap_or(0));
        state.consume_fuel((n_bytes / 64) as u64 + 1)?;
        out.push_str(&directive.format(state, &mut arguments, template.is_safe())?);
    }
    out.push_str(rest);
    arguments.assert_all_used()?;
    Ok(if template.is_safe() {
        Value::from_safe_string(out)
    } else {
        Value::from(out)
    })
}

/// What stands to the right of `%`.
struct Arguments {
    /// The values of a tuple, or the one value.
    values: Vec<Value>,
    n_used: usize,
    /// A dictionary, whose values have names.
    map: Option<Value>,
    /// The value that a key in parentheses has chosen for the next directive.
    chosen: Option<Value>,
    /// Whether values may be left over.
    may_stay: bool,
}

impl Arguments {
    fn new(right: &Value) -> Result<Self, Error> {
        let values = if right.is_tuple() {
            right.try_iter()?.collect()
        } else {
            vec![right.clone()]
        };
        // Everything with an index counts as a mapping, texts and tuples aside.
        let may_stay = !right.is_tuple()
            && matches!(
                right.kind(),
                ValueKind::Map | ValueKind::Seq | ValueKind::Undefined
            );
        Ok(Self {
            values,
            n_used: 0,
            map: (right.kind() == ValueKind::Map).then(|| right.clone()),
            chosen: None,
            may_stay,
        })
    }

    fn choose(&mut self, key: &str) -> Result<(), Error> {
        let map = self.map.as_ref();
        let map = map.ok_or_else(|| invalid("a format with names needs a mapping"))?;
        let value = map.get_attr(key)?;
        if value.is_undefined() {
            return Err(invalid(format!("the mapping has no {key:?}")));
        }
        self.chosen = Some(value);
        Ok(())
    }

    fn next(&mut self) -> Result<Value, Error> {
        if let Some(value) = self.chosen.take() {
            return Ok(value);
        }
        let value = self.values.get(self.n_used).cloned();
        self.n_used += 1;
        value.ok_or_else(|| invalid("not enough arguments for the format"))
    }

    fn assert_all_used(&self) -> Result<(), Error> {
        if self.n_used < self.values.len() && !self.may_stay {
            return Err(invalid("the format does not use all arguments"));
        }
        Ok(())
    }
}

/// One `%…` of a format.
struct Directive {
    is_left: bool,
    has_sign: bool,
    has_blank: bool,
    is_alternate: bool,
    has_zeros: bool,
    /// Characters.
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl Directive {
    /// Reads what follows a `%`, and returns it with its length.
    fn parse(text: &str, arguments: &mut Arguments) -> Result<(Self, usize), Error> {
        let incomplete = || invalid("the format ends after %");
        let mut at = 0;
        if text.starts_with('(') {
            let len = closing(text).ok_or_else(|| invalid("the format has an open parenthesis"))?;
            arguments.choose(&text[1..len])?;
            at = len + 1;
        }
        let flags = &text[at..];
        let n_flags = flags.len() - flags.trim_start_matches(['-', '+', ' ', '#', '0']).len();
        let flags = &flags[..n_flags];
        at += n_flags;
        let mut directive = Self {
            is_left: flags.contains('-'),
            has_sign: flags.contains('+'),
            has_blank: flags.contains(' '),
            is_alternate: flags.contains('#'),
            has_zeros: flags.contains('0'),
            width: 0,
            precision: None,
            conversion: ' ',
        };
        let (width, len) = count(&text[at..], arguments)?;
        at += len;
        if width.is_some_and(i128::is_negative) {
            directive.is_left = true;
        }
        directive.width = size(width.unwrap_or(0).unsigned_abs())?;
        if text[at..].starts_with('.') {
            let (precision, len) = count(&text[at + 1..], arguments)?;
            at += 1 + len;
            let precision = precision.unwrap_or(0).max(0);
            directive.precision = Some(size(precision.unsigned_abs())?);
        }
        at += usize::from(text[at..].starts_with(['h', 'l', 'L']));
        let conversion = text[at..].chars().next().ok_or_else(incomplete)?;
        directive.conversion = conversion;
        Ok((directive, at + conversion.len_utf8()))
    }

    fn format(
        &self,
        state: &mut State<'_, '_>,
        arguments: &mut Arguments,
        is_safe: bool,
    ) -> Result<String, Error> {
        match self.conversion {
            '%' => Ok("%".to_owned()),
            's' | 'r' | 'a' => {
                let value = arguments.next()?;
                let mut text = match self.conversion {
                    's' => python_str(state, &value)?,
                    'r' => python_repr(state, &value)?,
                    _ => ascii(&python_repr(state, &value)?),
                };
                if is_safe && !value.is_safe() {
                    text = escaped(state, &Value::from(text))?;
                }
                if let Some(precision) = self.precision
                    && let Some((end, _)) = text.char_indices().nth(precision)
                {
                    text.truncate(end);
                }
                Ok(self.padded("", &text, ' '))
            }
            'c' => {
                let text = character(&arguments.next()?)?;
                Ok(self.padded("", &text, ' '))
            }
            'd' | 'i' | 'u' | 'x' | 'X' | 'o' => self.integer(&arguments.next()?),
            'e' | 'E' | 'f' | 'F' | 'g' | 'G' => self.float(&arguments.next()?),
            other => Err(invalid(format!("%{other} is not a conversion"))),
        }
    }

    fn integer(&self, value: &Value) -> Result<String, Error> {
        let integer = match (number(value), self.conversion) {
            (Some(Number::Integer(integer)), _) => integer,
            // Everything beyond is a text of digits that a float does not have.
            (Some(Number::Float(float)), 'd' | 'i' | 'u') if float.abs() < 1e38 => float as i128,
            _ => {
                return Err(invalid(format!(
                    "%{} needs a number that it can write, and got a {}",
                    self.conversion,
                    value.kind()
                )));
            }
        };
        let size = integer.unsigned_abs();
        let (prefix, digits) = match self.conversion {
            'x' => ("0x", format!("{size:x}")),
            'X' => ("0X", format!("{size:X}")),
            'o' => ("0o", format!("{size:o}")),
            _ => ("", size.to_string()),
        };
        let n_zeros = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let digits = format!("{}{digits}", "0".repeat(n_zeros));
        let prefix = if self.is_alternate { prefix } else { "" };
        let sign = self.sign(integer < 0);
        Ok(self.padded(&format!("{sign}{prefix}"), &digits, self.fill()))
    }

    fn float(&self, value: &Value) -> Result<String, Error> {
        let number = number(value).ok_or_else(|| {
            let (conversion, kind) = (self.conversion, value.kind());
            invalid(format!("%{conversion} needs a number, and got a {kind}"))
        })?;
        let float = number.as_float();
        let precision = self.precision.unwrap_or(6);
        if precision > MAX_PRECISION {
            return Err(invalid(format!("a precision of {precision} is too large")));
        }
        let size = float.abs();
        let mut digits = if size.is_nan() {
            "nan".to_owned()
        } else if size.is_infinite() {
            "inf".to_owned()
        } else {
            match self.conversion.to_ascii_lowercase() {
                'f' => fixed(size, precision, self.is_alternate),
                'e' => scientific(size, precision, self.is_alternate),
                _ => general(size, precision, precision.max(1), self.is_alternate),
            }
        };
        if self.conversion.is_ascii_uppercase() {
            digits.make_ascii_uppercase();
        }
        let sign = self.sign(float.is_sign_negative() && !float.is_nan());
        Ok(self.padded(sign, &digits, self.fill()))
    }

    fn sign(&self, is_negative: bool) -> &'static str {
        match self {
            _ if is_negative => "-",
            Self { has_sign: true, .. } => "+",
            Self {
                has_blank: true, ..
            } => " ",
            _ => "",
        }
    }

    fn fill(&self) -> char {
        if self.has_zeros && !self.is_left {
            '0'
        } else {
            ' '
        }
    }

    fn padded(&self, sign: &str, text: &str, fill: char) -> String {
        let n_chars = sign.len() + text.chars().count();
        let n_missing = self.width.saturating_sub(n_chars);
        let pad = fill.to_string().repeat(n_missing);
        match fill {
            _ if self.is_left => format!("{sign}{text}{pad}"),
            '0' => format!("{sign}{pad}{text}"),
            _ => format!("{pad}{sign}{text}"),
        }
    }
}

/// Returns where the parenthesis at the start is closed.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => return Some(at),
            ')' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Reads a width or a precision, and returns it with the length of its text.
fn count(text: &str, arguments: &mut Arguments) -> Result<(Option<i128>, usize), Error> {
    if text.starts_with('*') {
        return match number(&arguments.next()?) {
            Some(Number::Integer(integer)) => Ok((Some(integer), 1)),
            _ => Err(invalid("* needs an integer")),
        };
    }
    let len = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if len == 0 {
        return Ok((None, 0));
    }
    let number = text[..len].parse();
    let number = number.map_err(|_| invalid("the format has too large a width"))?;
    Ok((Some(number), len))
}

fn size(number: u128) -> Result<usize, Error> {
    usize::try_from(number).map_err(|_| invalid("the format has too large a width"))
}

fn character(value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str()
        && text.chars().count() == 1
    {
        return Ok(text.to_owned());
    }
    let code = match number(value) {
        Some(Number::Integer(integer)) => u32::try_from(integer).ok(),
        _ => None,
    };
    let character = code.and_then(char::from_u32);
    let character = character.ok_or_else(|| invalid("%c needs a character or its number"))?;
    Ok(character.to_string())
}
