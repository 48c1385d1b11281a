//! Jinja2's filters on texts that the engine does not have, or has with other arguments.

use std::fmt::Write as _;

use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, State};

use super::arguments::{Given, bind, is_on};
use super::python::{Side, capitalize, is_space, justify, split_lines};
use super::values::{Number, invalid, number, python_str};

/// Adds the filters to an environment.
pub(super) fn add_to_environment(env: &mut Environment<'_>) {
    env.add_filter("truncate", truncate);
    env.add_filter("wordcount", wordcount);
    env.add_filter("urlencode", urlencode);
    env.add_filter("center", center);
    env.add_filter("indent", indent);
    env.add_filter("xmlattr", xmlattr);
    env.add_filter("upper", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(text(state, value)?.to_uppercase())
    });
    env.add_filter("lower", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(text(state, value)?.to_lowercase())
    });
    env.add_filter("capitalize", |state: &State<'_, '_>, value: &Value| {
        Ok::<_, Error>(capitalize(&text(state, value)?))
    });
    env.add_filter("replace", replace);
    env.add_filter("join", join);
    env.add_filter("escape", escape);
    env.add_filter("e", escape);
    env.add_filter("forceescape", forceescape);
    env.add_filter("filesizeformat", filesizeformat);
}

/// Returns a text as Jinja2's filters take it, and counts steps for reading it.
pub(super) fn text(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let text = python_str(state, value)?;
    state.consume_fuel((text.len() / 64) as u64)?;
    Ok(text)
}

/// Returns a length or width that a template gives.
pub(super) fn size(value: &Value, name: &str) -> Result<usize, Error> {
    let size = match number(value) {
        Some(Number::Integer(integer)) => usize::try_from(integer).ok(),
        _ => None,
    };
    size.ok_or_else(|| invalid(format!("{name} must be an integer from 0 on, not {value}")))
}

/// Implements `truncate(s, length=255, killwords=False, end='...', leeway=5)`.
fn truncate(state: &State<'_, '_>, value: &Value, given: Given) -> Result<String, Error> {
    let parameters = ["length", "killwords", "end", "leeway"];
    let [length, killwords, end, leeway] = bind("truncate", parameters, given)?;
    if !matches!(value.kind(), ValueKind::String | ValueKind::Undefined) {
        let kind = value.kind();
        return Err(invalid(format!("truncate needs a text, and got a {kind}")));
    }
    let text = text(state, value)?;
    let length = length.map_or(Ok(255), |length| size(&length, "length"))?;
    let kills_words = is_on(killwords);
    let end = end.map_or(Ok("...".to_owned()), |end| python_str(state, &end))?;
    let leeway = leeway.filter(|leeway| !leeway.is_none());
    let leeway = leeway.map_or(Ok(5), |leeway| size(&leeway, "leeway"))?;
    let n_kept = length.checked_sub(end.chars().count()).ok_or_else(|| {
        invalid(format!(
            "truncate to {length} characters, fewer than {end:?} has"
        ))
    })?;
    if text.chars().count() <= length.saturating_add(leeway) {
        return Ok(text);
    }
    let cut = text
        .char_indices()
        .nth(n_kept)
        .map_or(text.len(), |(at, _)| at);
    let kept = &text[..cut];
    let kept = match kept.rsplit_once(' ') {
        Some((words, _)) if !kills_words => words,
        _ => kept,
    };
    Ok(format!("{kept}{end}"))
}

/// Returns whether a character belongs to a word (`\w`).
pub(super) fn is_word(c: char) -> bool {
    // Marks that combine with a letter do not, although Unicode calls some of them alphabetic.
    let is_mark = || c.escape_debug().nth(1).is_some();
    c == '_' || c.is_alphanumeric() && (c.is_ascii() || !is_mark())
}

/// Implements `wordcount`: the number of runs of `\w`.
fn wordcount(state: &State<'_, '_>, value: &Value) -> Result<usize, Error> {
    let text = text(state, value)?;
    let words = text.split(|c| !is_word(c));
    Ok(words.filter(|word| !word.is_empty()).count())
}

