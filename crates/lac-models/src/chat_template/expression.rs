//! Expressions of Jinja2 that the engine reads otherwise, as calls of filters that do what Jinja2 does.
//!
//! The engine iterates texts without knowing their length, divides numbers only with `%`, and orders values that Python
//! does not. No filter can be called by another name than an identifier, so the names of these begin with underscores.

use std::collections::HashSet;

use super::tokens::{Kind, Token, portable_text, tokens};

/// Makes what a loop iterates.
pub(super) const LOOP_ITEMS: &str = "__loop_items";
/// Makes what a loop with several targets iterates.
pub(super) const LOOP_ROWS: &str = "__loop_rows";
/// Makes a text of an operand of `~`.
pub(super) const PART: &str = "__part";
/// Implements the operator `%`.
pub(super) const REMAINDER: &str = "__remainder";
/// The operators that need two values which Python can compare, and their filters.
pub(super) const COMPARISONS: [(&str, &str); 6] = [
    ("<", "__less"),
    ("<=", "__less_or_equal"),
    (">", "__greater"),
    (">=", "__greater_or_equal"),
    ("in", "__in"),
    ("not in", "__not_in"),
];

/// Marks an undefined value that a call gives to a macro, so that it is not taken for an argument that is not given.
pub(super) const ARGUMENT: &str = "__argument";
/// Takes the mark of [`ARGUMENT`] off in the macro.
pub(super) const PARAMETER: &str = "__parameter";
/// Gives a value on, and makes the engine see that a namespace is used: it lends a macro only what it reads.
pub(super) const ASSIGNED: &str = "__assigned";

/// What kind of tag holds the expressions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tag {
    /// `{{ … }}`.
    Expression,
    /// `{% … %}`.
    Block,
}

/// Returns a whole tag with its expressions rewritten. Line breaks stay where they are. `macros` are the names of those
/// whose calls mark undefined arguments.
pub(super) fn rewritten(tag: &str, kind: Tag, macros: &HashSet<String>) -> String {
    let Some(body) = tag.get(2..tag.len().saturating_sub(2)) else {
        return tag.to_owned();
    };
    let tokens = tokens(body);
    let mut edits = Edits(Vec::new());
    let mut group = Vec::new();
    // The tokens of every open bracket's group, the innermost last. A bracket stands for all that it holds.
    let mut open = Vec::new();
    for token in tokens {
        match token.kind {
            Kind::Open => open.push((token, std::mem::take(&mut group))),
            Kind::Close => {
                edits.rewrite_group(body, &group, None);
                let Some((start, outer)) = open.pop() else {
                    // The engine names the fault.
                    return tag.to_owned();
                };
                let inner = std::mem::replace(&mut group, outer);
                if start.is_call(body) && !inner.is_empty() {
                    match called(body, &group) {
                        Some("loop") => edits.wrap(start.end, token.start, LOOP_ITEMS),
                        Some(name) if macros.contains(name) => edits.mark_arguments(body, &inner),
                        _ => {}
                    }
                }
                group.push(Token {
                    kind: Kind::Operand,
                    start: start.start,
                    end: token.end,
                });
            }
            _ => {
                if token.kind == Kind::Operand && token.text(body).contains('\\') {
                    edits.replace(token, portable_text(token.text(body)));
                }
                group.push(token);
            }
        }
    }
    if !open.is_empty() {
        return tag.to_owned();
    }
    edits.rewrite_group(body, &group, Some(kind));
    format!(
        "{}{}{}",
        &tag[..2],
        edits.applied(body),
        &tag[tag.len() - 2..]
    )
}

/// Returns the name of the function that a bracket after these tokens calls.
fn called<'t>(body: &'t str, group: &[Token]) -> Option<&'t str> {
    let name = group.last().filter(|last| last.kind == Kind::Word)?;
    let is_member = is_member(body, group, group.len() - 1);
    (!is_member).then(|| name.text(body))
}

/// What a text in a tag does. Of several at one place the first comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    ClosesCall,
    Filters,
    Calls,
    Opens,
    Replaces,
}

/// A text to put into a tag.
struct Edit {
    at: usize,
    role: Role,
    /// How many bytes it replaces.
    len: usize,
    text: String,
}

/// The texts to put into a tag.
struct Edits(Vec<Edit>);

impl Edits {
    fn push(&mut self, at: usize, len: usize, role: Role, text: impl Into<String>) {
        let text = text.into();
        self.0.push(Edit {
            at,
            role,
            len,
            text,
        });
    }

    /// Passes an expression through a filter.
    fn wrap(&mut self, start: usize, end: usize, filter: &str) {
        // An operator in front of the bracket can be a word.
        self.push(start, 0, Role::Opens, " (");
        self.push(end, 0, Role::Filters, format!(")|{filter}"));
    }

