//! Template text that means the same to the engine as to Jinja2.

use std::collections::HashSet;

use super::expression::{Tag, rewritten};
use super::signature::{Signature, is_assignment};

/// The name of the function that reports a jump out of a block which the engine cannot leave so.
pub(super) const UNSUPPORTED_JUMP: &str = "__unsupported_jump";

/// Stands for what follows the `else` of a loop, among the open blocks.
const LOOP_ELSE: &str = "else";

/// Replaces what only Jinja2 understands, and keeps the number of every line.
///
/// - `{% generation %}` marks what an assistant wrote, for training. In a prompt it only opens a scope, as `{% with %}`
///   does. `{% set x %}`, `{% filter f %}` and the `{% else %}` of a loop open a scope too.
/// - A macro's defaults are taken inside of it, where they can see the other arguments.
/// - A line break after `{% raw %}` stays.
/// - Jinja2 reads every kind of line break as `\n`.
/// - Expressions are made portable by [`rewritten`].
pub(super) fn portable_source(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let pieces = pieces(&source);
    let signatures = pieces.iter().filter_map(|piece| match piece {
        Piece::Block(tag, "macro") => Signature::parse(tag),
        _ => None,
    });
    let macros = signatures.filter(Signature::has_defaults);
    let macros = macros.map(|signature| signature.name.to_owned()).collect();
    let mut writer = Writer {
        out: String::with_capacity(source.len()),
        macros,
        open: Vec::new(),
    };
    for piece in pieces {
        match piece {
            Piece::Text(text) => writer.out.push_str(text),
            Piece::Expression(tag) => {
                let tag = rewritten(tag, Tag::Expression, &writer.macros);
                writer.out.push_str(&tag);
            }
            Piece::Block(tag, word) => writer.block(tag, word),
            Piece::Raw(tag, n_lines) => writer.raw(tag, n_lines),
        }
    }
    writer.out
}

