//! Checks that code and documents use the words of `docs/glossary.md`, and not those that it gives up.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Files in which words that were given up may stand: the glossary, and the list of what was renamed.
const MAY_NAME_OLD_WORDS: [&str; 2] = ["docs/glossary.md", "CHANGELOG.md"];

/// Checks every Rust and Markdown file that git tracks.
pub fn check(root: &Path, tracked: &[PathBuf]) -> Result<()> {
    let path = root.join("docs/glossary.md");
    let glossary = Glossary::read(&read(&path)?);
    let is_text = |path: &&PathBuf| path.extension().is_some_and(|e| e == "rs" || e == "md");
    let mut unused = glossary.words;
    let mut wrong = Vec::new();
    for path in tracked.iter().filter(is_text) {
        let name = path.strip_prefix(root).unwrap_or(path);
        if name == Path::new(MAY_NAME_OLD_WORDS[0]) {
            continue;
        }
        let text = read(path)?;
        let lower = text.to_lowercase();
        unused.retain(|word| !lower.contains(word));
        if MAY_NAME_OLD_WORDS.iter().any(|old| name == Path::new(old)) {
            continue;
        }
        for (old, new) in &glossary.given_up {
            if let Some(line_idx) = text.lines().position(|line| has_word(line, old)) {
                let line = line_idx + 1;
                wrong.push(format!("{}:{line}: {old} is called {new}", name.display()));
            }
        }
    }
    wrong.extend(
        unused
            .iter()
            .map(|word| format!("docs/glossary.md: {word:?} is used nowhere else")),
    );
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// The tables of the glossary.
struct Glossary {
    /// The words that are explained, in lower case.
    words: Vec<String>,
    /// Words that are not used, each with the one that is.
    given_up: Vec<(String, String)>,
}

impl Glossary {
    fn read(text: &str) -> Self {
        let mut glossary = Self {
            words: Vec::new(),
            given_up: Vec::new(),
        };
        let mut is_given_up = false;
        for line in text.lines() {
            let mut cells = line.split('|').skip(1).map(str::trim);
            match (cells.next(), cells.next()) {
                (Some("word"), _) => is_given_up = false,
                (Some("not"), _) => is_given_up = true,
                (Some(first), Some(second)) if !first.starts_with("---") => {
                    let plain = |cell: &str| cell.replace('`', "");
                    if is_given_up {
                        glossary.given_up.push((plain(first), plain(second)));
                    } else {
                        // "prefill (PP)" and "norm, n" are found by their first words.
                        let end = first.find([',', '(']).unwrap_or(first.len());
                        glossary.words.push(first[..end].trim().to_lowercase());
                    }
                }
                _ => {}
            }
        }
        glossary
    }
}

/// Whether a word stands in a line, not as a part of another one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read() {
        let text = "# Glossary\n\n| word | meaning |\n| --- | --- |\n| norm, n | a length |\n| Prefill (PP) | x |\n\n\
                    ## Others\n\n| not | but |\n| --- | --- |\n| `Old` | `New` |\n";
        let glossary = Glossary::read(text);
        assert_eq!(glossary.words, ["norm", "prefill"]);
        assert_eq!(glossary.given_up, [("Old".to_owned(), "New".to_owned())]);
    }

    #[test]
    fn parts_of_words_are_other_words() {
        for (line, is_there) in [
            ("use a::Old;", true),
            ("`Old`", true),
            ("Old", true),
            ("OldFashioned", false),
            ("the_Old", false),
            ("old", false),
        ] {
            assert_eq!(has_word(line, "Old"), is_there, "{line}");
        }
    }
}
