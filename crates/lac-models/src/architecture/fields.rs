//! A `config.json` read field by field. Reading goes on where a field is wrong, so that everything that is wrong with a
//! file is known at once.

use std::path::Path;

use serde_json::{Map, Value};

use super::error::ConfigError;
use crate::file::excerpt;

/// The fields that have not been read yet, and what was found out about the others.
pub(super) struct Fields<'a> {
    left: Map<String, Value>,
    path: &'a Path,
    /// Written before a field's name in errors: `rope_scaling.` inside that object.
    prefix: String,
    findings: Findings,
}

/// What is to be said of fields.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Fields that decide nothing.
    pub(super) ignored: Vec<String>,
    /// Those of them of which nothing is known.
    pub(super) unknown: Vec<String>,
    /// Fields that cannot be used, with the reason.
    pub(super) problems: Vec<ConfigError>,
}

/// A field as a file has it. To transformers, an absent field has its class's default, and a null one is None.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Given<T> {
    Absent,
    Null,
    Value(T),
}

impl<T> Given<T> {
    pub(super) fn or(self, absent: Option<T>, null: Option<T>) -> Option<T> {
        match self {
            Given::Absent => absent,
            Given::Null => null,
            Given::Value(value) => Some(value),
        }
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(object: Map<String, Value>, path: &'a Path) -> Self {
        Self {
            left: object,
            path,
            prefix: String::new(),
            findings: Findings::default(),
        }
    }

    /// Returns the fields of an object that stands in the field of that name.
    pub(super) fn inner(&self, field: &str, object: Map<String, Value>) -> Self {
        Self {
            left: object,
            path: self.path,
            prefix: format!("{}{field}.", self.prefix),
            findings: Findings::default(),
        }
    }

    /// Takes over what was found inside an object. All its fields have to be read or decided upon.
    pub(super) fn absorb(&mut self, inner: Fields<'_>) {
        self.findings.ignored.extend(inner.findings.ignored);
        self.findings.unknown.extend(inner.findings.unknown);
        self.findings.problems.extend(inner.findings.problems);
    }

    /// Returns what was found, names of fields in their order.
    pub(super) fn into_findings(mut self) -> Findings {
        self.findings.ignored.sort_unstable();
        self.findings.unknown.sort_unstable();
        self.findings
    }

    pub(super) fn has_problems(&self) -> bool {
        !self.findings.problems.is_empty()
    }

    /// Returns whether a field is there, and not null.
    pub(super) fn has(&self, field: &str) -> bool {
        self.left.get(field).is_some_and(|value| !value.is_null())
    }

    /// Gives a field a value, as a class does for a file that does not have it.
    pub(super) fn set(&mut self, field: &str, value: Value) {
        self.left.insert(field.to_owned(), value);
    }

    /// Takes all fields that have not been read.
    pub(super) fn take_left(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.left)
    }

    /// Notes that a field decides nothing.
    pub(super) fn ignore(&mut self, field: &str) {
        let field = format!("{}{field}", self.prefix);
        self.findings.ignored.push(field);
    }

    /// Notes that a field decides nothing, because nothing is known of it.
    pub(super) fn ignore_unknown(&mut self, field: &str) {
        self.ignore(field);
        let field = format!("{}{field}", self.prefix);
        self.findings.unknown.push(field);
    }

    /// Takes a field without an effect, if it is there.
    pub(super) fn pass_over(&mut self, field: &str) {
        if self.left.remove(field).is_some() {
            self.ignore(field);
        }
    }

    pub(super) fn problem(&mut self, problem: ConfigError) {
        self.findings.problems.push(problem);
    }

    pub(super) fn missing(&mut self, field: &str, expected: &'static str) {
        self.problem(ConfigError::Missing {
            path: self.path.to_owned(),
            field: format!("{}{field}", self.prefix),
            expected,
        });
    }

    pub(super) fn invalid(&mut self, field: &str, value: &impl ToString, expected: &str) {
        self.problem(ConfigError::Invalid {
            path: self.path.to_owned(),
            field: format!("{}{}", self.prefix, excerpt(field)),
            value: excerpt(&value.to_string()),
            expected: expected.to_owned(),
        });
    }

    pub(super) fn unsupported(&mut self, field: &str, value: &impl ToString, supported: &str) {
        self.problem(ConfigError::Unsupported {
            path: self.path.to_owned(),
            field: format!("{}{}", self.prefix, excerpt(field)),
            value: excerpt(&value.to_string()),
            supported: supported.to_owned(),
        });
    }

    pub(super) fn quantized(&mut self, field: &str, method: &str, instead: &'static str) {
        self.problem(ConfigError::Quantized {
            path: self.path.to_owned(),
            field: field.to_owned(),
            method: excerpt(method),
            instead,
        });
    }

    pub(super) fn too_large(&mut self, n_parameters: u64) {
        self.problem(ConfigError::TooLarge {
            path: self.path.to_owned(),
            fields: "vocab_size, hidden_size, intermediate_size, num_hidden_layers, \
                     num_attention_heads and head_dim",
            n_parameters,
        });
    }

