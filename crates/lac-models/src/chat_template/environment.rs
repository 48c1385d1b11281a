//! The Jinja environment in which transformers renders chat templates.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::NaiveDateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{
    Kwargs, Object, ObjectRepr, Rest, Tuple, Value, ValueKind, ValueOrKwargs, from_args,
};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, filters,
};

use super::arguments::{Given, bind, by_name, is_on};
use super::json::{python_float, tojson};
use super::values::{self, Number, number, python_repr, python_str};
use super::{operators, python, text_filters, wrap};

/// The message of `raise_exception`, which the engine passes on unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// Makes an environment with the filters, tests, functions and methods that chat templates use, and with the whitespace
/// control of transformers.
pub(super) fn environment() -> Environment<'static> {
    let mut env = Environment::new();
    env.set_syntax(syntax());
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    // The text goes to a model and not to a browser.
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_formatter(format_value);
    env.set_unknown_method_callback(python::method);
    // Error messages then say which value was undefined.
    env.set_debug(true);
    minijinja_contrib::add_to_environment(&mut env);

    env.add_filter("tojson", tojson);
    env.add_filter("trim", python::trim);
    env.add_filter(
        "string",
        |state: &State<'_, '_>, value: Value| match value.kind() {
            ValueKind::String => Ok(value),
            _ => python_str(state, &value).map(Value::from),
        },
    );
    env.add_filter("round", round);
    env.add_filter("pprint", pprint);
    operators::add_to_environment(&mut env);
    text_filters::add_to_environment(&mut env);
    env.add_filter("wordwrap", wrap::wordwrap);
    env.add_filter("default", default);
    env.add_filter("d", default);
    env.add_filter("dictsort", dictsort);
    env.add_filter("unique", unique);
    env.add_filter("format", format);
    env.add_function("dict", dict);
    env.add_function("joiner", joiner);
    env.add_function("cycler", cycler);
    env.add_filter("int", to_int);
    env.add_filter("float", to_float);
    // The engine's `debug` prints all variables, however long they are. transformers has no such function.
    env.add_function("debug", || -> Result<Value, Error> {
        Err(Error::new(ErrorKind::UnknownFunction, "debug is unknown"))
    });
    env.add_function("raise_exception", raise_exception);
    // The blocks of a template. What is none of them is undefined.
    env.add_global("self", Value::from_pairs::<_, &str, Value>([]));
    // In Jinja2 every value with a length and an index is a sequence and can be iterated: strings and mappings too.
    env.add_test("sequence", |value: &Value| {
        value.is_undefined()
            || matches!(
                value.kind(),
                ValueKind::String | ValueKind::Seq | ValueKind::Map
            )
    });
    env.add_test("callable", |value: &Value| {
        value.is_undefined() || value.kind() == ValueKind::Plain
    });
    env.add_test("iterable", |value: &Value| {
        value.is_undefined()
            || matches!(
                value.kind(),
                ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable
            )
    });
    env
}

fn syntax() -> SyntaxConfig {
    SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(false)
        .build()
        // Only delimiters that clash are an error, and these are the usual ones.
        .unwrap_or_default()
}

/// Prints floats, lists and dictionaries as Python does. The engine prints all other values so itself.
fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Number if !value.is_integer() => {
            let float = f64::try_from(value.clone())?;
            Ok(out.write_str(&python_float(float))?)
        }
        ValueKind::Seq | ValueKind::Map => Ok(out.write_str(&python_repr(state, value)?)?),
        _ => minijinja::escape_formatter(out, state, value),
    }
}

/// Implements `int(value, default=0, base=10)`; the engine's filter has no default.
fn to_int(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = default.or_else(|| (!kwargs.has("default")).then(|| Value::from(0)));
    let trimmed = value.as_str().map(|text| Value::from(text.trim()));
    let value = trimmed.as_ref().unwrap_or(value);
    filters::int(state, value, default, base, kwargs)
}

/// Implements `float(value, default=0.0)`; the engine's filter has no default.
fn to_float(
    state: &State<'_, '_>,
    value: &Value,
    default: Option<Value>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = default.or_else(|| (!kwargs.has("default")).then(|| Value::from(0.0)));
    filters::float(state, value, default, kwargs)
}

/// Implements `round(value, precision=0, method='common')`.
fn round(value: Value, given: Given) -> Result<Value, Error> {
    let parameters = ["precision", "method"];
    let bound = bind("round", parameters, given)?;
    let is_directed = bound[1]
        .as_ref()
        .is_some_and(|method| method.as_str() != Some("common"));
    let value = match number(&value) {
        // Up or down is a float in Python, whatever was given.
        Some(number) if is_directed => Value::from(number.as_float()),
        Some(Number::Integer(integer)) => Value::from(integer),
        _ => value,
    };
    filters::round(value, None, None, by_name(parameters, bound))
}

/// Implements `pprint` for what Python prints on one line.
fn pprint(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    const MAX_CHARS: usize = 80;
    let text = python_repr(state, &sorted(state, value, 0)?)?;
    if text.chars().count() > MAX_CHARS {
        return Err(values::invalid(format!(
            "pprint of a value of more than {MAX_CHARS} characters is not supported"
        )));
    }
    Ok(text)
}

