//! Template text that means the same to the engine as to Jinja2.

use super::expression::{Tag, rewritten};

/// Replaces what only Jinja2 understands, and keeps the number of every line.
///
/// `{% generation %}` marks what an assistant wrote, for training. In a prompt it only opens a scope, as `{% with %}`
/// does. Jinja2 also reads every kind of line break as `\n`. Expressions are made portable by [`rewritten`].
pub(super) fn portable_source(source: &str) -> String {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{') {
        let (before, tail) = rest.split_at(start);
        out.push_str(before);
        let len = match tail.as_bytes().get(1) {
            Some(b'#') => tail.find("#}").map_or(tail.len(), |end| end + 2),
            Some(b'{') => {
                let len = tag_len(tail, "}}");
                out.push_str(&rewritten(&tail[..len], Tag::Expression));
                rest = &tail[len..];
                continue;
            }
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
                    _ => {
                        out.push_str(&rewritten(&tail[..len], Tag::Block));
                        rest = &tail[len..];
                        continue;
                    }
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
