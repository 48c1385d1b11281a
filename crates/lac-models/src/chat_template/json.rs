//! Python's `json.dumps` for template values.
//!
//! Chat templates print tool schemas with `tojson`, and models are trained on the text that Python prints. Separators,
//! digits of floats and escapes have to be the same.

use std::fmt::Write;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Error, ErrorKind, State};

/// The arguments of `json.dumps` that Hugging Face's `tojson` accepts.
#[derive(Clone, Debug)]
pub(super) struct JsonStyle {
    ascii: Ascii,
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    keys: KeyOrder,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ascii {
    Escape,
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum KeyOrder {
    Given,
    Sorted,
}

impl JsonStyle {
    fn new(
        ascii: Option<&Value>,
        indent: Option<&Value>,
        separators: Option<&Value>,
        sort_keys: Option<&Value>,
    ) -> Result<Self, Error> {
        let given = |value: Option<&Value>| value.is_some_and(Value::is_true);
        let indent = match indent.filter(|value| !value.is_none()) {
            None => None,
            Some(value) => Some(match value.as_str() {
                Some(text) => text.to_owned(),
                None => " ".repeat(indent_width(value)?),
            }),
        };
        let (item_separator, key_separator) = match separators.filter(|value| !value.is_none()) {
            Some(pair) => {
                let parts: Vec<String> = pair
                    .try_iter()?
                    .map(|part| part.as_str().unwrap_or_default().to_owned())
                    .collect();
                let [item, key] = <[String; 2]>::try_from(parts)
                    .map_err(|_| invalid("separators must be a pair of strings"))?;
                (item, key)
            }
            // Python drops the space where a line break follows.
            None if indent.is_some() => (",".to_owned(), ": ".to_owned()),
            None => (", ".to_owned(), ": ".to_owned()),
        };
        Ok(Self {
            ascii: if given(ascii) {
                Ascii::Escape
            } else {
                Ascii::Keep
            },
            indent,
            item_separator,
            key_separator,
            keys: if given(sort_keys) {
                KeyOrder::Sorted
            } else {
                KeyOrder::Given
            },
        })
    }
}

/// Implements the `tojson` filter with the signature that it has in transformers:
/// `tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ascii: Option<&Value>,
    indent: Option<&Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let named = |name| kwargs.get::<Option<&Value>>(name);
    let style = JsonStyle::new(
        ascii.or(named("ensure_ascii")?),
        indent.or(named("indent")?),
        named("separators")?,
        named("sort_keys")?,
    )?;
    kwargs.assert_all_used()?;
    let mut writer = Writer {
        out: String::new(),
        style,
        depth: 0,
        state,
    };
    writer.value(value)?;
    Ok(Value::from(writer.out))
}

/// Prints a float as Python's `repr` does.
pub(super) fn python_float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    // Python leaves positional notation below 1e-4 and from 1e16 on.
    if (-4..16).contains(&exponent) {
        let text = number.to_string();
        return if text.contains('.') {
            text
        } else {
            text + ".0"
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// How deeply values may be nested. Python has such a limit too, that of its recursion.
const MAX_DEPTH: usize = 200;

struct Writer<'a> {
    out: String,
    style: JsonStyle,
    depth: usize,
    state: &'a State<'a, 'a>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        // Values can share their parts, so without this a small template could print a document of exponential size.
        self.state.consume_fuel(1)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(json_bool(value)),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default())?,
            ValueKind::Seq | ValueKind::Iterable => {
                let items = value.try_iter()?;
                self.container(('[', ']'), items, |writer, item| writer.value(&item))?;
            }
            ValueKind::Map => {
                let mut keys = Vec::new();
                for key in value.try_iter()? {
                    self.state.consume_fuel(1)?;
                    keys.push(key);
                }
                if self.style.keys == KeyOrder::Sorted {
                    keys.sort();
                }
                self.container(('{', '}'), keys.into_iter(), |writer, key| {
                    writer.key(&key)?;
                    writer.pay_for(writer.style.key_separator.len())?;
                    writer.out.push_str(&writer.style.key_separator);
                    writer.value(&value.get_item(&key)?)
                })?;
            }
            kind => {
                return Err(invalid(format!(
                    "a value of kind {kind} is not JSON serializable"
                )));
            }
        }
        Ok(())
    }

    fn container(
        &mut self,
        (open, close): (char, char),
        items: impl Iterator<Item = Value>,
        mut write: impl FnMut(&mut Self, Value) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.out.push(open);
        let mut is_empty = true;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(invalid(format!(
                "a value is nested more than {MAX_DEPTH} deep"
            )));
        }
        for item in items {
            if !is_empty {
                self.pay_for(self.style.item_separator.len())?;
                self.out.push_str(&self.style.item_separator);
            }
            is_empty = false;
            self.line_break()?;
            write(self, item)?;
        }
        self.depth -= 1;
        if !is_empty {
            self.line_break()?;
        }
        self.out.push(close);
        Ok(())
    }

    fn line_break(&mut self) -> Result<(), Error> {
        if let Some(indent) = &self.style.indent {
            self.pay_for(indent.len().saturating_mul(self.depth))?;
            self.out.push('\n');
            self.out.push_str(&indent.repeat(self.depth));
        }
        Ok(())
    }

    fn pay_for(&self, n_bytes: usize) -> Result<(), Error> {
        self.state.consume_fuel((n_bytes / 64) as u64)
    }

    fn key(&mut self, key: &Value) -> Result<(), Error> {
        match key.kind() {
            ValueKind::String => self.string(key.as_str().unwrap_or_default()),
            ValueKind::None => self.string("null"),
            ValueKind::Bool => self.string(json_bool(key)),
            ValueKind::Number => {
                self.out.push('"');
                self.number(key);
                self.out.push('"');
                Ok(())
            }
            kind => Err(invalid(format!(
                "a value of kind {kind} cannot be a JSON key"
            ))),
        }
    }

    fn number(&mut self, number: &Value) {
        match f64::try_from(number.clone()) {
            Ok(float) if !number.is_integer() => self.out.push_str(&match float {
                float if float.is_nan() => "NaN".to_owned(),
                f64::INFINITY => "Infinity".to_owned(),
                f64::NEG_INFINITY => "-Infinity".to_owned(),
                float => python_float(float),
            }),
            // Integers may be wider than a float can hold.
            _ => self.out.push_str(&number.to_string()),
        }
    }

    fn string(&mut self, text: &str) -> Result<(), Error> {
        self.pay_for(text.len())?;
        self.out.push('"');
        for character in text.chars() {
            match character {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                '\0'..' ' => self.escape(character),
                ' '..='~' => self.out.push(character),
                _ if self.style.ascii == Ascii::Escape => self.escape(character),
                _ => self.out.push(character),
            }
        }
        self.out.push('"');
        Ok(())
    }

    fn escape(&mut self, character: char) {
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(self.out, "\\u{unit:04x}");
        }
    }
}

fn json_bool(value: &Value) -> &'static str {
    if value.is_true() { "true" } else { "false" }
}

fn indent_width(value: &Value) -> Result<usize, Error> {
    // A wide indent multiplies the output, so it is bounded too.
    const MAX_INDENT: i64 = 64;
    let width = i64::try_from(value.clone())?;
    if width > MAX_INDENT {
        return Err(invalid(format!(
            "an indent of {width} is more than {MAX_INDENT}"
        )));
    }
    Ok(width.max(0).unsigned_abs() as usize)
}

fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
