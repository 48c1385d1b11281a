//! Python's `str.format`: `'{0:>5} {name!r}'`.
//!
//! Source: the library reference of Python, "Format String Syntax".

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, State};

use super::floats::{MAX_PRECISION, fixed, general, scientific};
use super::json::python_float;
use super::values::{Number, ascii, invalid, number, python_repr, python_str};

/// Returns `template.format(*values, **named)`.
pub(super) fn format(
    state: &State<'_, '_>,
    template: &str,
    values: &[Value],
    named: Value,
) -> Result<String, Error> {
    let mut arguments = Arguments {
        values,
        named,
        n_used: 0,
        is_numbered: None,
    };
    formatted(state, template, &mut arguments, true)
}

/// Returns the values by position and those by name of a call.
pub(super) fn arguments(args: &[Value]) -> Result<(&[Value], Value), Error> {
    match args.split_last() {
        Some((last, values)) if last.is_kwargs() => {
            let named = Kwargs::try_from(last.clone())?;
            let pairs = named
                .args()
                .map(|name| Ok((name, named.get::<Value>(name)?)));
            let pairs = pairs.collect::<Result<Vec<_>, Error>>()?;
            Ok((values, Value::from_pairs(pairs)))
        }
        _ => Ok((args, Value::UNDEFINED)),
    }
}

struct Arguments<'a> {
    values: &'a [Value],
    named: Value,
    /// How many fields without a number have been read.
    n_used: usize,
    /// Whether the fields have numbers. They all do or none does.
    is_numbered: Option<bool>,
}

impl Arguments<'_> {
    /// Returns the value of a field: `0`, `name`, `0.key`, `name[key]` or nothing for the next.
    fn value(&mut self, field: &str) -> Result<Value, Error> {
        let end = field.find(['.', '[']).unwrap_or(field.len());
        let (name, mut rest) = field.split_at(end);
        let is_numbered = name.starts_with(|c: char| c.is_ascii_digit());
        let mut value = if name.is_empty() || is_numbered {
            if *self.is_numbered.get_or_insert(is_numbered) != is_numbered {
                return Err(invalid("fields have numbers, or none of them has one"));
            }
            let idx = if is_numbered {
                name.parse().unwrap_or(usize::MAX)
            } else {
                self.n_used += 1;
                self.n_used - 1
            };
            let value = self.values.get(idx).cloned();
            value.ok_or_else(|| invalid(format!("the format has no value for the field {idx}")))?
        } else {
            let value = self.named.get_attr(name).unwrap_or_default();
            if value.is_undefined() {
                return Err(invalid(format!(
                    "the format has no value for the field {name}"
                )));
            }
            value
        };
        while let Some(open) = rest.chars().next() {
            let (key, len) = match open {
                '.' => {
                    let end = rest[1..].find(['.', '[']);
                    let end = end.map_or(rest.len(), |end| end + 1);
                    (&rest[1..end], end)
                }
                '[' => match rest.find(']') {
                    Some(end) => (&rest[1..end], end + 1),
                    None => return Err(invalid("the format has an open bracket")),
                },
                _ => return Err(invalid("only . and [ may follow a bracket in a format")),
            };
            value = match key.parse::<usize>() {
                Ok(idx) if open == '[' => value.get_item(&Value::from(idx))?,
                _ if key.is_empty() => return Err(invalid("a field of the format has no name")),
                _ => value.get_attr(key)?,
            };
            rest = &rest[len..];
        }
        Ok(value)
    }
}

