//! Files of prompts, in every form that the commands take.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use lac_files::{LineEnds, read_text};
use lac_models::chat_template::Conversation;
use lac_session::{PromptSource, Template};
use serde::Deserialize;
use serde_json::Value;

/// A prompt of a file.
#[derive(Clone, Debug)]
pub struct FilePrompt {
    pub place: Place,
    pub source: PromptSource,
}

/// Where a prompt stands, for errors.
#[derive(Clone, Debug)]
pub struct Place {
    path: PathBuf,
    /// Counted from 1; `None` where the file holds one prompt.
    line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match self.line {
            Some(line) => write!(f, ", line {line}"),
            None => Ok(()),
        }
    }
}

/// The forms, told apart by the end of a file's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A text on each line.
    Lines,
    /// A JSON object on each line.
    JsonLines,
    /// One conversation.
    Json,
}

impl Form {
    fn of(path: &Path) -> Self {
        let extension = path
            .extension()
            .map(|extension| extension.to_ascii_lowercase());
        match extension.as_ref().and_then(|extension| extension.to_str()) {
            Some("jsonl") => Self::JsonLines,
            Some("json") => Self::Json,
            _ => Self::Lines,
        }
    }
}

/// What a line of JSON may be.
const JSON_LINE: &str = r#"expected {"prompt": "…"}, with "raw": true for a text that bypasses the chat template, or {"messages": [{"role": "user", "content": "…"}, …]}"#;

/// Reads the prompts of a file: one a line, blank lines left out. Where the file's name ends in `.jsonl`, a line is a
/// JSON object with a prompt or with messages; where it ends in `.json`, the file is one conversation.
///
/// # Errors
/// A file that cannot be read, that holds no prompt, or a line in another form, by its number.
pub fn read_prompts(path: &Path) -> Result<Vec<FilePrompt>> {
    let form = Form::of(path);
    if form == Form::Json {
        let place = Place {
            path: path.to_owned(),
            line: None,
        };
        let conversation = read_conversation(path).context(
            "a .json file is one conversation (prompts go into a .jsonl file, one on each line)",
        )?;
        return Ok(vec![FilePrompt {
            place,
            source: PromptSource::Conversation(Box::new(conversation)),
        }]);
    }
    let text = read(path, LineEnds::Newline)?;
    let mut prompts = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = Place {
            path: path.to_owned(),
            line: Some(idx + 1),
        };
        let source = match form {
            Form::JsonLines => of_json_line(line).with_context(|| place.to_string())?,
            Form::Lines | Form::Json => PromptSource::Text {
                text: line.to_owned(),
                template: Template::Applied,
            },
        };
        prompts.push(FilePrompt { place, source });
    }
    ensure!(
        !prompts.is_empty(),
        "{} holds no prompt: {}",
        path.display(),
        match form {
            Form::JsonLines => "on each line, ".to_owned() + JSON_LINE,
            Form::Lines | Form::Json => "one is expected on each line".to_owned(),
        }
    );
    Ok(prompts)
}

/// Reads a file of messages: an array of them, or an object that holds it with tools and other variables of templates.
pub fn read_conversation(path: &Path) -> Result<Conversation> {
    let text = read(path, LineEnds::AsWritten)?;
    Conversation::from_json(&text).with_context(|| path.display().to_string())
}

fn read(path: &Path, line_ends: LineEnds) -> Result<String> {
    read_text(path, line_ends).with_context(|| format!("cannot read {}", path.display()))
}

/// A line of a file of prompts whose name ends in .jsonl.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPrompt {
    prompt: String,
    #[serde(default)]
    raw: bool,
}

fn of_json_line(line: &str) -> Result<PromptSource> {
    let value: Value = serde_json::from_str(line).map_err(|error| {
        anyhow!(
            "the line is not JSON: {}; {JSON_LINE}",
            without_line(&error)
        )
    })?;
    let Value::Object(fields) = value else {
        bail!("the line holds {}; {JSON_LINE}", kind(&value));
    };
    if fields.contains_key("messages") && !fields.contains_key("prompt") {
        return Ok(PromptSource::Conversation(Box::new(
            Conversation::from_json(line)?,
        )));
    }
    let prompt: JsonPrompt = serde_json::from_str(line)
        .map_err(|error| anyhow!("{}; {JSON_LINE}", without_line(&error)))?;
    Ok(PromptSource::Text {
        text: prompt.prompt,
        template: if prompt.raw {
            Template::Bypassed
        } else {
            Template::Applied
        },
    })
}

