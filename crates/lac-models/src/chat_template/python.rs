//! Python's methods on strings, lists and dictionaries.
//!
//! `minijinja-contrib` has most of them. Those here are missing there, or differ from Python in a way that a template
//! can notice.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::str_format;
use super::values::{is_printable, python_str};

/// Called by the engine for every method that it does not know itself.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, Error> {
    match value.as_str() {
        Some(text) => match string_method(state, text, name, args)? {
            Some(result) => Ok(result),
            None => unknown_method_callback(state, value, name, args),
        },
        None => match (name, value.kind()) {
            ("copy", ValueKind::Seq | ValueKind::Map) => {
                let () = from_args(args)?;
                Ok(value.clone())
            }
            ("index", ValueKind::Seq) => {
                let (wanted,): (&Value,) = from_args(args)?;
                for (idx, item) in value.try_iter()?.enumerate() {
                    state.consume_fuel(1)?;
                    if item == *wanted {
                        return Ok(Value::from(idx));
                    }
                }
                Err(invalid("value is not in list"))
            }
            _ => unknown_method_callback(state, value, name, args),
        },
    }
}

/// Implements the `trim` filter: `str(value).strip(chars)`.
pub(super) fn trim(
    state: &State<'_, '_>,
    value: &Value,
    chars: Option<Cow<'_, str>>,
) -> Result<String, Error> {
    let text = text_of(state, value)?;
    Ok(strip(&text, chars.as_deref(), Side::Both).to_owned())
}

/// Returns `str(value)`.
pub(super) fn text_of<'v>(state: &State<'_, '_>, value: &'v Value) -> Result<Cow<'v, str>, Error> {
    match value.as_str() {
        Some(text) => Ok(Cow::Borrowed(text)),
        None => python_str(state, value).map(Cow::Owned),
    }
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    Left,
    Right,
    Both,
}