    /// Marks those arguments of a call that may be undefined.
    fn mark_arguments(&mut self, body: &str, arguments: &[Token]) {
        for argument in arguments.split(|token| token.is(body, ",")) {
            let value = match argument {
                [name, equals, value @ ..] if equals.is(body, "=") && name.kind == Kind::Word => {
                    value
                }
                value => value,
            };
            if let ([first, ..], [.., last]) = (value, value)
                && !(value.len() == 1
                    && first.kind == Kind::Operand
                    && !first.text(body).starts_with('('))
            {
                self.wrap(first.start, last.end, ARGUMENT);
            }
        }
    }

    /// Makes a call of a filter of an operator and its operands.
    fn call(&mut self, operands: (usize, usize), operator: (usize, usize), filter: &str) {
        let (start, end) = operator;
        self.push(operands.0, 0, Role::Opens, "(");
        self.push(start, end - start, Role::Calls, format!(")|{filter}("));
        self.push(operands.1, 0, Role::ClosesCall, ")");
    }

    /// Puts a text in the place of a token.
    fn replace(&mut self, token: Token, text: impl Into<String>) {
        self.push(token.start, token.end - token.start, Role::Replaces, text);
    }

    fn applied(mut self, body: &str) -> String {
        self.0.sort_by_key(|edit| (edit.at, edit.role));
        let mut out = String::with_capacity(body.len());
        let mut done = 0;
        for Edit { at, len, text, .. } in self.0 {
            out.push_str(&body[done..at]);
            out.push_str(&text);
            // An operator over several lines keeps its line breaks.
            let n_lines = |text: &str| text.matches('\n').count();
            let n_lost = n_lines(&body[at..at + len]).saturating_sub(n_lines(&text));
            out.push_str(&"\n".repeat(n_lost));
            done = at + len;
        }
        out.push_str(&body[done..]);
        out
    }

    /// Rewrites the tokens between two brackets, or those of a tag outside all brackets.
    fn rewrite_group(&mut self, body: &str, group: &[Token], tag: Option<Tag>) {
        let mut group = group;
        if tag.is_some() {
            // Marks of whitespace control.
            while let [first, rest @ ..] = group
                && first.start == 0
                && (first.is(body, "-") || first.is(body, "+"))
            {
                group = rest;
            }
            if let [rest @ .., last] = group
                && last.end == body.len()
                && (last.is(body, "-") || last.is(body, "+"))
            {
                group = rest;
            }
        }
        if tag == Some(Tag::Block) {
            let [word, rest @ ..] = group else { return };
            group = rest;
            if word.is(body, "for") {
                group = self.rewrite_loop(body, rest);
            }
            if let ("set", [namespace, point, _, equals, value @ ..]) = (word.text(body), rest)
                && point.is(body, ".")
                && equals.is(body, "=")
                && let ([first, ..], [.., last]) = (value, value)
            {
                self.push(first.start, 0, Role::Opens, " (");
                let namespace = namespace.text(body);
                self.push(
                    last.end,
                    0,
                    Role::Filters,
                    format!(")|{ASSIGNED}({namespace})"),
                );
            }
        }
        if tag == Some(Tag::Expression)
            && group.iter().any(|token| token.is(body, ","))
            && let ([first, ..], [.., last]) = (group, group)
        {
            // A tuple needs no brackets in Jinja2.
            self.push(first.start, 0, Role::Opens, "(");
            self.push(last.end, 0, Role::ClosesCall, ")");
        }
        let ends_clause = |idx: usize| {
            let token = group[idx];
            let words = ["and", "or", "if", "else", "recursive"];
            let is_not = token.is(body, "not") && !is_test_word(body, group, idx) && {
                let next = group.get(idx + 1);
                let is_not_in = next.is_some_and(|next| next.is(body, "in"));
                !(is_not_in && ends_operand(body, group, idx))
            };
            is_not
                || [",", ":", "="].iter().any(|text| token.is(body, text))
                || words.iter().any(|word| token.is(body, word)) && !is_member(body, group, idx)
        };
        let mut start = 0;
        for idx in 0..=group.len() {
            if idx == group.len() || ends_clause(idx) {
                self.rewrite_clause(body, &group[start..idx]);
                start = idx + 1;
            }
        }
    }

