//! What Jinja2's operators and loops do with values, as filters that [`expression`](super::expression) calls.

use minijinja::value::{Object, Value, ValueKind};
use minijinja::{Environment, Error, State, tests};

use super::expression::{
    ARGUMENT, ASSIGNED, COMPARISONS, LOOP_ITEMS, LOOP_ROWS, PARAMETER, PART, REMAINDER,
};
use super::portable::UNSUPPORTED_JUMP;
use super::printf;
use super::values::{Number, invalid, number, python_str};

/// Adds the operators to an environment.
pub(super) fn add_to_environment(env: &mut Environment<'_>) {
    env.add_filter(LOOP_ITEMS, loop_items);
    env.add_filter(LOOP_ROWS, loop_rows);
    env.add_filter(REMAINDER, remainder);
    env.add_filter(PART, |state: &State<'_, '_>, value: &Value| {
        python_str(state, value)
    });
    env.add_filter(ASSIGNED, |value: Value, _namespace: &Value| value);
    env.add_filter(ARGUMENT, |value: Value| {
        if value.is_undefined() {
            Value::from_object(GivenUndefined)
        } else {
            value
        }
    });
    env.add_filter(PARAMETER, |value: Value| {
        if value.downcast_object_ref::<GivenUndefined>().is_some() {
            Value::UNDEFINED
        } else {
            value
        }
    });
    env.add_function(UNSUPPORTED_JUMP, |word: &str| -> Result<bool, Error> {
        Err(invalid(format!(
            "{word} cannot leave a with, set, filter or generation block"
        )))
    });
    for (operator, filter) in COMPARISONS {
        env.add_filter(
            filter,
            move |state: &State<'_, '_>, left: &Value, right: &Value| {
                compare(state, operator, left, right)
            },
        );
    }
}

/// An undefined value on its way into a macro.
#[derive(Debug)]
struct GivenUndefined;

impl Object for GivenUndefined {}

/// Makes what a loop iterates: Jinja2 knows the length of everything but not all that the engine iterates has one.
fn loop_items(state: &State<'_, '_>, items: Value) -> Result<Value, Error> {
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
fn loop_rows(state: &State<'_, '_>, items: Value) -> Result<Value, Error> {
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