/// Returns an error's text with the column alone: the line is the file's, and is named beside it.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column", " at column")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, bytes: &[u8]) -> Result<Vec<PromptSource>> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let prompts = read_prompts(&path)?;
        Ok(prompts.into_iter().map(|prompt| prompt.source).collect())
    }

    fn text(text: &str, template: Template) -> PromptSource {
        PromptSource::Text {
            text: text.to_owned(),
            template,
        }
    }

    fn user(text: &str) -> PromptSource {
        let json = serde_json::json!([{ "role": "user", "content": text }]).to_string();
        PromptSource::Conversation(Box::new(Conversation::from_json(&json).unwrap()))
    }

    #[test]
    fn every_form_is_read() {
        use Template::{Applied, Bypassed};
        let check = |name: &str, bytes: &[u8], expected: &[PromptSource]| {
            assert_eq!(read_as(name, bytes).unwrap(), expected, "{name}");
        };
        let two = [text("one", Applied), text("two words ", Applied)];
        check("p.txt", b"one\n\n \t\ntwo words \n", &two);
        check("p.txt", "\u{feff}one\r\ntwo words \r\n".as_bytes(), &two);
        check("prompts", b"one\rtwo words ", &two);
        // A plain text may look like anything.
        check(
            "p.txt",
            b"{\"prompt\": 1}",
            &[text("{\"prompt\": 1}", Applied)],
        );
        let lines = "\u{feff}{\"prompt\": \"one\"}\r\n\r\n{\"prompt\": \"a\\nb\", \"raw\": true}\r\n\
            {\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}";
        let three = [text("one", Applied), text("a\nb", Bypassed), user("hi")];
        check("p.jsonl", lines.as_bytes(), &three);
        check("P.JSONL", lines.as_bytes(), &three);
        let messages = "\u{feff}[{\"role\": \"user\",\r\n \"content\": \"hi\"}]\r\n";
        check("p.json", messages.as_bytes(), &[user("hi")]);
    }

    #[test]
    fn other_forms_are_refused_with_their_place() {
        let check = |name: &str, bytes: &[u8], parts: &[&str]| {
            let error = format!("{:#}", read_as(name, bytes).unwrap_err());
            for part in parts.iter().chain(&[name]) {
                assert!(error.contains(part), "{part:?} is not in: {error}");
            }
        };
        let expected = r#"expected {"prompt": "…"}"#;
        for (line, reason) in [
            ("plain", "not JSON: expected value at column 1"),
            ("\"plain\"", "holds a text"),
            ("[1]", "holds a list"),
            ("7", "holds a number"),
            ("null", "holds null"),
            ("{}", "missing field `prompt`"),
            (r#"{"text": "a"}"#, "unknown field `text`"),
            (
                r#"{"prompt": 7}"#,
                "invalid type: integer `7`, expected a string at column 12",
            ),
            (r#"{"prompt": "a", "raw": "yes"}"#, "expected a boolean"),
            (r#"{"prompt": "a", "prompt": "b"}"#, "duplicate field"),
            (
                r#"{"prompt": "a", "messages": []}"#,
                "unknown field `messages`",
            ),
            (r#"{"prompt": "a"} {"prompt": "b"}"#, "trailing characters"),
        ] {
            let lines = format!("{{\"prompt\": \"a\"}}\n\n{line}\n");
            check("p.jsonl", lines.as_bytes(), &["line 3", reason, expected]);
        }
        check(
            "p.jsonl",
            b"{\"messages\": []}",
            &["line 1", "the conversation is empty"],
        );
        check("p.jsonl", b"\n\n", &["holds no prompt", expected]);
        check(
            "p.txt",
            b"",
            &["holds no prompt", "one is expected on each line"],
        );
        check("p.txt", b"caf\xe9\n", &["cannot read", "save it as UTF-8"]);
        let one_conversation = "a .json file is one conversation";
        check("p.json", b"", &[one_conversation, "not valid JSON"]);
        check(
            "p.json",
            b"[\"a\", \"b\"]",
            &[one_conversation, "message 0"],
        );
        check(
            "p.json",
            b"{\"prompt\": \"a\"}",
            &[one_conversation, "an array of messages"],
        );
    }
}