    /// Rewrites what a loop iterates, and returns the tokens that are expressions.
    fn rewrite_loop<'t>(&mut self, body: &str, group: &'t [Token]) -> &'t [Token] {
        let Some(at) = group.iter().position(|token| token.is(body, "in")) else {
            return &[];
        };
        let (targets, items) = (&group[..at], &group[at + 1..]);
        let is_end = |idx: usize| {
            let token = items[idx];
            let is_word = token.is(body, "if") || token.is(body, "recursive");
            is_word && !is_member(body, items, idx)
        };
        let n_tokens = (0..items.len()).position(is_end).unwrap_or(items.len());
        if let Some(last) = n_tokens.checked_sub(1) {
            let has_several = targets.iter().any(|token| token.is(body, ","))
                || targets
                    .first()
                    .is_some_and(|token| token.kind == Kind::Operand);
            let filter = if has_several { LOOP_ROWS } else { LOOP_ITEMS };
            self.wrap(items[0].start, items[last].end, filter);
        }
        items
    }

    /// Rewrites an expression without `and`, `or`, `not` and conditions.
    fn rewrite_clause(&mut self, body: &str, clause: &[Token]) {
        let mut comparisons = Vec::new();
        let mut idx = 0;
        while idx < clause.len() {
            let token = clause[idx];
            let n_words = if token.is(body, "not") && !is_test_word(body, clause, idx) {
                2
            } else {
                usize::from(
                    ["<", "<=", ">", ">=", "==", "!="]
                        .iter()
                        .any(|text| token.is(body, text))
                        || token.is(body, "in")
                            && !is_member(body, clause, idx)
                            && !is_test_word(body, clause, idx),
                )
            };
            if n_words > 0 {
                comparisons.push((idx, n_words));
            }
            idx += n_words.max(1);
        }
        // A chain of comparisons stays what it is: the engine has those too.
        if let [(idx, n_words)] = comparisons[..]
            && let Some(right) = clause.get(idx + n_words..)
            && let ([first, ..], [.., last]) = (&clause[..idx], right)
        {
            let operator: Vec<&str> = clause[idx..idx + n_words]
                .iter()
                .map(|token| token.text(body))
                .collect();
            let operator = operator.join(" ");
            let span = (clause[idx].start, clause[idx + n_words - 1].end);
            if let Some((_, filter)) = COMPARISONS.iter().find(|(text, _)| *text == operator) {
                self.call((first.start, last.end), span, filter);
            }
        }
        let mut start = 0;
        for (idx, n_words) in comparisons.into_iter().chain([(clause.len(), 0)]) {
            self.rewrite_sum(body, clause.get(start..idx).unwrap_or_default());
            start = idx + n_words;
        }
    }

    /// Rewrites a sum: its terms are between `+` and `-`.
    fn rewrite_sum(&mut self, body: &str, sum: &[Token]) {
        let is_sign = |idx: usize| sum[idx].is(body, "+") || sum[idx].is(body, "-");
        let mut start = 0;
        for idx in 0..=sum.len() {
            if idx == sum.len() || is_sign(idx) && ends_operand(body, sum, idx) {
                self.rewrite_texts(body, &sum[start..idx]);
                start = idx + 1;
            } else if sum[idx].is(body, "+") {
                // The engine has no sign that leaves a number as it is.
                self.replace(sum[idx], " ");
            }
        }
    }

    /// Rewrites texts that are put together: they are between `~`.
    fn rewrite_texts(&mut self, body: &str, texts: &[Token]) {
        let is_joint = |token: &Token| token.is(body, "~");
        let has_several = texts.iter().any(is_joint);
        for part in texts.split(is_joint) {
            let ([first, ..], [.., last]) = (part, part) else {
                continue;
            };
            if has_several && !(part.len() == 1 && first.text(body).starts_with(['\'', '"'])) {
                self.wrap(first.start, last.end, PART);
            }
            self.rewrite_product(body, part);
        }
    }

    /// Rewrites a product: its factors are between `*`, `/`, `//` and `%`, from the left to the right.
    fn rewrite_product(&mut self, body: &str, product: &[Token]) {
        let operators: Vec<usize> = (0..product.len())
            .filter(|&idx| {
                ["*", "/", "//", "%"]
                    .iter()
                    .any(|text| product[idx].is(body, text))
            })
            .collect();
        for (number, &idx) in operators.iter().enumerate() {
            let next = operators.get(number + 1).copied().unwrap_or(product.len());
            if product[idx].is(body, "%") && idx > 0 && next > idx + 1 {
                let operands = (product[0].start, product[next - 1].end);
                self.call(operands, (product[idx].start, product[idx].end), REMAINDER);
            }
        }
    }
}

/// Returns whether an operand ends before a token, so that a sign there is an operator with two operands.
fn ends_operand(body: &str, group: &[Token], idx: usize) -> bool {
    let Some(before) = idx.checked_sub(1).map(|before| group[before]) else {
        return false;
    };
    match before.kind {
        Kind::Word => !["and", "or", "not", "in", "is", "if", "else"].contains(&before.text(body)),
        _ => before.kind == Kind::Operand,
    }
}

/// Returns whether a word is the name of an attribute, a filter or a test.
fn is_member(body: &str, group: &[Token], idx: usize) -> bool {
    let before = idx.checked_sub(1).map(|before| group[before]);
    before.is_some_and(|before| before.is(body, ".") || before.is(body, "|"))
}

/// Returns whether a word belongs to a test: `x is in y`, `x is not in y`, `x is not none`.
fn is_test_word(body: &str, group: &[Token], idx: usize) -> bool {
    let word = |back: usize| idx.checked_sub(back).map(|before| group[before]);
    let follows_is = word(1).is_some_and(|token| token.is(body, "is"));
    let follows_is_not = word(1).is_some_and(|token| token.is(body, "not"))
        && word(2).is_some_and(|token| token.is(body, "is"));
    follows_is || follows_is_not
}