/// A part of a template.
enum Piece<'s> {
    /// A text, a comment or a raw block.
    Text(&'s str),
    /// `{{ … }}`.
    Expression(&'s str),
    /// `{% word … %}` and its word.
    Block(&'s str, &'s str),
    /// `{% raw %}` and how many line breaks follow it.
    Raw(&'s str, usize),
}

fn pieces(source: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (before, tail) = rest.split_at(start);
        pieces.push(Piece::Text(before));
        let (piece, len) = match tail.as_bytes().get(1) {
            Some(b'#') => {
                let len = tail.find("#}").map_or(tail.len(), |end| end + 2);
                (Piece::Text(&tail[..len]), len)
            }
            Some(b'{') => {
                let len = tag_len(tail, "}}");
                (Piece::Expression(&tail[..len]), len)
            }
            Some(b'%') => {
                let len = tag_len(tail, "%}");
                let tag = &tail[..len];
                match tag_word(tag) {
                    "raw" => {
                        let end = raw_len(tail, len);
                        let text = tail[len..end].trim_start_matches('\n');
                        let start = end - text.len();
                        if start > len && text.ends_with("%}") && mark(tag).is_empty() {
                            pieces.push(Piece::Raw(tag, start - len));
                            (Piece::Text(text), end)
                        } else {
                            (Piece::Text(&tail[..end]), end)
                        }
                    }
                    word => (Piece::Block(tag, word), len),
                }
            }
            _ => (Piece::Text(&tail[..1]), 1),
        };
        pieces.push(piece);
        rest = &tail[len..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

struct Writer {
    out: String,
    /// Names of macros that take values where arguments are not given.
    macros: HashSet<String>,
    /// The words of the blocks that are open, the innermost last.
    open: Vec<&'static str>,
}

impl Writer {
    fn block(&mut self, tag: &str, word: &str) {
        const BLOCKS: [&str; 8] = [
            "if",
            "for",
            "set",
            "filter",
            "with",
            "generation",
            "macro",
            "call",
        ];
        if !tag.ends_with("%}") || tag.len() < 4 {
            self.out.push_str(tag);
            return;
        }
        let block = BLOCKS.into_iter().find(|block| *block == word);
        let block = block.filter(|block| *block != "set" || !is_assignment(tag));
        self.open.extend(block);
        let (start, end) = (&tag[..2 + start_mark(tag).len()], mark(tag));
        match (word, block) {
            ("generation", _) => self.out.push_str(&tag.replacen("generation", "with", 1)),
            ("set" | "filter", Some(_)) => {
                self.tag(tag);
                self.out.extend(["{% with ", end, "%}"]);
            }
            ("else", _) if self.open.last() == Some(&"for") => {
                self.open.push(LOOP_ELSE);
                self.tag(tag);
                self.out.extend(["{% with ", end, "%}"]);
            }
            ("endfor", _) if self.open.last() == Some(&LOOP_ELSE) => {
                self.open.truncate(self.open.len() - 2);
                self.out
                    .extend([start, " endwith %}{%", &tag[start.len()..]]);
            }
            ("macro", _) => self.macro_tag(tag),
            ("break" | "continue", _) if self.jumps_out_of_scope() => {
                self.out.extend([
                    start,
                    " if ",
                    UNSUPPORTED_JUMP,
                    "('",
                    word,
                    "') %}{% endif ",
                    end,
                    "%}",
                ]);
            }
            _ => match word
                .strip_prefix("end")
                .filter(|block| self.open.last() == Some(block))
            {
                None => self.tag(tag),
                Some(block) => {
                    self.open.pop();
                    match block {
                        "generation" => {
                            self.out
                                .push_str(&tag.replacen("endgeneration", "endwith", 1));
                        }
                        "set" | "filter" => {
                            self.out
                                .extend([start, " endwith %}{%", &tag[start.len()..]]);
                        }
                        _ => self.tag(tag),
                    }
                }
            },
        }
    }

    fn tag(&mut self, tag: &str) {
        self.out.push_str(&rewritten(tag, Tag::Block, &self.macros));
    }

    /// Writes the start of a raw block. The engine drops a line break after it, so an expression makes that.
    fn raw(&mut self, tag: &str, n_lines: usize) {
        let start = &tag[..2 + start_mark(tag).len()];
        let (escaped, lines) = ("\\n".repeat(n_lines), "\n".repeat(n_lines));
        self.out.extend([
            start,
            " if true %}{{ '",
            &escaped,
            "'",
            &lines,
            " }}{% endif %}{% raw %}",
        ]);
    }

    /// Writes a macro's first tag, and its defaults after it.
    fn macro_tag(&mut self, tag: &str) {
        let signature = Signature::parse(tag);
        let Some(signature) = signature.filter(|known| self.macros.contains(known.name)) else {
            self.tag(tag);
            return;
        };
        let (start, end) = (&tag[..2 + start_mark(tag).len()], mark(tag));
        let name = signature.name;
        let names: Vec<&str> = signature.parameters.iter().map(|(name, _)| *name).collect();
        let n_lines = tag.matches('\n').count();
        let (names, lines) = (names.join(", "), "\n".repeat(n_lines));
        self.out.extend([
            start, " macro ", name, "(", &names, ")", &lines, " ", end, "%}",
        ]);
        for tag in signature.defaults(end) {
            // Its line breaks are written already.
            self.tag(&tag.replace('\n', " "));
        }
    }

    /// Returns whether a jump to the end of a loop leaves a block with a scope of its own.
    fn jumps_out_of_scope(&self) -> bool {
        let inner = self.open.iter().rev().take_while(|block| **block != "for");
        let has_loop = self.open.contains(&"for");
        let mut scopes = inner.filter(|block| !matches!(**block, "if" | "macro" | "call"));
        has_loop && scopes.next().is_some()
    }
}

/// Returns the mark of whitespace control at the start of a tag.
fn start_mark(tag: &str) -> &str {
    tag.get(2..3)
        .filter(|mark| matches!(*mark, "-" | "+"))
        .unwrap_or_default()
}

/// Returns the mark of whitespace control at the end of a tag.
fn mark(tag: &str) -> &str {
    let mark = tag.len().checked_sub(3).and_then(|at| tag.get(at..at + 1));
    mark.filter(|mark| matches!(*mark, "-" | "+"))
        .unwrap_or_default()
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

/// Returns the length of a tag with its end. An end inside quotes or brackets does not count.
fn tag_len(tag: &str, end: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    for (idx, character) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if character == '\\' => escaped = true,
            Some(open) if character == open => quote = None,
            Some(_) => {}
            None if depth == 0 && tag[idx..].starts_with(end) => return idx + end.len(),
            None => match character {
                '\'' | '"' => quote = Some(character),
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                _ => {}
            },
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

#[cfg(test)]
mod tests {
    use super::portable_source;

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
        check(
            "{% set a = 1 %}{% set a %}b{% endset -%}",
            "{% set a = 1 %}{% set a %}{% with %}b{% endwith %}{% endset -%}",
        );
        check(
            "{%- raw %}\n\n {{ a }}{% endraw %}",
            "{%- if true %}{{ '\\n\\n'\n\n }}{% endif %}{% raw %} {{ a }}{% endraw %}",
        );
        check(
            "{% macro f(a, b=a ~ 1) -%}{{ a }}{% endmacro %}{{ f(x, b=2) }}",
            "{% macro f(a, b) -%}{% set a = a|__parameter -%}\
             {% set b = ( (a)|__part ~  (1)|__part) if b is undefined else b|__parameter -%}\
             {{ a }}{% endmacro %}{{ f( (x)|__argument, b=2) }}",
        );
        check(
            "{% for a in b %}{% with %}{% break -%}{% endwith %}{% break %}{% endfor %}",
            "{% for a in  (b)|__loop_items %}{% with %}{% if __unsupported_jump('break') %}{% endif -%}\
             {% endwith %}{% break %}{% endfor %}",
        );
        check("a\r\nb\rc{", "a\nb\nc{");
        check(
            "{{ 'it\\'s }}' }}{% generation %}",
            "{{ 'it\\'s }}' }}{% with %}",
        );
        check("{% unclosed é", "{% unclosed é");
        check(
            "{{ {'a': {'b': 7 % 2}} }}{% generation %}",
            "{{ {'a': {'b': (7 )|__remainder( 2)}} }}{% with %}",
        );
    }

    #[test]
    fn texts_keep_what_python_reads() {
        let check = |source: &str, expected: &str| assert_eq!(portable_source(source), expected);
        let known = r"{{ '\\d\n\'\x41\u00e9' }}";
        check(known, known);
        check(r"{{ '\d\/\101\U0001f600' }}", r"{{ '\\d\\/A😀' }}");
        check("{{ 'a\\\nb' + 'c\nd\\t' }}", "{{ 'ab'\n + 'c\nd\\t' }}");
    }
}
