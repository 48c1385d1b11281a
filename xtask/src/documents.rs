//! Checks that documents name only files, headings, functions and tests that exist.

use std::collections::HashSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Checks every Markdown file that git tracks.
pub fn check(root: &Path, tracked: &[PathBuf]) -> Result<()> {
    let has_ending = |path: &&PathBuf, ending: &str| path.extension().is_some_and(|e| e == ending);
    let mut defined = HashSet::new();
    for path in tracked.iter().filter(|path| has_ending(path, "rs")) {
        defined.extend(definitions(&read(path)?));
    }
    let known = Known {
        tracked,
        defined: &defined,
    };
    let mut wrong = Vec::new();
    for path in tracked.iter().filter(|path| has_ending(path, "md")) {
        let name = path.strip_prefix(root).unwrap_or(path).display();
        for (line_idx, line) in prose(&read(path)?) {
            let missing = links(line).find(|link| !leads_somewhere(path, link));
            let missing = missing.or_else(|| spans(line).find(|span| !known.is_there(span)));
            if let Some(missing) = missing {
                wrong.push(format!("{name}:{}: there is no {missing}", line_idx + 1));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// Everything that a document may name.
struct Known<'a> {
    tracked: &'a [PathBuf],
    defined: &'a HashSet<String>,
}

impl Known<'_> {
    /// Whether a name in backticks, if it is a source file's or a path of Rust, is one of ours.
    fn is_there(&self, name: &str) -> bool {
        if is_source_file(name) {
            return self.tracked.iter().any(|path| path.ends_with(name));
        }
        match rust_path(name) {
            Some(last) => self.defined.contains(last),
            None => true,
        }
    }
}

fn is_source_file(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    (name.ends_with(".rs") || name.ends_with(".py")) && name.chars().all(is_plain)
}

/// The last part of a path such as `module::function`. Paths through types are left alone, since
/// they may be those of other crates.
fn rust_path(name: &str) -> Option<&str> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ':';
    let (_, last) = name.rsplit_once("::")?;
    name.chars().all(is_plain).then_some(last)
}

/// Names of the functions and modules of a Rust file.
fn definitions(source: &str) -> impl Iterator<Item = String> + '_ {
    source.lines().flat_map(|line| {
        ["fn ", "mod "].into_iter().filter_map(move |keyword| {
            let (before, after) = line.split_once(keyword)?;
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            (!before.contains("//")).then(|| after[..end].to_owned())
        })
    })
}

/// The lines of a Markdown file outside its code blocks.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The texts in backticks.
fn spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The targets of a line's links, without those to other sites.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        .filter(|link| !link.contains("://"))
}

/// Whether there is the file that a link names, and the heading if it names one.
fn leads_somewhere(document: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let folder = document.parent().unwrap_or(Path::new("."));
    let target = match file {
        "" => document.to_owned(),
        file => normal(&folder.join(file)),
    };
    target.exists() && (heading.is_empty() || has_heading(&target, heading))
}

/// A path without its `..`: they are not to lead through links of the file system.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            other => normal.push(other),
        }
    }
    normal
}

fn has_heading(path: &Path, anchor: &str) -> bool {
    let text = read(path).unwrap_or_default();
    prose(&text).any(|(_, line)| line.starts_with('#') && anchor_of(line) == anchor)
}

/// The anchor that GitHub gives a heading.
fn anchor_of(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect::<String>()
        .to_lowercase()
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_found_and_what_is_not_is_not() {
        let tracked = [PathBuf::from("/r/crates/a/src/plan/selection.rs")];
        let source = "    fn a_draft_is_forgotten() {\nmod kernel;\n// an fn in_a_comment()\n";
        let defined = definitions(source).collect();
        let known = Known {
            tracked: &tracked,
            defined: &defined,
        };
        for (name, is_there) in [
            ("plan/selection.rs", true),
            ("lan/selection.rs", false),
            ("plan/choice.rs", false),
            ("skipping::a_draft_is_forgotten", true),
            ("skipping::a_draft_is_kept", false),
            ("skipping::in_a_comment", false),
            ("lac_core::kernel", true),
            ("Tensor::cat", true),
            ("cargo run --example x.rs", true),
        ] {
            assert_eq!(known.is_there(name), is_there, "{name}");
        }
    }

    #[test]
    fn headings_have_the_anchors_of_github() {
        for (heading, anchor) in [
            ("## A model of your own", "a-model-of-your-own"),
            ("### Why `α`, and when?", "why-α-and-when"),
        ] {
            assert_eq!(anchor_of(heading), anchor);
        }
    }

    #[test]
    fn code_blocks_are_left_alone() {
        let text = "a `x::y`\n```sh\n`x::z` [l](gone.md)\n```\n[l](b.md#c) `d`\n";
        let lines: Vec<usize> = prose(text).map(|(idx, _)| idx).collect();
        assert_eq!(lines, [0, 4]);
        assert_eq!(
            links("[l](b.md#c) [m](https://x)").collect::<Vec<_>>(),
            ["b.md#c"]
        );
        assert_eq!(spans("a `x::y` b `z`").collect::<Vec<_>>(), ["x::y", "z"]);
    }
}
