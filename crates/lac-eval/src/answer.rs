//! Finds the answer in the text that a model generated.
//!
//! The rules are tried one after the other, the most explicit first. Within a rule the last
//! statement counts, because models reason before they decide. A text in which no rule finds an
//! answer is reported as such, and not as a wrong answer.

use std::sync::LazyLock;

use regex::Regex;

use crate::words::LETTERS;

/// Compiles a pattern. All patterns are constants of this file, and valid.
#[allow(clippy::unwrap_used)]
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap()
}

/// Returns which of `options` a text chooses, by letter or by its words; `None` when it does not
/// say.
///
/// ```
/// use lac_eval::answer::chosen_option;
///
/// let options = ["Paris", "Rome", "Oslo", "Bern"];
/// assert_eq!(chosen_option("The answer is **C**.", &options), Some(2));
/// assert_eq!(chosen_option("(B) Rome, since A is in France", &options), Some(1));
/// assert_eq!(chosen_option("It must be Bern.", &options), Some(3));
/// assert_eq!(chosen_option("I am not sure.", &options), None);
/// ```
pub fn chosen_option<T: AsRef<str>>(text: &str, options: &[T]) -> Option<usize> {
    let text = plain(text);
    let n = options.len();
    let letter = |found: &str| index_of(found, n);
    stated(&text, &letter)
        .or_else(|| at_start(&text, &letter))
        .or_else(|| chosen_by_verb(&text, &letter))
        .or_else(|| whole_text(&text, options))
        .or_else(|| only(in_brackets(&text, &letter)))
        .or_else(|| at_end(&text, &letter))
        .or_else(|| only(alone(&text, &letter)))
        .or_else(|| named(&text, options))
}

/// Returns the option of a letter, in either case; `None` for a letter that no option has.
fn index_of(found: &str, n_options: usize) -> Option<usize> {
    let upper = found.chars().next()?.to_ascii_uppercase();
    LETTERS[..n_options.min(LETTERS.len())]
        .iter()
        .position(|&letter| letter == upper)
}

/// Removes the marks of Markdown and LaTeX, which can stand anywhere, and unifies quotes, brackets
/// and spaces.
fn plain(text: &str) -> String {
    static MARKS: LazyLock<Regex> =
        LazyLock::new(|| regex(r"\\(?:text|mathrm|mathbf|textbf|mathit|rm)\s*\{([^{}]*)\}"));
    let text = MARKS.replace_all(text, "$1");
    let mut plain: String = text
        .chars()
        .filter(|c| !matches!(c, '*' | '`' | '_' | '#' | '$'))
        .map(|c| match c {
            '’' | '‘' => '\'',
            '“' | '”' => '"',
            '：' => ':',
            '（' | '【' => '(',
            '）' | '】' => ')',
            '\u{a0}' => ' ',
            other => other,
        })
        .collect();
    while plain.contains("  ") {
        plain = plain.replace("  ", " ");
    }
    plain.trim().to_owned()
}

/// Matches a letter in brackets or quotes of any kind.
const LETTER: &str = r#"["'(\[<{]*([A-Za-z])\b["')\]>}]*"#;

