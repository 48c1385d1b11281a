//! Which options are right, as the harness writes it: Python's text of whatever the task calls its target.

use serde_json::Value;

/// How a target is read. The log does not say it: `1` can be an index and a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reading {
    /// The number of an option, counted from 0; `True` and `False` are 1 and 0.
    Index,
    /// What an option says.
    Text,
    /// An option's letter, as people write it by hand.
    Letter,
}

/// Returns the right options by each way of reading a target under which all of it is found; the
/// likeliest comes first.
pub(super) fn readings(target: &Value, continuations: &[&str]) -> Vec<(Reading, Vec<usize>)> {
    let elements = elements(target);
    let is_number = |element: &String| element.parse::<f64>().is_ok();
    let order = if elements.iter().all(is_number) {
        [Reading::Index, Reading::Text, Reading::Letter]
    } else {
        // A task can have True and False for options.
        [Reading::Text, Reading::Index, Reading::Letter]
    };
    let find = |reading: Reading| {
        let right = elements.iter().map(|element| match reading {
            Reading::Index => index(element),
            Reading::Text => option_of_text(element, continuations),
            Reading::Letter => letter(element),
        });
        let mut right: Vec<usize> = right.collect::<Option<_>>()?;
        let is_there = |option: &usize| *option < continuations.len();
        let known = !right.is_empty() && right.iter().all(is_there);
        right.sort_unstable();
        right.dedup();
        known.then_some((reading, right))
    };
    order.into_iter().filter_map(find).collect()
}

/// Returns what a target says, each value of a list by itself.
fn elements(target: &Value) -> Vec<String> {
    match target {
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::String(text) => python_list(text).unwrap_or_else(|| vec![text.clone()]),
        other => vec![plain(other)],
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        other => other.to_string(),
    }
}

fn index(element: &str) -> Option<usize> {
    match element.trim() {
        "True" => return Some(1),
        "False" => return Some(0),
        _ => {}
    }
    let number: f64 = element.trim().parse().ok()?;
    // Beyond this a number of 64 bits is no whole one for sure.
    let is_index = number.fract() == 0.0 && (0.0..1e15).contains(&number);
    is_index.then_some(number as usize)
}

fn letter(element: &str) -> Option<usize> {
    match element.trim_matches(['(', ')', ' ']).as_bytes() {
        [byte @ b'A'..=b'Z'] => Some(usize::from(byte - b'A')),
        _ => None,
    }
}

/// Finds the first option that says a text: a continuation is the task's delimiter and the text. The
/// delimiter is the same for all options, and mostly a space.
fn option_of_text(text: &str, continuations: &[&str]) -> Option<usize> {
    let delimiters: Vec<Option<&str>> = continuations
        .iter()
        .map(|continuation| delimiter(continuation, text))
        .collect();
    let is_common = |delimiter: &str| {
        continuations
            .iter()
            .all(|other| other.starts_with(delimiter))
    };
    let find = |accepts: fn(&str) -> bool| {
        delimiters
            .iter()
            .position(|found| found.is_some_and(|found| accepts(found) && is_common(found)))
    };
    find(is_space).or_else(|| find(|_| true))
}

/// Returns whether a continuation is a text behind spaces.
pub(super) fn says(continuation: &str, text: &str) -> bool {
    delimiter(continuation, text).is_some_and(is_space)
}

/// Returns what stands before a text in a continuation that ends with it.
fn delimiter<'a>(continuation: &'a str, text: &str) -> Option<&'a str> {
    continuation.strip_suffix(text).filter(|_| !text.is_empty())
}

fn is_space(delimiter: &str) -> bool {
    delimiter.trim().is_empty()
}

/// Reads a list as Python writes it, of numbers, truth values and texts; `None` for anything else.
fn python_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut elements = Vec::new();
    while !rest.is_empty() {
        let (element, after) = match rest.chars().next()? {
            quote @ ('\'' | '"') => quoted(&rest[1..], quote)?,
            _ => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        elements.push(element);
        let after = after.trim_start();
        rest = match after.strip_prefix(',') {
            Some(after) => after.trim_start(),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(elements)
}

/// Reads a text up to its closing quote, and returns what follows.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((place, character)) = chars.next() {
        match character {
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                other => other,
            }),
            _ if character == quote => return Some((out, &text[place + 1..])),
            _ => out.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_of_every_kind() {
        let check = |target: Value, continuations: &[&str], expected: &[usize]| {
            let found = readings(&target, continuations);
            let right = found.first().map_or(&[][..], |(_, right)| right);
            assert_eq!(right, expected, "{target} among {continuations:?}");
        };
        let four = [" a", " b", " c", " d"];
        for target in [
            json!(2),
            json!("2"),
            json!(2.0),
            json!("2.0"),
            json!("[2]"),
            json!([2]),
        ] {
            check(target, &four, &[2]);
        }
        for target in [
            json!("[0, 3]"),
            json!([3, 0]),
            json!("['d', 'a']"),
            json!("[\"a\", 'd']"),
        ] {
            check(target, &four, &[0, 3]);
        }
        for target in [
            json!("c"),
            json!(" c"),
            json!("(C)"),
            json!("C"),
            json!("['c']"),
        ] {
            check(target, &four, &[2]);
        }
        let yes_no = [" no", " yes"];
        for target in [
            json!(true),
            json!("True"),
            json!("yes"),
            json!(1),
            json!("B"),
        ] {
            check(target, &yes_no, &[1]);
        }
        check(json!("no"), &yes_no, &[0]);
        check(json!("False"), &yes_no, &[0]);
        // Their texts, where the options are called that.
        check(json!("True"), &[" True", " Neither", " False"], &[0]);
        check(json!("False"), &[" True", " Neither", " False"], &[2]);
        // Other delimiters, and a text that ends as another does.
        check(json!("A"), &["\nBA", "\nA"], &[1]);
        check(json!("maybe"), &["yes", "no", "maybe"], &[2]);
        check(json!("it's"), &["-> its", "-> it's"], &[1]);
        check(json!("['it\\'s\\n']"), &[" its", " it's\n"], &[1]);
        // The first of two that say the same.
        check(json!("b"), &[" a", " b", " b"], &[1]);
        for target in [
            json!(4),
            json!(-1),
            json!(0.5),
            json!("e"),
            json!(""),
            json!("[0, 4]"),
            json!("[]"),
            json!("['a"),
            json!({}),
            json!("NaN"),
            json!("1e300"),
        ] {
            check(target, &four, &[]);
        }
    }

    #[test]
    fn a_number_is_an_index_or_a_text() {
        let found = readings(&json!("1"), &[" 1", " 2", " 3"]);
        assert_eq!(found, [(Reading::Index, vec![1]), (Reading::Text, vec![0])]);
    }
}