/// Returns a value with the keys of all its dictionaries sorted.
fn sorted(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<Value, Error> {
    // What is nested more deeply than this does not fit on a line.
    const MAX_DEPTH: usize = 80;
    state.consume_fuel(1)?;
    if depth > MAX_DEPTH {
        return Ok(value.clone());
    }
    match value.kind() {
        ValueKind::Map => {
            let mut keys: Vec<Value> = value.try_iter()?.collect();
            state.consume_fuel(keys.len() as u64)?;
            keys.sort();
            let pairs = keys.into_iter().map(|key| {
                let item = sorted(state, &value.get_item(&key)?, depth + 1)?;
                Ok((key, item))
            });
            Ok(Value::from_pairs(pairs.collect::<Result<Vec<_>, Error>>()?))
        }
        ValueKind::Seq => {
            let items = value.try_iter()?;
            let items = items.map(|item| sorted(state, &item, depth + 1));
            let items = items.collect::<Result<Vec<_>, Error>>()?;
            Ok(if value.is_tuple() {
                Value::from(Tuple::from(items))
            } else {
                Value::from(items)
            })
        }
        _ => Ok(value.clone()),
    }
}

/// Implements `default(value, default_value='', boolean=False)`.
fn default(value: &Value, given: Given) -> Result<Value, Error> {
    let [other, boolean] = bind("default", ["default_value", "boolean"], given)?;
    let is_lax = is_on(boolean);
    Ok(if value.is_undefined() || is_lax && !value.is_true() {
        other.unwrap_or_else(|| Value::from(""))
    } else {
        value.clone()
    })
}

/// Implements `dictsort(value, case_sensitive=False, by='key', reverse=False)`.
fn dictsort(state: &State<'_, '_>, value: &Value, given: Given) -> Result<Value, Error> {
    state.consume_fuel(value.len().unwrap_or(0) as u64)?;
    let parameters = ["case_sensitive", "by", "reverse"];
    let bound = bind("dictsort", parameters, given)?;
    filters::dictsort(value, by_name(parameters, bound))
}

/// Implements `unique(value, case_sensitive=False, attribute=None)`.
fn unique(state: &State<'_, '_>, value: Value, given: Given) -> Result<Value, Error> {
    let parameters = ["case_sensitive", "attribute"];
    let bound = bind("unique", parameters, given)?;
    filters::unique(state, value, by_name(parameters, bound))
}

/// Implements `format(value, *args, **kwargs)`: `value % args` or `value % kwargs`.
fn format(
    state: &mut State<'_, '_>,
    value: &Value,
    args: Rest<ValueOrKwargs>,
) -> Result<Value, Error> {
    let mut values = args.into_values();
    let kwargs = values.pop_if(|last| last.is_kwargs());
    let value = match value.kind() {
        ValueKind::String => value.clone(),
        _ => Value::from(python_str(state, value)?),
    };
    match kwargs {
        Some(_) if !values.is_empty() => Err(values::invalid(
            "format takes values by position or by name, and not both",
        )),
        Some(kwargs) => operators::remainder(state, &value, &kwargs),
        None => operators::remainder(state, &value, &Value::from(Tuple::from(values))),
    }
}

/// Implements `dict(mapping or pairs, **kwargs)`.
fn dict(state: &State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let mut pairs = Vec::new();
    for value in args.into_values() {
        for item in value.try_iter()?.checked() {
            state.consume_fuel(1)?;
            let item = item?;
            pairs.push(match value.kind() {
                ValueKind::Map => {
                    let of_key = value.get_item(&item)?;
                    (item, of_key)
                }
                _ => (
                    item.get_item(&Value::from(0))?,
                    item.get_item(&Value::from(1))?,
                ),
            });
        }
    }
    Ok(Value::from_pairs(pairs))
}

/// Implements `joiner(sep=', ')`.
fn joiner(given: Given) -> Result<Value, Error> {
    let [separator] = bind("joiner", ["sep"], given)?;
    Ok(minijinja_contrib::globals::joiner(separator))
}

/// Implements `cycler(*items)`.
fn cycler(items: Rest<Value>) -> Result<Value, Error> {
    if items.is_empty() {
        return Err(values::invalid("cycler needs at least one item"));
    }
    Ok(Value::from_object(Cycler {
        items: items.to_vec(),
        position: AtomicUsize::new(0),
    }))
}

/// Items that follow each other in a circle.
#[derive(Debug)]
struct Cycler {
    items: Vec<Value>,
    position: AtomicUsize,
}

impl Object for Cycler {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let is_current = key.as_str() == Some("current");
        is_current.then(|| self.items[self.position.load(Ordering::Relaxed)].clone())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        args: &[Value],
    ) -> Result<Value, Error> {
        let () = from_args(args)?;
        let position = self.position.load(Ordering::Relaxed);
        match method {
            "next" => {
                let next = (position + 1) % self.items.len();
                self.position.store(next, Ordering::Relaxed);
                Ok(self.items[position].clone())
            }
            "reset" => {
                self.position.store(0, Ordering::Relaxed);
                Ok(Value::from(()))
            }
            _ => Err(Error::from(ErrorKind::UnknownMethod)),
        }
    }
}

fn raise_exception(state: &State<'_, '_>, message: &Value) -> Result<Value, Error> {
    let message = python::text_of(state, message)?.into_owned();
    Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
}

/// Implements `strftime_now(format)` at a given time.
pub(super) fn strftime(now: NaiveDateTime, format: &str) -> Result<String, Error> {
    let mut text = String::new();
    // chrono reports an unknown directive as a formatting failure.
    write!(text, "{}", now.format(format)).map_err(|_| {
        Error::new(
            ErrorKind::InvalidOperation,
            format!("strftime_now does not understand {format:?}"),
        )
    })?;
    Ok(text)
}