/// Finds `\boxed{C}`, or a sentence that says what the answer is.
fn stated(text: &str, letter: &dyn Fn(&str) -> Option<usize>) -> Option<usize> {
    static BOXED: LazyLock<Regex> =
        LazyLock::new(|| regex(r"\\?(?:boxed|fbox)\s*\{\s*\(?\s*([A-Za-z])\b[^{}]*\}"));
    static SENTENCE: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"(?ix)
            \b(?:answer|option|choice|response|solution|selection|conclusion)\b
            (?:\s+(?:to|for|of)\s+(?:this|the|your)\s+\w+(?:\s+\w+)?)?
            (?:\s+(?:here|letter|therefore|then))?
            \s*(?:\b(?:is|was|would\s+be|should\s+be|must\s+be|has\s+to\s+be|will\s+be|appears\s+to\s+be|seems\s+to\s+be|be)\b|[:=]|->|→)
            \s*:?\s*
            (?:(?:therefore|thus|then|clearly|indeed|definitely|most\s+likely|probably|simply|likely)\s*,?\s+)?
            (?:(?:the\s+)?(?:correct\s+|right\s+|best\s+|final\s+)?(?:option|choice|letter|answer)\s*:?\s*)?
            {LETTER}(?P<after>.?)"
        ))
    });
    static REVERSED: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"(?x)
            (?:^|[\s.,;:])(?:[Oo]ption\s+|[Cc]hoice\s+|[Aa]nswer\s+|[Ll]etter\s+)?
            {LETTER}(?:[.:)]\s*[^.\n]{{0,80}}?)?\s*,?\s*
            (?:is|would\s+be|must\s+be|seems|looks)\s+
            (?:(?:therefore|thus|clearly|indeed|definitely|most\s+likely|probably|the|a|my|our)\s+)*
            (?:only\s+|single\s+|most\s+|final\s+)*
            (?:correct|right|best|true|accurate|answer|appropriate|valid)"
        ))
    });
    let boxed = BOXED
        .captures_iter(text)
        .filter_map(|found| letter(&found[1]))
        .last();
    let sentence = SENTENCE
        .captures_iter(text)
        .filter_map(|found| {
            let (name, after) = (&found[1], &found["after"]);
            // "The answer is a matter of …": an article, not a letter.
            let is_article = (name == "a" || name == "A" || name == "I" || name == "i")
                && is_word_next(text, found.get(1)?.end());
            (!is_article && !after.starts_with('\'')).then(|| letter(name))?
        })
        .last();
    boxed.or(sentence).or_else(|| {
        REVERSED
            .captures_iter(text)
            .filter_map(|found| {
                let name = found.get(1)?;
                (name.as_str().chars().all(char::is_uppercase)).then(|| letter(name.as_str()))?
            })
            .last()
    })
}

/// Returns whether a word follows, as one does after the article `A`. Words that join letters
/// (`A or B`) or say something about a letter (`A is …`) do not count.
fn is_word_next(text: &str, end: usize) -> bool {
    let Some(rest) = text[end..].strip_prefix(' ') else {
        return false;
    };
    let next = rest.split(|c: char| !c.is_alphanumeric()).next();
    let speaks_of_letter = [
        "or", "and", "nor", "is", "was", "because", "since", "seems", "would", "must", "as",
    ];
    next.is_some_and(|next| !next.is_empty() && !speaks_of_letter.contains(&next))
}

/// Finds a letter that the text begins with: `C`, `C.`, `(C) Oslo`, `c)`, `C: Oslo`, `C - Oslo`.
fn at_start(text: &str, letter: &dyn Fn(&str) -> Option<usize>) -> Option<usize> {
    static BRACKETED: LazyLock<Regex> = LazyLock::new(|| {
        regex(r#"^(?:[Oo]ption |[Aa]nswer |[Cc]hoice )?["']?[(\[<{]([A-Za-z])[)\]>}]"#)
    });
    static MARKED: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r#"^(?:[Oo]ption |[Aa]nswer |[Cc]hoice |[Ll]etter )?["']?([A-Za-z])["']?(?:\s*[.):,;\]]|\s*\n|\s*$|\s+[-–—]\s|\s*<)"#,
        )
    });
    static SPACED: LazyLock<Regex> = LazyLock::new(|| regex(r"^([B-HJ-Z])\s"));
    [&*BRACKETED, &*MARKED, &*SPACED]
        .iter()
        .find_map(|rule| letter(&rule.captures(text)?[1]))
}