fn formatted(
    state: &State<'_, '_>,
    template: &str,
    arguments: &mut Arguments<'_>,
    may_nest: bool,
) -> Result<String, Error> {
    state.consume_fuel((template.len() / 64) as u64)?;
    let mut out = String::new();
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let bracket = &rest[at..=at];
        rest = &rest[at + 1..];
        if rest.starts_with(bracket) {
            out.push_str(bracket);
            rest = &rest[1..];
            continue;
        }
        if bracket == "}" {
            return Err(invalid("the format has a } without {"));
        }
        let len = field_len(rest).ok_or_else(|| invalid("the format has a { without }"))?;
        state.consume_fuel(1)?;
        let field = &rest[..len];
        rest = &rest[len + 1..];
        let (name, conversion, spec) = parts(field)?;
        if !may_nest && spec.contains('{') {
            return Err(invalid("the format has fields in the fields of a field"));
        }
        let value = arguments.value(name)?;
        let spec = formatted(state, spec, arguments, false)?;
        let value = match conversion {
            None => value,
            Some('s') => Value::from(python_str(state, &value)?),
            Some('r') => Value::from(python_repr(state, &value)?),
            Some('a') => Value::from(ascii(&python_repr(state, &value)?)),
            Some(other) => return Err(invalid(format!("!{other} is not a conversion"))),
        };
        out.push_str(&Spec::parse(&spec)?.format(state, &value)?);
    }
    out.push_str(rest);
    Ok(out)
}