/// Implements `urlencode`: a text as a part of a path, pairs as a query.
fn urlencode(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let pairs = match value.kind() {
        ValueKind::Map => value.clone(),
        ValueKind::Seq | ValueKind::Iterable => value.clone(),
        _ => return Ok(quoted(&text(state, value)?, Place::Path)),
    };
    let mut out = String::new();
    for item in pairs.try_iter()?.checked() {
        state.consume_fuel(1)?;
        let item = item?;
        let (key, of_key) = match pairs.kind() {
            ValueKind::Map => {
                let of_key = pairs.get_item(&item)?;
                (item, of_key)
            }
            _ if item.len() == Some(2) && item.kind() == ValueKind::Seq => (
                item.get_item(&Value::from(0))?,
                item.get_item(&Value::from(1))?,
            ),
            _ => return Err(invalid("urlencode needs a text, a mapping or pairs")),
        };
        if !out.is_empty() {
            out.push('&');
        }
        out.push_str(&quoted(&text(state, &key)?, Place::Query));
        out.push('=');
        out.push_str(&quoted(&text(state, &of_key)?, Place::Query));
    }
    Ok(out)
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Path,
    Query,
}

fn quoted(text: &str, place: Place) -> String {
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                out.push(char::from(byte));
            }
            b'/' if place == Place::Path => out.push('/'),
            b' ' if place == Place::Query => out.push('+'),
            // Writing to a string cannot fail.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

/// Implements `center(value, width=80)`.
fn center(state: &State<'_, '_>, value: &Value, given: Given) -> Result<Value, Error> {
    let [width] = bind("center", ["width"], given)?;
    let width = width.unwrap_or_else(|| Value::from(80));
    justify(state, &text(state, value)?, &[width], Side::Both)
}

/// Implements `indent(s, width=4, first=False, blank=False)`.
fn indent(state: &State<'_, '_>, value: &Value, given: Given) -> Result<String, Error> {
    let [width, first, blank] = bind("indent", ["width", "first", "blank"], given)?;
    let width = width.unwrap_or_else(|| Value::from(4));
    let (first, blank) = (is_on(first), is_on(blank));
    // A break at the end stays one.
    let text = text(state, value)? + "\n";
    let lines = split_lines(&text, false);
    let indent_len = match width.as_str() {
        Some(indent) => indent.len(),
        None => size(&width, "width")?,
    };
    let n_bytes = indent_len.saturating_mul(lines.len());
    state.consume_fuel((n_bytes / 64) as u64)?;
    let indent = match width.as_str() {
        Some(indent) => indent.to_owned(),
        None => " ".repeat(indent_len),
    };
    let mut out = String::with_capacity(text.len() + n_bytes);
    for (number, line) in lines.into_iter().enumerate() {
        if number > 0 {
            out.push('\n');
        }
        if number == 0 && first || number > 0 && (blank || !line.is_empty()) {
            out.push_str(&indent);
        }
        out.push_str(line);
    }
    Ok(out)
}

/// Implements `replace(s, old, new, count=None)`.
fn replace(state: &State<'_, '_>, value: &Value, given: Given) -> Result<Value, Error> {
    let [old, new, count] = bind("replace", ["old", "new", "count"], given)?;
    let missing = || invalid("replace needs the old and the new text");
    let old = python_str(state, &old.ok_or_else(missing)?)?;
    let new = python_str(state, &new.ok_or_else(missing)?)?;
    let count = count.filter(|count| !count.is_none());
    let n_most = match count.as_ref().map(number) {
        None => usize::MAX,
        Some(Some(Number::Integer(count))) => usize::try_from(count).unwrap_or(usize::MAX),
        Some(_) => return Err(invalid("the count of replace must be an integer")),
    };
    let source = text(state, value)?;
    let n_found = match old.as_str() {
        "" => source.chars().count() + 1,
        old => source.matches(old).count(),
    };
    // The text is counted before it is made.
    let n_bytes = n_found.min(n_most).saturating_mul(new.len());
    state.consume_fuel((n_bytes / 64) as u64)?;
    let text = source.replacen(&old, &new, n_most);
    Ok(if value.is_safe() {
        Value::from_safe_string(text)
    } else {
        Value::from(text)
    })
}

