//! The Jinja environment in which transformers renders chat templates.

use std::fmt::Write as _;

use chrono::NaiveDateTime;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, filters,
};

use super::json::{python_float, tojson};
use super::python;

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
    env.add_filter("int", to_int);
    env.add_filter("float", to_float);
    // The engine's `debug` prints all variables, however long they are. transformers has no such function.
    env.add_function("debug", || -> Result<Value, Error> {
        Err(Error::new(ErrorKind::UnknownFunction, "debug is unknown"))
    });
    env.add_function("raise_exception", raise_exception);
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

/// Replaces what only Jinja2 understands, and keeps the number of every line.
///
/// `{% generation %}` marks what an assistant wrote, for training. In a prompt it only opens a scope, as `{% with %}`
/// does. Jinja2 also reads every kind of line break as `\n`.
pub(super) fn portable_source(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{') {
        let (before, tail) = rest.split_at(start);
        out.push_str(before);
        let len = match tail.as_bytes().get(1) {
            Some(b'#') => tail.find("#}").map_or(tail.len(), |end| end + 2),
            Some(b'{') => tag_len(tail, "}}"),
            Some(b'%') => {
                let len = tag_len(tail, "%}");
                match tag_word(&tail[..len]) {
                    "raw" => raw_len(tail, len),
                    "generation" => {
                        out.push_str(&tail[..len].replacen("generation", "with", 1));
                        rest = &tail[len..];
                        continue;
                    }
                    "endgeneration" => {
                        out.push_str(&tail[..len].replacen("endgeneration", "endwith", 1));
                        rest = &tail[len..];
                        continue;
                    }
                    _ => len,
                }
            }
            _ => 1,
        };
        out.push_str(&tail[..len]);
        rest = &tail[len..];
    }
    out.push_str(rest);
    out
}

/// Returns the first word of a block tag.
fn tag_word(tag: &str) -> &str {
    let body = tag
        .trim_start_matches("{%")
        .trim_start_matches(['-', '+'])
        .trim_start();
    let end = body
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(body.len());
    &body[..end]
}

/// Returns the length of a tag with its end. An end inside quotes does not count.
fn tag_len(tag: &str, end: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (idx, character) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if tag[idx..].starts_with(end) => return idx + end.len(),
            None if matches!(character, '\'' | '"') => quote = Some(character),
            None => {}
        }
    }
    tag.len()
}

/// Returns the length of a raw block that starts with a tag of `open` bytes. A block without an end takes the whole
/// rest. Quotes have no meaning inside.
fn raw_len(block: &str, open: usize) -> usize {
    let mut at = open;
    while let Some(found) = block[at..].find("{%") {
        at += found + 2;
        if let Some(len) = endraw_len(&block[at..]) {
            return at + len;
        }
    }
    block.len()
}

/// Returns the length of `endraw %}` with the characters allowed around the word, if `{%` is followed by it.
fn endraw_len(tag: &str) -> Option<usize> {
    let rest = tag.strip_prefix(['-', '+']).unwrap_or(tag).trim_start();
    let rest = rest.strip_prefix("endraw")?.trim_start();
    let rest = rest.strip_prefix(['-', '+']).unwrap_or(rest);
    let rest = rest.strip_prefix("%}")?;
    Some(tag.len() - rest.len())
}

/// Prints floats as Python does. The engine prints all other values so itself.
fn format_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if value.kind() == ValueKind::Number
        && !value.is_integer()
        && let Ok(float) = f64::try_from(value.clone())
    {
        return Ok(out.write_str(&python_float(float))?);
    }
    minijinja::escape_formatter(out, state, value)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generation_tags_become_scopes() {
        let check = |source: &str, expected: &str| assert_eq!(portable_source(source), expected);
        check(
            "a{%- generation -%}b{% endgeneration %}",
            "a{%- with -%}b{% endwith %}",
        );
        check(
            "{%generation%}x{%+ endgeneration\n%}",
            "{%with%}x{%+ endwith\n%}",
        );
        check("{# {% generation %} #}", "{# {% generation %} #}");
        check("{{ '{% generation %}' }}", "{{ '{% generation %}' }}");
        check(
            "{% set a = '%} {% generation %}' %}",
            "{% set a = '%} {% generation %}' %}",
        );
        check(
            "{% raw %}{% generation %}{%- endraw %}{% generation %}",
            "{% raw %}{% generation %}{%- endraw %}{% with %}",
        );
        check(
            "{% raw %}{% ' {% endraw %}{% generation %}",
            "{% raw %}{% ' {% endraw %}{% with %}",
        );
        check("{% generations %}", "{% generations %}");
        check("a\r\nb\rc{", "a\nb\nc{");
        check(
            "{{ 'it\\'s }}' }}{% generation %}",
            "{{ 'it\\'s }}' }}{% with %}",
        );
        check("{% unclosed é", "{% unclosed é");
    }
}
