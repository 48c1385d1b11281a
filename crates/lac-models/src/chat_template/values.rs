//! Python's `str` and `repr` of template values, and what Python's operators do with them.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueIter, ValueKind};
use minijinja::{Error, ErrorKind, State, tests};

use super::expression::COMPARISONS;
use super::json::python_float;
use super::printf;

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

fn is_printable(c: char) -> bool {
    // A combining character is escaped only where it stands first.
    let text: String = ['a', c].into_iter().collect();
    !format!("{text:?}").contains('\\')
}

/// Makes what a loop iterates: Jinja2 knows the length of everything but not all that the engine iterates has one.
pub(super) fn loop_items(state: &State<'_, '_>, items: Value) -> Result<Value, Error> {
    match items.kind() {
        ValueKind::String => {
            let text = items.as_str().unwrap_or_default();
            state.consume_fuel(text.chars().count() as u64)?;
            Ok(text.chars().map(|c| Value::from(c.to_string())).collect())
        }
        ValueKind::None => Err(invalid("none is not iterable")),
        ValueKind::Iterable if items.len().is_none() => {
            let mut known = Vec::new();
            for item in items.try_iter()?.checked() {
                state.consume_fuel(1)?;
                known.push(item?);
            }
            Ok(Value::from(known))
        }
        _ => Ok(items),
    }
}

/// Makes what a loop with several targets iterates: each text as its characters.
pub(super) fn loop_rows(state: &State<'_, '_>, items: Value) -> Result<Value, Error> {
    let items = loop_items(state, items)?;
    if items.is_undefined() {
        return Ok(items);
    }
    let mut rows = Vec::new();
    for row in items.try_iter()?.checked() {
        state.consume_fuel(1)?;
        let row = row?;
        rows.push(match row.kind() {
            ValueKind::String => loop_items(state, row)?,
            _ => row,
        });
    }
    Ok(Value::from(rows))
}

/// Implements `left % right`: a formatted text, or the remainder that has the divisor's sign.
pub(super) fn remainder(
    state: &mut State<'_, '_>,
    left: &Value,
    right: &Value,
) -> Result<Value, Error> {
    if left.as_str().is_some() {
        return printf::format(state, left, right);
    }
    match (number(left), number(right)) {
        (Some(Number::Integer(left)), Some(Number::Integer(right))) => {
            let rest = left.checked_rem(right);
            let rest = rest.ok_or_else(|| invalid("integer modulo by zero"))?;
            let is_other_side = rest != 0 && (rest < 0) != (right < 0);
            Ok(Value::from(if is_other_side { rest + right } else { rest }))
        }
        (Some(left), Some(right)) => {
            let (left, right) = (left.as_float(), right.as_float());
            if right == 0.0 {
                return Err(invalid("float modulo by zero"));
            }
            let rest = left % right;
            Ok(Value::from(if rest == 0.0 {
                0.0_f64.copysign(right)
            } else if (rest < 0.0) != (right < 0.0) {
                rest + right
            } else {
                rest
            }))
        }
        _ => Err(unsupported("%", left, right)),
    }
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

/// Adds the operators that compare to an environment.
pub(super) fn add_comparisons(env: &mut minijinja::Environment<'_>) {
    for (operator, filter) in COMPARISONS {
        env.add_filter(
            filter,
            move |state: &State<'_, '_>, left: &Value, right: &Value| {
                compare(state, operator, left, right)
            },
        );
    }
}

fn compare(
    state: &State<'_, '_>,
    operator: &str,
    left: &Value,
    right: &Value,
) -> Result<bool, Error> {
    if matches!(operator, "in" | "not in") {
        let is_text = right.kind() == ValueKind::String;
        if is_text && left.kind() != ValueKind::String {
            return Err(unsupported(operator, left, right));
        }
        if matches!(
            right.kind(),
            ValueKind::None | ValueKind::Bool | ValueKind::Number
        ) {
            return Err(unsupported(operator, left, right));
        }
        return Ok(tests::is_in(state, left, right)? == (operator == "in"));
    }
    let (is_text, is_list) = (
        |value: &Value| value.kind() == ValueKind::String,
        |value: &Value| value.kind() == ValueKind::Seq,
    );
    let is_ordered = is_text(left) && is_text(right)
        || is_list(left) && is_list(right) && left.is_tuple() == right.is_tuple()
        || number_like(left) && number_like(right);
    if !is_ordered {
        return Err(unsupported(operator, left, right));
    }
    // Numbers that are not numbers come neither before nor after others.
    let is_nan =
        |value: &Value| matches!(number(value), Some(Number::Float(float)) if float.is_nan());
    if is_nan(left) || is_nan(right) {
        return Ok(false);
    }
    Ok(match operator {
        "<" => left < right,
        "<=" => left <= right,
        ">" => left > right,
        _ => left >= right,
    })
}

fn number_like(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Bool | ValueKind::Number)
}

fn unsupported(operator: &str, left: &Value, right: &Value) -> Error {
    let (left, right) = (left.kind(), right.kind());
    invalid(format!(
        "{operator:?} is not supported between {left} and {right}"
    ))
}

pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
