//! Python's `str` and `repr` of template values, and values as Python's numbers.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueIter, ValueKind};
use minijinja::{Error, ErrorKind, State};

use super::json::python_float;

/// Returns `str(value)`.
pub(super) fn python_str(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::Undefined => Ok(String::new()),
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_owned()),
        _ => python_repr(state, value),
    }
}

/// Returns `repr(value)`. Steps are counted for every part: lists that share their parts are small, but their text can
/// fill the memory.
pub(super) fn python_repr(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let mut out = String::new();
    // Values can be nested as deeply as the steps allow, so this does not call itself.
    let mut open: Vec<Container> = Vec::new();
    let mut next = Some(value.clone());
    loop {
        if let Some(value) = next.take() {
            state.consume_fuel(1)?;
            match Container::new(&value)? {
                Some(container) => {
                    out.push_str(container.brackets.0);
                    open.push(container);
                }
                None => write_leaf(state, &mut out, &value)?,
            }
        }
        let Some(container) = open.last_mut() else {
            return Ok(out);
        };
        let Some(item) = container.items.next() else {
            out.push_str(match container.n_items {
                1 if container.brackets.0 == "(" => ",)",
                _ => container.brackets.1,
            });
            open.pop();
            continue;
        };
        if container.n_items > 0 {
            out.push_str(", ");
        }
        container.n_items += 1;
        next = Some(match &container.map {
            Some(map) => {
                let value = map.get_item(&item)?;
                write_leaf(state, &mut out, &item)?;
                out.push_str(": ");
                value
            }
            None => item,
        });
    }
}

/// A list, tuple or dictionary that is being written.
struct Container {
    brackets: (&'static str, &'static str),
    /// The dictionary, whose keys are the items.
    map: Option<Value>,
    items: ValueIter,
    n_items: usize,
}

impl Container {
    fn new(value: &Value) -> Result<Option<Self>, Error> {
        let brackets = match value.kind() {
            ValueKind::Map => ("{", "}"),
            ValueKind::Seq if value.is_tuple() => ("(", ")"),
            ValueKind::Seq => ("[", "]"),
            _ => return Ok(None),
        };
        let map = (value.kind() == ValueKind::Map).then(|| value.clone());
        let items = value.try_iter()?;
        Ok(Some(Self {
            brackets,
            map,
            items,
            n_items: 0,
        }))
    }
}

fn write_leaf(state: &State<'_, '_>, out: &mut String, value: &Value) -> Result<(), Error> {
    let start = out.len();
    match (value.kind(), value.as_str()) {
        (_, Some(text)) => {
            // The text is counted before it is made.
            state.consume_fuel((text.len() / 64) as u64)?;
            write_quoted(out, text);
            return Ok(());
        }
        (ValueKind::Undefined, _) => out.push_str("Undefined"),
        (ValueKind::Number, _) if !value.is_integer() => {
            let float = f64::try_from(value.clone())?;
            out.push_str(&python_float(float));
        }
        (ValueKind::Map | ValueKind::Seq, _) => out.push_str(&python_repr(state, value)?),
        // Writing to a string cannot fail.
        _ => drop(write!(out, "{value}")),
    }
    state.consume_fuel(((out.len() - start) / 64) as u64)
}

fn write_quoted(out: &mut String, text: &str) {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if c == quote => out.extend(['\\', c]),
            ' '..='~' => out.push(c),
            _ if is_printable(c) => out.push(c),
            // Writing to a string cannot fail.
            _ => match u32::from(c) {
                code @ 0..=0xff => drop(write!(out, "\\x{code:02x}")),
                code @ 0..=0xffff => drop(write!(out, "\\u{code:04x}")),
                code => drop(write!(out, "\\U{code:08x}")),
            },
        }
    }
    out.push(quote);
}

pub(super) fn is_printable(c: char) -> bool {
    // A combining character is escaped only where it stands first.
    let text: String = ['a', c].into_iter().collect();
    !format!("{text:?}").contains('\\')
}

/// Escapes what is not ASCII, as Python's `ascii` does.
pub(super) fn ascii(text: &str) -> String {
    let escaped = |c: char| match u32::from(c) {
        0..=0x7f => c.to_string(),
        code @ 0..=0xff => format!("\\x{code:02x}"),
        code @ 0..=0xffff => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    text.chars().map(escaped).collect()
}

/// A number of Python. A boolean is one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    pub(super) fn as_float(self) -> f64 {
        match self {
            Self::Integer(integer) => integer as f64,
            Self::Float(float) => float,
        }
    }
}

/// Returns a value as a number, if it is one that fits.
pub(super) fn number(value: &Value) -> Option<Number> {
    match value.kind() {
        ValueKind::Bool => Some(Number::Integer(i128::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => {
            i128::try_from(value.clone()).ok().map(Number::Integer)
        }
        ValueKind::Number => f64::try_from(value.clone()).ok().map(Number::Float),
        _ => None,
    }
}

pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
