//! What the first tag of a macro or of a `set` says.

use super::expression::PARAMETER;
use super::tokens::{Kind, Token, tokens};

/// A macro's name and parameters.
pub(super) struct Signature<'t> {
    pub(super) name: &'t str,
    /// Names, and the expression of the value that is taken where no argument is given.
    pub(super) parameters: Vec<(&'t str, Option<&'t str>)>,
}

impl<'t> Signature<'t> {
    /// Reads `{% macro name(a, b=1) %}`. Anything else has no signature, and the engine names the fault.
    pub(super) fn parse(tag: &'t str) -> Option<Self> {
        let body = tag.get(2..tag.len().checked_sub(2)?)?;
        let body = body.strip_prefix(['-', '+']).unwrap_or(body);
        let body = body.strip_suffix(['-', '+']).unwrap_or(body);
        let tokens = tokens(body);
        let [word, name, open, inner @ .., close] = &tokens[..] else {
            return None;
        };
        let is_whole = word.is(body, "macro")
            && name.kind == Kind::Word
            && open.is_call(body)
            && close.kind == Kind::Close;
        if !is_whole {
            return None;
        }
        let mut parameters = Vec::new();
        for parameter in split(body, inner) {
            match parameter {
                [] => {}
                [name] if name.kind == Kind::Word => parameters.push((name.text(body), None)),
                [name, equals, first, ..] if name.kind == Kind::Word && equals.is(body, "=") => {
                    let last = parameter.last()?;
                    let value = body.get(first.start..last.end);
                    parameters.push((name.text(body), value));
                }
                _ => return None,
            }
        }
        Some(Self {
            name: name.text(body),
            parameters,
        })
    }

    /// Returns whether a parameter has a value where no argument is given.
    pub(super) fn has_defaults(&self) -> bool {
        self.parameters.iter().any(|(_, value)| value.is_some())
    }

    /// Returns the tags that set the parameters for which no argument is given.
    pub(super) fn defaults(&self, end: &str) -> Vec<String> {
        let set = |(name, value): &(&str, Option<&str>)| {
            let given = format!("{name}|{PARAMETER}");
            match value {
                None => format!("{{% set {name} = {given} {end}%}}"),
                Some(value) => {
                    format!(
                        "{{% set {name} = ({value}) if {name} is undefined else {given} {end}%}}"
                    )
                }
            }
        };
        self.parameters.iter().map(set).collect()
    }
}

/// Splits tokens at the commas outside of brackets.
fn split<'t>(body: &str, tokens: &'t [Token]) -> Vec<&'t [Token]> {
    let mut depth = 0_usize;
    let mut parts = Vec::new();
    let mut start = 0;
    for (idx, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ if depth == 0 && token.is(body, ",") => {
                parts.push(&tokens[start..idx]);
                start = idx + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts
}

/// Returns whether a `set` tag has a value, and is not the start of a block.
pub(super) fn is_assignment(tag: &str) -> bool {
    let body = tag.get(2..).unwrap_or_default();
    let mut depth = 0_usize;
    tokens(body).into_iter().any(|token| {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.is(body, "=")
    })
}