/// Returns where the field that was opened in front of a text is closed.
fn field_len(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// Cuts `name!r:spec`.
fn parts(field: &str) -> Result<(&str, Option<char>, &str), Error> {
    // A key in brackets may hold every other character.
    let mut in_key = false;
    let end = field.find(|c| {
        match c {
            '[' => in_key = true,
            ']' => in_key = false,
            _ => {}
        }
        !in_key && matches!(c, '!' | ':')
    });
    let Some(end) = end else {
        return Ok((field, None, ""));
    };
    let (name, rest) = field.split_at(end);
    if let Some(spec) = rest.strip_prefix(':') {
        return Ok((name, None, spec));
    }
    let mut chars = rest[1..].chars();
    let conversion = chars.next();
    let conversion = conversion.ok_or_else(|| invalid("the format ends after !"))?;
    match chars.as_str() {
        "" => Ok((name, Some(conversion), "")),
        rest => match rest.strip_prefix(':') {
            Some(spec) => Ok((name, Some(conversion), spec)),
            None => Err(invalid("only : may follow the conversion of a format")),
        },
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Align {
    Left,
    Right,
    Center,
    /// Between the sign and the digits.
    Inside,
}

impl Align {
    fn of(c: char) -> Option<Self> {
        match c {
            '<' => Some(Self::Left),
            '>' => Some(Self::Right),
            '^' => Some(Self::Center),
            '=' => Some(Self::Inside),
            _ => None,
        }
    }
}

/// How a field is written: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`.
struct Spec {
    is_empty: bool,
    fill: char,
    align: Option<Align>,
    /// `+`, `-` or a blank.
    sign: Option<char>,
    has_no_negative_zero: bool,
    is_alternate: bool,
    has_zeros: bool,
    /// Characters.
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    conversion: Option<char>,
}

impl Spec {
    fn parse(text: &str) -> Result<Self, Error> {
        let mut chars = text.chars().peekable();
        let mut second = text.chars();
        let (first, second) = (second.next(), second.next());
        let mut spec = Self {
            is_empty: text.is_empty(),
            fill: ' ',
            align: None,
            sign: None,
            has_no_negative_zero: false,
            is_alternate: false,
            has_zeros: false,
            width: 0,
            grouping: None,
            precision: None,
            conversion: None,
        };
        if let (Some(fill), Some(align)) = (first, second.and_then(Align::of)) {
            (spec.fill, spec.align) = (fill, Some(align));
            chars.next();
            chars.next();
        } else if let Some(align) = first.and_then(Align::of) {
            spec.align = Some(align);
            chars.next();
        }
        let has_fill = spec.align.is_some() && second.and_then(Align::of).is_some();
        spec.sign = chars.next_if(|c| matches!(c, '+' | '-' | ' '));
        spec.has_no_negative_zero = chars.next_if_eq(&'z').is_some();
        spec.is_alternate = chars.next_if_eq(&'#').is_some();
        spec.has_zeros = chars.next_if_eq(&'0').is_some();
        if spec.has_zeros && !has_fill {
            spec.fill = '0';
        }
        let count = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = chars.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            match digits.as_str() {
                "" => Ok(None),
                digits => digits.parse().map(Some),
            }
        };
        let too_large = |_| invalid("the format has too large a width");
        spec.width = count(&mut chars).map_err(too_large)?.unwrap_or(0);
        spec.grouping = chars.next_if(|c| matches!(c, ',' | '_'));
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = count(&mut chars).map_err(too_large)?;
            if spec.precision.is_none() {
                return Err(invalid("the format has no precision after the point"));
            }
        }
        spec.conversion = chars.next();
        if chars.next().is_some() {
            return Err(invalid(format!("{text:?} is not a format of a field")));
        }
        Ok(spec)
    }

    fn format(&self, state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
        if self.is_empty {
            return python_str(state, value);
        }
        // Fields can be wide, so they are counted before they are made.
        let n_bytes = self.width.saturating_mul(self.fill.len_utf8());
        let n_bytes = n_bytes.saturating_add(self.precision.unwrap_or(0));
        state.consume_fuel((n_bytes / 32) as u64 + 1)?;
        if let Some(text) = value.as_str() {
            return self.text(text);
        }
        let is_float = matches!(
            self.conversion,
            Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%')
        );
        match number(value) {
            Some(Number::Integer(integer)) if !is_float => self.integer(integer),
            Some(number) => self.float(number.as_float()),
            None => {
                let kind = value.kind();
                Err(invalid(format!("a {kind} has no format but the empty one")))
            }
        }
    }

    fn text(&self, text: &str) -> Result<String, Error> {
        if !matches!(self.conversion, None | Some('s'))
            || self.sign.is_some()
            || self.grouping.is_some()
            || self.is_alternate
            || self.has_no_negative_zero
            || self.align == Some(Align::Inside)
        {
            return Err(invalid("the format of a field does not fit a text"));
        }
        let end = self
            .precision
            .and_then(|n_chars| text.char_indices().nth(n_chars));
        let text = end.map_or(text, |(end, _)| &text[..end]);
        Ok(self.padded("", text, self.align.unwrap_or(Align::Left)))
    }

    fn integer(&self, integer: i128) -> Result<String, Error> {
        let conversion = self.conversion.unwrap_or('d');
        if self.precision.is_some() || self.has_no_negative_zero {
            return Err(invalid("the format of an integer has no precision"));
        }
        if conversion == 'c' {
            let character = u32::try_from(integer).ok().and_then(char::from_u32);
            let character = character.filter(|_| self.sign.is_none());
            let character = character.ok_or_else(|| invalid("c needs a character's number"))?;
            let align = self.align.unwrap_or(Align::Left);
            return Ok(self.padded("", &character.to_string(), align));
        }
        let size = integer.unsigned_abs();
        let (prefix, digits, group) = match conversion {
            'd' | 'n' => ("", size.to_string(), 3),
            'b' => ("0b", format!("{size:b}"), 4),
            'o' => ("0o", format!("{size:o}"), 4),
            'x' => ("0x", format!("{size:x}"), 4),
            'X' => ("0X", format!("{size:X}"), 4),
            _ => return Err(unknown(conversion, "an integer")),
        };
        if group == 4 && self.grouping == Some(',') || conversion == 'n' && self.grouping.is_some()
        {
            return Err(unknown(conversion, "digits in groups"));
        }
        let prefix = if self.is_alternate { prefix } else { "" };
        let sign = format!("{}{prefix}", self.sign_of(integer < 0));
        Ok(self.number(&sign, &digits, "", group))
    }

    fn float(&self, float: f64) -> Result<String, Error> {
        let precision = self.precision.unwrap_or(6);
        if precision > MAX_PRECISION {
            return Err(invalid(format!("a precision of {precision} is too large")));
        }
        let size = float.abs()
            * if self.conversion == Some('%') {
                100.0
            } else {
                1.0
            };
        let keeps_point = self.is_alternate;
        let mut text = match self.conversion {
            _ if size.is_nan() => "nan".to_owned(),
            _ if size.is_infinite() => "inf".to_owned(),
            Some('f' | 'F' | '%') => fixed(size, precision, keeps_point),
            Some('e' | 'E') => scientific(size, precision, keeps_point),
            Some('g' | 'G' | 'n') => general(size, precision, precision.max(1), keeps_point),
            None => match self.precision {
                None => python_float(size),
                Some(precision) => {
                    let limit = precision.max(1) - 1;
                    let text = general(size, precision, limit, keeps_point);
                    if text.contains(['.', 'e']) {
                        text
                    } else {
                        text + ".0"
                    }
                }
            },
            Some(other) => return Err(unknown(other, "a float")),
        };
        if self.conversion == Some('n') && self.grouping.is_some() {
            return Err(unknown('n', "digits in groups"));
        }
        let is_zero = !text.contains(|c: char| ('1'..='9').contains(&c)) && size.is_finite();
        if self.conversion.is_some_and(|c| c.is_ascii_uppercase()) {
            text.make_ascii_uppercase();
        }
        let is_negative =
            float.is_sign_negative() && !float.is_nan() && !(self.has_no_negative_zero && is_zero);
        let sign = self.sign_of(is_negative);
        let n_digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (digits, rest) = text.split_at(n_digits);
        let percent = if self.conversion == Some('%') {
            "%"
        } else {
            ""
        };
        Ok(self.number(sign, digits, &format!("{rest}{percent}"), 3))
    }

    /// Puts a number together of its sign, the digits before the point and what follows them.
    fn number(&self, sign: &str, digits: &str, rest: &str, group: usize) -> String {
        let inside = if self.has_zeros {
            Align::Inside
        } else {
            Align::Right
        };
        let align = self.align.unwrap_or(inside);
        let Some(separator) = self.grouping.filter(|_| !digits.is_empty()) else {
            return self.padded(sign, &format!("{digits}{rest}"), align);
        };
        let n_wanted = if align == Align::Inside && self.fill == '0' {
            self.width.saturating_sub(sign.len() + rest.len())
        } else {
            0
        };
        let mut reversed = String::new();
        let mut n_digits = 0;
        let mut left = digits.bytes().rev();
        loop {
            let digit = match left.next() {
                Some(digit) => char::from(digit),
                None if reversed.len() < n_wanted => '0',
                None => break,
            };
            if n_digits > 0 && n_digits % group == 0 {
                reversed.push(separator);
            }
            reversed.push(digit);
            n_digits += 1;
        }
        let grouped: String = reversed.chars().rev().collect();
        self.padded(sign, &format!("{grouped}{rest}"), align)
    }

    fn sign_of(&self, is_negative: bool) -> &'static str {
        match self.sign {
            _ if is_negative => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        }
    }

    fn padded(&self, sign: &str, text: &str, align: Align) -> String {
        let n_chars = sign.len() + text.chars().count();
        let n_missing = self.width.saturating_sub(n_chars);
        let pad = |n_chars: usize| self.fill.to_string().repeat(n_chars);
        match align {
            Align::Left => format!("{sign}{text}{}", pad(n_missing)),
            Align::Right => format!("{}{sign}{text}", pad(n_missing)),
            Align::Inside => format!("{sign}{}{text}", pad(n_missing)),
            Align::Center => {
                let n_left = n_missing / 2;
                format!("{}{sign}{text}{}", pad(n_left), pad(n_missing - n_left))
            }
        }
    }
}

fn unknown(conversion: char, what: &str) -> Error {
    invalid(format!("{conversion} is not a format of {what}"))
}
