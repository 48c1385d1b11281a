//! Jinja2's `wordwrap`, which is Python's `textwrap.wrap` for every line.

use minijinja::value::Value;
use minijinja::{Error, State};

use super::arguments::{Given, bind};
use super::python::split_lines;
use super::text_filters::{is_word, size, text};
use super::values::{invalid, python_str};

/// Implements `wordwrap(s, width=79, break_long_words=True, wrapstring='\n', break_on_hyphens=True)`.
pub(super) fn wordwrap(
    state: &State<'_, '_>,
    value: &Value,
    given: Given,
) -> Result<String, Error> {
    let parameters = [
        "width",
        "break_long_words",
        "wrapstring",
        "break_on_hyphens",
    ];
    let [width, long_words, separator, hyphens] = bind("wordwrap", parameters, given)?;
    let width = width.map_or(Ok(79), |width| size(&width, "width"))?;
    let separator = separator.filter(Value::is_true);
    let separator = separator.map_or(Ok("\n".to_owned()), |text| python_str(state, &text))?;
    let is_on_or_absent = |flag: Option<Value>| flag.is_none_or(|flag| flag.is_true());
    let wrapping = Wrapping {
        width,
        breaks_long_words: is_on_or_absent(long_words),
        breaks_on_hyphens: is_on_or_absent(hyphens),
    };
    let text = text(state, value)?;
    let mut lines = Vec::new();
    for line in split_lines(&text, false) {
        // Every character may become a line.
        state.consume_fuel(line.len() as u64 + 1)?;
        let wrapped = wrapping.lines(line)?;
        state.consume_fuel(((wrapped.len() * separator.len()) / 64) as u64)?;
        lines.push(wrapped.join(&separator));
    }
    state.consume_fuel(((lines.len() * separator.len()) / 64) as u64)?;
    Ok(lines.join(&separator))
}

struct Wrapping {
    /// Characters.
    width: usize,
    breaks_long_words: bool,
    breaks_on_hyphens: bool,
}

impl Wrapping {
    fn lines(&self, text: &str) -> Result<Vec<String>, Error> {
        if self.width == 0 {
            return Err(invalid("wordwrap needs a width of at least 1"));
        }
        let mut chunks: Vec<Vec<char>> = self.chunks(&text.chars().collect::<Vec<_>>());
        chunks.reverse();
        let mut lines = Vec::new();
        while !chunks.is_empty() {
            if !lines.is_empty() && chunks.last().is_some_and(|chunk| is_blank(chunk)) {
                chunks.pop();
            }
            let mut line: Vec<Vec<char>> = Vec::new();
            let mut n_chars = 0;
            while let Some(chunk) = chunks.pop_if(|chunk| n_chars + chunk.len() <= self.width) {
                n_chars += chunk.len();
                line.push(chunk);
            }
            if chunks.last().is_some_and(|chunk| chunk.len() > self.width) {
                self.break_word(&mut chunks, &mut line, n_chars);
            }
            let _ = line.pop_if(|chunk| is_blank(chunk));
            if !line.is_empty() {
                lines.push(line.concat().into_iter().collect());
            }
        }
        Ok(lines)
    }

    /// Moves as much of a word that is longer than a line as the line holds.
    fn break_word(&self, chunks: &mut Vec<Vec<char>>, line: &mut Vec<Vec<char>>, n_chars: usize) {
        if !self.breaks_long_words {
            if line.is_empty() {
                line.extend(chunks.pop());
            }
            return;
        }
        let Some(word) = chunks.last_mut() else {
            return;
        };
        let mut end = self.width - n_chars;
        if self.breaks_on_hyphens && word.len() > end {
            let hyphen = word[..end].iter().rposition(|&c| c == '-');
            if let Some(hyphen) = hyphen.filter(|&at| word[..at].iter().any(|&c| c != '-')) {
                end = hyphen + 1;
            }
        }
        let rest = word.split_off(end);
        line.push(std::mem::replace(word, rest));
    }

    /// Cuts a line where it may be broken.
    fn chunks(&self, text: &[char]) -> Vec<Vec<char>> {
        let mut chunks = Vec::new();
        let mut start = 0;
        while start < text.len() {
            let end = if is_wrap_space(text[start]) || !self.breaks_on_hyphens {
                let is_space = is_wrap_space(text[start]);
                let rest = text[start..].iter();
                start + rest.take_while(|&&c| is_wrap_space(c) == is_space).count()
            } else {
                end_of_part(text, start)
            };
            chunks.push(text[start..end].to_vec());
            start = end;
        }
        chunks
    }
}

fn is_blank(chunk: &[char]) -> bool {
    chunk.iter().all(|&c| super::python::is_space(c))
}

fn is_wrap_space(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Returns where a word, a part of a hyphenated word or a dash ends.
fn end_of_part(text: &[char], start: usize) -> usize {
    let at = |idx: usize| text.get(idx).copied();
    let before = |idx: usize, back: usize| idx.checked_sub(back).map(|idx| text[idx]);
    let is_letter = |c: Option<char>| c.is_some_and(|c| is_word(c) && !c.is_numeric());
    let is_in_word = |c: Option<char>| c.is_some_and(|c| is_word(c) || "!\"'&.,?".contains(c));
    // A dash of at least two hyphens between words.
    let dash_end = |idx: usize| {
        let n_hyphens = text[idx..].iter().take_while(|&&c| c == '-').count();
        let is_dash = n_hyphens >= 2
            && is_in_word(before(idx, 1))
            && at(idx + n_hyphens).is_some_and(is_word);
        is_dash.then_some(idx + n_hyphens)
    };
    if let Some(end) = dash_end(start) {
        return end;
    }
    let mut idx = start + 1;
    loop {
        let Some(c) = at(idx) else { return idx };
        if is_wrap_space(c) {
            return idx;
        }
        if c == '-' {
            let follows_letters = is_letter(before(idx, 1)) && is_letter(before(idx, 2))
                || is_in_word(before(idx, 1))
                    && before(idx, 2) == Some('-')
                    && is_letter(before(idx, 3));
            let precedes_letters = is_letter(at(idx + 1))
                && (is_letter(at(idx + 2)) || at(idx + 2) == Some('-') && is_letter(at(idx + 3)));
            if follows_letters && precedes_letters {
                return idx + 1;
            }
            if dash_end(idx).is_some() {
                return idx;
            }
        }
        idx += 1;
    }
}