    /// Takes a field; null counts as absent.
    pub(super) fn take(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    fn given<T>(
        &mut self,
        field: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Given<T> {
        match self.left.remove(field) {
            None => Given::Absent,
            Some(Value::Null) => Given::Null,
            Some(value) => match read(&value) {
                Some(value) => Given::Value(value),
                None => {
                    self.invalid(field, &value, expected);
                    Given::Absent
                }
            },
        }
    }

    pub(super) fn text(&mut self, field: &str) -> Given<String> {
        self.given(field, "a string", |value| value.as_str().map(str::to_owned))
    }

    /// Takes true or false, as which Python takes 1 and 0 as well; absent and null are false.
    pub(super) fn flag(&mut self, field: &str) -> bool {
        let flag = self.given(field, "true or false", |value| match value.as_u64() {
            Some(number @ 0..=1) => Some(number == 1),
            _ => value.as_bool(),
        });
        flag == Given::Value(true)
    }

    /// As [`flag`](Self::flag), with another value for a field that is absent.
    pub(super) fn flag_or(&mut self, field: &str, absent: bool) -> bool {
        if self.left.contains_key(field) {
            self.flag(field)
        } else {
            absent
        }
    }

    /// Takes a list of numbers above 0.
    pub(super) fn positives(&mut self, field: &str) -> Given<Vec<f64>> {
        self.given(field, "a list of numbers above 0", |value| {
            let number = |value: &Value| value.as_f64().filter(|n| n.is_finite() && *n > 0.0);
            value.as_array()?.iter().map(number).collect()
        })
    }

    /// Takes a list of numbers or of true and false: whether each of them is not 0.
    pub(super) fn flags(&mut self, field: &str) -> Given<Vec<bool>> {
        self.given(field, "a list of 1 and 0", |value| {
            let flag = |value: &Value| match value.as_f64() {
                Some(number) => Some(number != 0.0),
                None => value.as_bool(),
            };
            value.as_array()?.iter().map(flag).collect()
        })
    }

    /// Takes a list of numbers of layers, from 0 on; returns them in their order.
    pub(super) fn indices(&mut self, field: &str) -> Given<Vec<usize>> {
        self.given(field, "a list of whole numbers from 0 on", |value| {
            let number = |value: &Value| whole(value.as_f64()?).map(|number| number as usize);
            let numbers: Option<Vec<usize>> = value.as_array()?.iter().map(number).collect();
            let mut numbers = numbers?;
            numbers.sort_unstable();
            Some(numbers)
        })
    }

    /// Takes a number above 0: absent, it is the class's default; null, an error.
    pub(super) fn multiplier(&mut self, field: &str, default: f64) -> f64 {
        match self.positive(field) {
            Given::Absent => default,
            Given::Value(number) => number,
            Given::Null => {
                self.missing(field, "a number above 0 in place of null");
                default
            }
        }
    }

    /// Takes a number above 0.
    pub(super) fn positive(&mut self, field: &str) -> Given<f64> {
        self.given(field, "a number above 0", |value| {
            let number = value.as_f64()?;
            (number.is_finite() && number > 0.0).then_some(number)
        })
    }

    /// Takes a number of at least 0.
    pub(super) fn not_negative(&mut self, field: &str) -> Given<f64> {
        self.given(field, "a number of at least 0", |value| {
            let number = value.as_f64()?;
            (number.is_finite() && number >= 0.0).then_some(number)
        })
    }

    /// Takes a count from 1 to 2³¹ − 1, also in the form 4096.0.
    pub(super) fn count(&mut self, field: &str) -> Given<usize> {
        let expected = "a whole number from 1 to 2147483647";
        self.given(field, expected, |value| size(whole(value.as_f64()?)?))
    }

    /// Takes a number of layers from 0 to 2³¹ − 1.
    pub(super) fn index(&mut self, field: &str) -> Given<usize> {
        let expected = "a whole number from 0 to 2147483647";
        self.given(field, expected, |value| {
            let number = whole(value.as_f64()?)?;
            (number < 1 << 31).then_some(number as usize)
        })
    }

    /// Takes a count that transformers only compares with, and so accepts in any form of a number: 4096, 4096.0, "4096".
    pub(super) fn limit(&mut self, field: &str) -> Given<usize> {
        let expected = "a whole number from 1 to 2147483647";
        self.given(field, expected, |value| {
            let number = match value {
                Value::String(text) => text.trim().parse().ok()?,
                value => value.as_f64()?,
            };
            whole(number).and_then(size)
        })
    }

    /// Takes a size that a model cannot do without: absent, it is the class's default; null, an error.
    pub(super) fn size(&mut self, field: &str, default: usize) -> usize {
        match self.count(field) {
            Given::Absent => default,
            Given::Value(size) => size,
            Given::Null => {
                self.missing(field, "a whole number above 0 in place of null");
                default
            }
        }
    }

    /// Takes one token id or a list of them.
    pub(super) fn token_ids(&mut self, field: &str) -> Given<Vec<u32>> {
        let one = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let expected = "a token id or a list of token ids";
        self.given(field, expected, |value| match value {
            Value::Array(values) => values.iter().map(one).collect(),
            value => one(value).map(|id| vec![id]),
        })
    }
}

fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..2f64.powi(32)).contains(&number);
    is_whole.then_some(number as u64)
}

fn size(number: u64) -> Option<usize> {
    (1..1 << 31).contains(&number).then_some(number as usize)
}