fn string_method(
    state: &State<'_, '_>,
    text: &str,
    name: &str,
    args: &[Value],
) -> Result<Option<Value>, Error> {
    // The engine counts steps for what a method returns; these are for what it reads.
    const BYTES_PER_STEP: usize = 1024;
    state.consume_fuel((text.len() / BYTES_PER_STEP) as u64)?;
    let result = match name {
        "strip" => strip_with(text, args, Side::Both)?,
        "lstrip" => strip_with(text, args, Side::Left)?,
        "rstrip" => strip_with(text, args, Side::Right)?,
        "split" => split(state, text, args, Side::Left)?,
        "rsplit" => split(state, text, args, Side::Right)?,
        "partition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (head, tail) = text.split_once(separator).unwrap_or((text, ""));
            let middle = if head.len() == text.len() {
                ""
            } else {
                separator
            };
            (head, middle, tail).into()
        }
        "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let (head, tail) = text.rsplit_once(separator).unwrap_or(("", text));
            let middle = if tail.len() == text.len() {
                ""
            } else {
                separator
            };
            (head, middle, tail).into()
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(text.strip_suffix(suffix).unwrap_or(text))
        }
        "splitlines" => {
            let (keep_ends, kwargs): (Option<bool>, Kwargs) = from_args(args)?;
            let keep_ends = keep_ends.or(kwargs.get("keepends")?).unwrap_or(false);
            let n_cuts = text.matches(is_line_break).count();
            pay_for_parts(state, n_cuts, usize::MAX)?;
            list(split_lines(text, keep_ends))
        }
        "title" => {
            let () = from_args(args)?;
            Value::from(title(text))
        }
        "capitalize" => {
            let () = from_args(args)?;
            Value::from(capitalize(text))
        }
        "casefold" => {
            let () = from_args(args)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "startswith" | "endswith" => {
            let (part, start, end): (&Value, Option<i64>, Option<i64>) = from_args(args)?;
            Value::from(has_end(text, name, part, start, end)?)
        }
        "isprintable" => {
            let () = from_args(args)?;
            Value::from(text.chars().all(is_printable))
        }
        "swapcase" => {
            let () = from_args(args)?;
            let swap = |c: char| {
                if c.is_uppercase() {
                    c.to_lowercase().collect()
                } else {
                    uppercase(c)
                }
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "find" => Value::from(place(text, args, Side::Left)?.map_or(-1, to_i64)),
        "rfind" => Value::from(place(text, args, Side::Right)?.map_or(-1, to_i64)),
        "index" | "rindex" => {
            let side = if name == "index" {
                Side::Left
            } else {
                Side::Right
            };
            let found = place(text, args, side)?;
            Value::from(found.ok_or_else(|| invalid("substring not found"))?)
        }
        "count" => {
            let (part, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
            let (range, _) = part_of(text, start, end);
            Value::from(range.map_or(0, |range| match part {
                "" => range.chars().count() + 1,
                _ => range.matches(part).count(),
            }))
        }
        "format" => {
            let (values, named) = str_format::arguments(args)?;
            Value::from(str_format::format(state, text, values, named)?)
        }
        "format_map" => {
            let (named,): (Value,) = from_args(args)?;
            Value::from(str_format::format(state, text, &[], named)?)
        }
        "istitle" => {
            let () = from_args(args)?;
            Value::from(is_title(text))
        }
        "isdecimal" => {
            let () = from_args(args)?;
            Value::from(!text.is_empty() && text.chars().all(|c| c.is_ascii_digit()))
        }
        "isidentifier" => {
            let () = from_args(args)?;
            let is_part = |c: char| c == '_' || c.is_alphanumeric();
            let starts = text.starts_with(|c: char| c == '_' || c.is_alphabetic());
            Value::from(starts && text.chars().all(is_part))
        }
        "expandtabs" => {
            let (size, kwargs): (Option<usize>, Kwargs) = from_args(args)?;
            let size = size.or(kwargs.get("tabsize")?).unwrap_or(8);
            kwargs.assert_all_used()?;
            Value::from(with_blanks(state, text, size)?)
        }
        "join" => {
            // Python does not join what is not a text.
            let (parts,): (&Value,) = from_args(args)?;
            for part in parts.try_iter()?.checked() {
                state.consume_fuel(1)?;
                let part = part?;
                if part.kind() != ValueKind::String {
                    let kind = part.kind();
                    let message = format!("join needs texts, and got a {kind}");
                    return Err(Error::new(ErrorKind::InvalidOperation, message));
                }
            }
            return Ok(None);
        }
        "center" => justify(state, text, args, Side::Both)?,
        "ljust" => justify(state, text, args, Side::Left)?,
        "rjust" => justify(state, text, args, Side::Right)?,
        "zfill" => {
            let (width,): (usize,) = from_args(args)?;
            let sign = text.len() - text.trim_start_matches(['+', '-']).len();
            let (sign, digits) = text.split_at(sign.min(1));
            let pad = padding(state, text, width)?;
            Value::from(format!("{sign}{}{digits}", "0".repeat(pad)))
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

/// Returns the part of a text between two places, which count from its end where they are negative, and the place where
/// it starts. A start after the end has no part.
fn part_of(text: &str, start: Option<i64>, end: Option<i64>) -> (Option<&str>, usize) {
    if start.is_none() && end.is_none() {
        return (Some(text), 0);
    }
    let n_chars = to_i64(text.chars().count());
    let place = |given: i64| {
        let place = if given < 0 { given + n_chars } else { given };
        usize::try_from(place.clamp(0, n_chars)).unwrap_or(0)
    };
    let is_beyond = start.is_some_and(|start| start > n_chars);
    let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(n_chars)));
    if is_beyond || start > end {
        return (None, start);
    }
    let at = |place: usize| {
        let found = text.char_indices().nth(place);
        found.map_or(text.len(), |(at, _)| at)
    };
    (Some(&text[at(start)..at(end)]), start)
}

/// Implements `startswith` and `endswith` with a text or several.
fn has_end(
    text: &str,
    name: &str,
    part: &Value,
    start: Option<i64>,
    end: Option<i64>,
) -> Result<bool, Error> {
    let parts = if part.is_tuple() {
        part.try_iter()?.collect()
    } else {
        vec![part.clone()]
    };
    let (range, _) = part_of(text, start, end);
    for part in &parts {
        let part = part.as_str();
        let part = part.ok_or_else(|| invalid("startswith and endswith need texts"))?;
        let has_part = |range: &str| match name {
            "startswith" => range.starts_with(part),
            _ => range.ends_with(part),
        };
        if range.is_some_and(has_part) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns where a text holds another: `find(part, start, end)`.
fn place(text: &str, args: &[Value], from: Side) -> Result<Option<usize>, Error> {
    let (part, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let (range, n_before) = part_of(text, start, end);
    Ok(range.and_then(|range| {
        let at = match from {
            Side::Right => range.rfind(part),
            _ => range.find(part),
        };
        at.map(|at| n_before + range[..at].chars().count())
    }))
}

/// Texts are shorter than half the address space.
fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Returns whether every word starts with a capital and goes on in small letters.
fn is_title(text: &str) -> bool {
    let mut in_word = false;
    let mut has_word = false;
    for c in text.chars() {
        match (c.is_uppercase(), c.is_lowercase()) {
            (true, _) if in_word => return false,
            (_, true) if !in_word => return false,
            (false, false) => in_word = false,
            _ => (in_word, has_word) = (true, true),
        }
    }
    has_word
}

/// Replaces every tab by the blanks up to the next multiple of `size` in its line.
fn with_blanks(state: &State<'_, '_>, text: &str, size: usize) -> Result<String, Error> {
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for c in text.chars() {
        match c {
            '\t' => {
                let n_blanks = if size == 0 { 0 } else { size - column % size };
                // The blanks are counted before they are made.
                state.consume_fuel((n_blanks / 64) as u64 + 1)?;
                out.extend(std::iter::repeat_n(' ', n_blanks));
                column = 0;
            }
            '\n' | '\r' => {
                out.push(c);
                column = 0;
            }
            _ => {
                out.push(c);
                column += 1;
            }
        }
    }
    Ok(out)
}

/// Makes a list of texts.
fn list(parts: Vec<&str>) -> Value {
    parts.into_iter().map(Value::from).collect()
}

/// Counts the steps of a list of texts before it is made: many short texts take more room than a long one.
fn pay_for_parts(state: &State<'_, '_>, n_cuts: usize, n_parts: usize) -> Result<(), Error> {
    state.consume_fuel(n_cuts.saturating_add(1).min(n_parts) as u64)
}

fn strip_with(text: &str, args: &[Value], side: Side) -> Result<Value, Error> {
    let (chars,): (Option<&str>,) = from_args(args)?;
    Ok(Value::from(strip(text, chars, side)))
}

fn strip<'t>(text: &'t str, chars: Option<&str>, side: Side) -> &'t str {
    let is_stripped = |c: char| match chars {
        Some(chars) => chars.contains(c),
        None => is_space(c),
    };
    match side {
        Side::Left => text.trim_start_matches(is_stripped),
        Side::Right => text.trim_end_matches(is_stripped),
        Side::Both => text.trim_matches(is_stripped),
    }
}

/// Returns whether Python counts a character as whitespace. It does so for ASCII's separators, unlike Unicode.
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn split(state: &State<'_, '_>, text: &str, args: &[Value], from: Side) -> Result<Value, Error> {
    let (separator, limit, kwargs): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.or(kwargs.get("sep")?);
    let limit = limit.or(kwargs.get("maxsplit")?).unwrap_or(-1);
    kwargs.assert_all_used()?;
    // A negative limit means no limit.
    let n_parts = usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1));
    let n_cuts = match separator {
        Some(separator) => text.matches(separator).count(),
        None => text.matches(is_space).count(),
    };
    pay_for_parts(state, n_cuts, n_parts)?;
    let parts: Vec<&str> = match (separator, from) {
        (Some(""), _) => {
            return Err(invalid("empty separator"));
        }
        (Some(separator), Side::Right) => {
            let mut parts: Vec<_> = text.rsplitn(n_parts, separator).collect();
            parts.reverse();
            parts
        }
        (Some(separator), _) => text.splitn(n_parts, separator).collect(),
        (None, Side::Right) => split_space_from_right(text, n_parts),
        (None, _) => split_space(text, n_parts),
    };
    Ok(list(parts))
}

fn split_space(text: &str, n_parts: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        match rest.find(is_space) {
            Some(end) if parts.len() + 1 < n_parts => {
                parts.push(&rest[..end]);
                rest = rest[end..].trim_start_matches(is_space);
            }
            // Python keeps the blanks at the end where the limit was reached.
            _ => {
                parts.push(rest);
                break;
            }
        }
    }
    parts
}

fn split_space_from_right(text: &str, n_parts: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end_matches(is_space);
    while !rest.is_empty() {
        let cut = rest.char_indices().rev().find(|&(_, c)| is_space(c));
        match cut {
            Some((at, c)) if parts.len() + 1 < n_parts => {
                parts.push(&rest[at + c.len_utf8()..]);
                rest = rest[..at].trim_end_matches(is_space);
            }
            _ => {
                parts.push(rest);
                break;
            }
        }
    }
    parts.reverse();
    parts
}

fn is_line_break(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

pub(super) fn split_lines(text: &str, keep_ends: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some(end) = rest.find(is_line_break) else {
            lines.push(rest);
            break;
        };
        let len = match &rest[end..] {
            tail if tail.starts_with("\r\n") => 2,
            tail => tail.chars().next().map_or(1, char::len_utf8),
        };
        lines.push(&rest[..if keep_ends { end + len } else { end }]);
        rest = &rest[end + len..];
    }
    lines
}

/// Capitalises every letter that follows another character, so "they're" gives "They'Re".
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        if in_word {
            out.extend(c.to_lowercase());
        } else {
            out.push_str(&titlecase(c));
        }
        in_word = c.is_alphabetic();
    }
    out
}

