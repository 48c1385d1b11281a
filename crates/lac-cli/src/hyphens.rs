//! Values that begin with a hyphen: `--prompt "- a list"`, `--alpha -1`.
//!
//! By default clap takes every word that begins with a hyphen for a flag. Told to take it for a value, it would also take
//! a flag whose value was forgotten (`--prompt --json`). Here a word is the value of the option before it where it cannot
//! be a flag: unless it is the name of one, or looks like the misspelt name of one.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// Joins such values to their options, as `--prompt=- a list`, which clap takes for what it is.
pub fn join_values(command: &Command, words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words.into_iter().peekable();
    let mut command = command;
    let mut joined: Vec<OsString> = words.next().into_iter().collect();
    while let Some(word) = words.next() {
        if word == "--" {
            joined.push(word);
            joined.extend(words);
            break;
        }
        if let Some(subcommand) = command.find_subcommand(&word) {
            command = subcommand;
            joined.push(word);
            continue;
        }
        if option(command, &word).is_none() {
            joined.push(word);
            continue;
        }
        match words.next_if(|value| !looks_like_flag(command, value)) {
            Some(value) if starts_with_hyphen(&value) => {
                let mut both = word;
                both.push("=");
                both.push(value);
                joined.push(both);
            }
            Some(value) => joined.extend([word, value]),
            None => joined.push(word),
        }
    }
    joined
}

/// Returns what to write where a word after an option was taken for a flag, by clap or by its writer.
pub fn hint(command: &Command, words: &[OsString]) -> Option<String> {
    let mut command = command;
    for pair in words.windows(2) {
        let [word, value] = pair else { continue };
        if let Some(subcommand) = command.find_subcommand(word) {
            command = subcommand;
        }
        let is_taken =
            option(command, word).is_some() && value != "--help" && looks_like_flag(command, value);
        if is_taken {
            let (word, value) = (word.to_string_lossy(), value.to_string_lossy());
            return Some(format!(
                "{word} is followed by another flag: where {value} is meant as its value, write '{word}={value}'"
            ));
        }
    }
    None
}

/// Returns the option of this name, if it takes a value.
fn option<'c>(command: &'c Command, word: &OsStr) -> Option<&'c Arg> {
    let name = word.to_str()?.strip_prefix("--")?;
    let mut options = command.get_arguments();
    options.find(|option| option.get_long() == Some(name) && option.get_action().takes_values())
}

/// Returns whether a word is a flag's name, or could be meant as one: `--json`, `--jsno`, `--top-k=3`, `-h`, `--`.
fn looks_like_flag(command: &Command, word: &OsStr) -> bool {
    let Some(word) = word.to_str() else {
        return false;
    };
    let is_short = |letter: &str| {
        let mut arguments = command.get_arguments();
        arguments.any(|argument| {
            argument
                .get_short()
                .is_some_and(|short| letter == short.to_string())
        })
    };
    match (word.strip_prefix("--"), word.strip_prefix('-')) {
        (Some(name), _) => {
            let name = name.split_once('=').map_or(name, |(name, _)| name);
            name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && !name.starts_with('-')
        }
        (None, Some(letter)) => is_short(letter),
        (None, None) => false,
    }
}

fn starts_with_hyphen(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-") && word != "-"
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser, error::ErrorKind};

    use super::*;
    use crate::Cli;

    fn command() -> Command {
        let mut command = Cli::command();
        command.build();
        command
    }

    fn words(line: &[&str]) -> Vec<OsString> {
        ["lac"].iter().chain(line).map(OsString::from).collect()
    }

    #[test]
    fn a_word_that_cannot_be_a_flag_is_a_value() {
        let check = |value: &str| {
            for (line, flag) in [
                (&["generate", "--model", "demo"][..], "--prompt"),
                (&["tokenize", "--model", "demo"], "--prompt"),
                (&["trace", "--threads", "2", "--model", "demo"], "--prompt"),
                (&["verify", "--model", "demo"], "--prompt"),
                (&["plan", "--model", "demo", "--out", "-"], "--prompt"),
                (&["generate", "--model", "demo", "--prompt", "a"], "--stop"),
                (&["generate", "--prompt", "a"], "--model"),
                (
                    &["eval", "--model", "demo", "--benchmark", "mmlu"],
                    "--data",
                ),
                (&["eval", "report", "a.jsonl"], "--out"),
                (&["export", "a.parquet"], "--out"),
            ] {
                let line = words(&[line, &[flag, value]].concat());
                let mut expected = line[..line.len() - 2].to_vec();
                expected.push(format!("{flag}={value}").into());
                let joined = join_values(&command(), line);
                assert_eq!(joined, expected);
                Cli::try_parse_from(joined).map(drop).unwrap();
            }
        };
        for value in [
            "- list",
            "-list",
            "--- a/file",
            "---",
            "-1",
            "-- and so on",
            "--what is it?",
            "--ça",
            "-ha",
            "-\n",
        ] {
            check(value);
        }
    }

    #[test]
    fn other_words_stay_as_they_are() {
        for line in [
            &["generate", "--prompt", "a", "--json"][..],
            &["trace", "--json", "-", "--prompt", "-"],
            &["generate", "--prompt=- list", "--stop=-"],
            &["generate", "--prompt", "--json"],
            &["generate", "--prompt", "--jsno"],
            &["generate", "--prompt", "--top-k=3"],
            &["generate", "--prompt", "-h"],
            &["generate", "--json", "- list"],
            &["generate", "--", "--prompt", "- list"],
            &["report", "--", "--out", "-x y"],
            &["--threads"],
            &[],
        ] {
            let line = words(line);
            assert_eq!(join_values(&command(), line.clone()), line);
        }
    }

    #[test]
    fn a_flag_in_a_values_place_is_refused_with_what_to_write() {
        for value in ["--json", "--jsno", "--max-new-tokens", "--top-k=3", "--"] {
            let line = words(&["generate", "--model", "demo", "--prompt", value]);
            let joined = join_values(&command(), line);
            let error = Cli::try_parse_from(&joined).map(drop).unwrap_err();
            assert_ne!(error.kind(), ErrorKind::DisplayHelp);
            let hint = hint(&command(), &joined).unwrap();
            assert!(
                hint.contains(&format!("write '--prompt={value}'")),
                "{hint}"
            );
        }
        assert_eq!(hint(&command(), &words(&["generate", "--jsno"])), None);
    }
}