/// Finds a letter after a verb of choice: `I choose C`, `I'd go with (B)`, `it has to be D`.
fn chosen_by_verb(text: &str, letter: &dyn Fn(&str) -> Option<usize>) -> Option<usize> {
    static CHOSEN: LazyLock<Regex> = LazyLock::new(|| {
        regex(&format!(
            r"(?x)\b(?:choose|chose|pick|select|selected|go(?:ing)?\s+with|went\s+with|opt\s+for|answer|say|guess|conclude|lean\s+toward|leaning\s+toward|[Ii]t\s+is|[Ii]t's|has\s+to\s+be|must\s+be|would\s+be|[Oo]ption|[Cc]hoice|suggests|to|matches|supports)s?
            \s*:?\s+(?:that\s+)?(?:the\s+)?(?:answer\s+|option\s+|choice\s+|letter\s+)?{LETTER}"
        ))
    });
    CHOSEN
        .captures_iter(text)
        .filter_map(|found| {
            let name = found.get(1)?;
            let is_capital = name.as_str().chars().all(char::is_uppercase);
            let is_article = name.as_str() == "A" && is_word_next(text, name.end());
            let is_self = name.as_str() == "I";
            (is_capital && !is_article && !is_self && !is_refused(text, found.get(0)?.start()))
                .then(|| letter(name.as_str()))?
        })
        .last()
}

/// Returns whether one of the three words before rejects the choice: `I would not choose B`.
fn is_refused(text: &str, start: usize) -> bool {
    let before: Vec<&str> = text[..start].split_whitespace().rev().take(3).collect();
    before.iter().any(|word| {
        matches!(*word, "not" | "cannot" | "never" | "rule" | "eliminate") || word.ends_with("n't")
    })
}

/// Finds the option whose words are the whole text.
fn whole_text<T: AsRef<str>>(text: &str, options: &[T]) -> Option<usize> {
    let text = folded(text);
    let mut equal = (0..options.len()).filter(|&i| folded(options[i].as_ref()) == text);
    match (equal.next(), equal.next()) {
        (Some(i), None) if !text.is_empty() => Some(i),
        _ => None,
    }
}