/// Implements `join(value, d='', attribute=None)`.
fn join(state: &State<'_, '_>, value: &Value, given: Given) -> Result<String, Error> {
    let [separator, attribute] = bind("join", ["d", "attribute"], given)?;
    let separator = separator.map_or(Ok(String::new()), |text| python_str(state, &text))?;
    let attribute = attribute.filter(|attribute| !attribute.is_none());
    let attribute = attribute
        .map(|attribute| python_str(state, &attribute))
        .transpose()?;
    let mut out = String::new();
    for (idx, item) in value.try_iter()?.checked().enumerate() {
        let mut item = item?;
        for part in attribute.iter().flat_map(|path| path.split('.')) {
            item = match part.parse::<usize>() {
                Ok(idx) => item.get_item(&Value::from(idx))?,
                Err(_) => item.get_attr(part)?,
            };
        }
        let start = out.len();
        if idx > 0 {
            out.push_str(&separator);
        }
        out.push_str(&python_str(state, &item)?);
        state.consume_fuel(((out.len() - start) / 64) as u64 + 1)?;
    }
    Ok(out)
}

/// Implements `xmlattr(d, autospace=True)`.
fn xmlattr(state: &mut State<'_, '_>, value: &Value, given: Given) -> Result<String, Error> {
    let [autospace] = bind("xmlattr", ["autospace"], given)?;
    if value.kind() != ValueKind::Map {
        let kind = value.kind();
        return Err(invalid(format!(
            "xmlattr needs a mapping, and got a {kind}"
        )));
    }
    let mut out = String::new();
    for key in value.try_iter()? {
        state.consume_fuel(1)?;
        let of_key = value.get_item(&key)?;
        if of_key.is_none() || of_key.is_undefined() {
            continue;
        }
        let key = text(state, &key)?;
        if key.contains(|c: char| is_space(c) && c.is_ascii() || matches!(c, '/' | '>' | '=')) {
            return Err(invalid(format!("{key:?} cannot be an attribute's name")));
        }
        if !out.is_empty() {
            out.push(' ');
        }
        let of_key = escaped(state, &of_key)?;
        // Writing to a string cannot fail.
        let _ = write!(out, "{}=\"{of_key}\"", escaped(state, &Value::from(key))?);
    }
    let has_space = autospace.is_none_or(|autospace| autospace.is_true()) && !out.is_empty();
    Ok(if has_space { format!(" {out}") } else { out })
}

/// Returns the text of a value, escaped for HTML unless it is marked as safe.
pub(super) fn escaped(state: &State<'_, '_>, value: &Value) -> Result<String, Error> {
    let text = text(state, value)?;
    if value.is_safe() {
        return Ok(text);
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&#34;"),
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// Implements `escape`.
fn escape(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    escaped(state, value).map(Value::from_safe_string)
}

/// Implements `forceescape`, which escapes also what is marked as safe.
fn forceescape(state: &State<'_, '_>, value: &Value) -> Result<Value, Error> {
    let plain = Value::from(text(state, value)?);
    escape(state, &plain)
}

/// Implements `filesizeformat(value, binary=False)`.
fn filesizeformat(value: &Value, given: Given) -> Result<String, Error> {
    let [binary] = bind("filesizeformat", ["binary"], given)?;
    let n_bytes = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None => number(value).map(Number::as_float),
    };
    let n_bytes: f64 =
        n_bytes.ok_or_else(|| invalid(format!("filesizeformat needs a number, not {value}")))?;
    let (base, units) = if is_on(binary) {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];
        (1024.0_f64, units)
    } else {
        (1000.0, ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"])
    };
    if n_bytes == 1.0 {
        return Ok("1 Byte".to_owned());
    }
    if n_bytes < base {
        return Ok(format!("{:.0} Bytes", n_bytes.trunc()));
    }
    let mut size = n_bytes;
    let mut name = units[0];
    for (unit, power) in units.into_iter().zip(2..) {
        let limit = base.powi(power);
        size = base * n_bytes / limit;
        name = unit;
        if n_bytes < limit {
            break;
        }
    }
    Ok(format!("{size:.1} {name}"))
}