/// Implements `capitalize`.
pub(super) fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    let head = chars.next().map(titlecase).unwrap_or_default();
    head + &chars.as_str().to_lowercase()
}

/// Makes the first letter large that a letter becomes: `ß` gives `Ss`.
fn titlecase(c: char) -> String {
    let mut upper = c.to_uppercase();
    let first: String = upper.next().into_iter().collect();
    first + &upper.flat_map(char::to_lowercase).collect::<String>()
}

fn uppercase(c: char) -> String {
    c.to_uppercase().collect()
}

pub(super) fn justify(
    state: &State<'_, '_>,
    text: &str,
    args: &[Value],
    side: Side,
) -> Result<Value, Error> {
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    let n_pad = padding(state, text, width)?;
    let n_left = match side {
        Side::Left => 0,
        Side::Right => n_pad,
        // Python puts an odd blank on the left only if the width is odd too.
        Side::Both => n_pad / 2 + (n_pad & width & 1),
    };
    let fill = fill.unwrap_or(" ");
    if fill.chars().count() != 1 {
        return Err(invalid("the fill must be one character"));
    }
    Ok(Value::from(format!(
        "{}{text}{}",
        fill.repeat(n_left),
        fill.repeat(n_pad - n_left)
    )))
}

/// Returns how many characters are missing to a width, and counts their steps before they are made.
pub(super) fn padding(state: &State<'_, '_>, text: &str, width: usize) -> Result<usize, Error> {
    let pad = width.saturating_sub(text.chars().count());
    state.consume_fuel((pad / 64) as u64)?;
    Ok(pad)
}

fn invalid(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