/// Returns a text in lower case, with single spaces and without punctuation around words.
fn folded(text: &str) -> String {
    text.split_whitespace()
        .map(|word| word.trim_matches(|c: char| ".,;:!?\"'()[]".contains(c)))
        .filter(|word| !word.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

/// Finds all letters in brackets.
fn in_brackets(text: &str, letter: &dyn Fn(&str) -> Option<usize>) -> Vec<usize> {
    static BRACKETS: LazyLock<Regex> = LazyLock::new(|| regex(r"[(\[]([A-Z])[)\]]"));
    let found = BRACKETS.captures_iter(text);
    found.filter_map(|found| letter(&found[1])).collect()
}

/// Finds a letter that is the last line.
fn at_end(text: &str, letter: &dyn Fn(&str) -> Option<usize>) -> Option<usize> {
    static LINE: LazyLock<Regex> =
        LazyLock::new(|| regex(r#"^[>\s]*["'(\[]*([A-Z])["')\]]*(?:[.):].*)?$"#));
    let last = text.lines().rev().find(|line| !line.trim().is_empty())?;
    letter(&LINE.captures(last.trim())?[1])
}

/// Finds all capital letters that stand alone, except `I`, and except `A` where it is an article.
fn alone(text: &str, letter: &dyn Fn(&str) -> Option<usize>) -> Vec<usize> {
    static ALONE: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?:^|[\s(\[:,'])([A-Z])(?:[\s.,;:)\]!?']|$)"));
    ALONE
        .captures_iter(text)
        .filter_map(|found| {
            let name = found.get(1)?;
            let is_article = name.as_str() == "A" && is_word_next(text, name.end());
            let is_initial = text[name.end()..].starts_with(". ")
                && text[name.end() + 2..].starts_with(char::is_uppercase)
                && name.start() > 0;
            (!is_article && !is_initial && name.as_str() != "I").then(|| letter(name.as_str()))?
        })
        .collect()
}

/// Returns the option of a list that holds only one, possibly several times.
fn only(found: Vec<usize>) -> Option<usize> {
    let first = *found.first()?;
    found.iter().all(|&other| other == first).then_some(first)
}

/// Finds the only option whose words occur in the text. Where the words of an option are contained
/// in those of a longer one that occurs, the longer one counts.
fn named<T: AsRef<str>>(text: &str, options: &[T]) -> Option<usize> {
    let text = format!(" {} ", folded(text));
    let words: Vec<String> = options
        .iter()
        .map(|option| format!(" {} ", folded(option.as_ref())))
        .collect();
    let occurs = |i: &usize| words[*i].trim().len() > 1 && text.contains(&words[*i]);
    let found: Vec<usize> = (0..options.len()).filter(occurs).collect();
    let longest: Vec<usize> = found
        .iter()
        .copied()
        .filter(|&i| {
            !found
                .iter()
                .any(|&j| j != i && words[j].len() > words[i].len() && words[j].contains(&words[i]))
        })
        .collect();
    match longest[..] {
        [i] => Some(i),
        _ => None,
    }
}

/// Returns whether a text says yes (true) or no (false); `None` when it says neither, or both.
///
/// ```
/// use lac_eval::answer::said_yes;
///
/// assert_eq!(said_yes("Yes, it does."), Some(true));
/// assert_eq!(said_yes("The statement is not true."), Some(false));
/// assert_eq!(said_yes("The passage does not mention it."), None);
/// ```
pub fn said_yes(text: &str) -> Option<bool> {
    static STATED: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r#"(?ix)\b(?:answer|response|output|conclusion|statement|claim|result|it|this|that)\b
            [^.\n]{0,40}?(?:\bis\b|\bwould\s+be\b|\bshould\s+be\b|[:=])\s*
            (?:therefore\s+|thus\s+|clearly\s+|most\s+likely\s+|simply\s+|indeed\s+|actually\s+)*
            ["'(\[<{]*(not\s+|n't\s+)?["']*(yes|no|true|false|correct|incorrect)\b"#,
        )
    });
    static BOXED: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?i)\\?boxed\s*\{\s*(yes|no|true|false)\s*\}"));
    static START: LazyLock<Regex> = LazyLock::new(|| {
        regex(r#"(?i)^["'(\[<{\s]*(not\s+)?(yes|no|true|false|correct|incorrect)\b"#)
    });
    static WORD: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"(?i)(\b(?:not|isn't|is not|never)\s+)?\b(yes|no|true|false)\b([^\w]|$)(\w*)")
    });
    static FORM: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?i)[(\[]?\b(?:true\s*/\s*false|yes\s*/\s*no)\b[)\]]?"));
    // The answer's format can be repeated from the prompt: `True/False`.
    let text = plain(&FORM.replace_all(text, ""));
    let is_yes = |word: &str| matches!(word.to_lowercase().as_str(), "yes" | "true" | "correct");
    if let Some(found) = BOXED.captures_iter(&text).last() {
        return Some(is_yes(&found[1]));
    }
    if let Some(found) = START.captures(&text) {
        // "No information is given": a quantity, not an answer.
        let rest = &text[found.get(0)?.end()..];
        let is_quantity = &found[2].to_lowercase() == "no"
            && rest.starts_with(' ')
            && !rest[1..].starts_with(|c: char| !c.is_alphabetic())
            && !rest[1..].starts_with("it ")
            && !rest[1..].starts_with("the ")
            && !rest[1..].starts_with("they ");
        if !is_quantity {
            return Some(is_yes(&found[2]) != found.get(1).is_some());
        }
    }
    if let Some(found) = STATED.captures_iter(&text).last() {
        let rest = &text[found.get(2)?.end()..];
        let is_quantity =
            found[2].eq_ignore_ascii_case("no") && is_word_next(&format!("x{rest}"), 1);
        if !is_quantity {
            return Some(is_yes(&found[2]) != found.get(1).is_some());
        }
    }
    let said: Vec<bool> = WORD
        .captures_iter(&text)
        .filter(|found| {
            !(found[2].eq_ignore_ascii_case("no") && &found[3] == " " && !found[4].is_empty())
        })
        .map(|found| is_yes(&found[2]) != found.get(1).is_some())
        .collect();
    let first = *said.first()?;
    said.iter().all(|&other| other == first).then_some(first)
}

#[cfg(test)]
mod tests;
