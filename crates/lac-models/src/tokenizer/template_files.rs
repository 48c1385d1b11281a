//! Where a folder keeps its chat templates.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde_json::{Map, Value};

use super::error::TokenizerError;
use super::optional_file::{read_json, read_text};
use crate::chat_template::{ChatTemplate, TemplateSource};

/// The files of a folder that hold chat templates, apart from `tokenizer_config.json`: the template of its own, and the
/// one of the processor.
pub const TEMPLATE_FILES: [&str; 2] = ["chat_template.jinja", "chat_template.json"];

/// The folder of named chat templates: `tool_use.jinja` in it is the template named `tool_use`.
pub const TEMPLATE_FOLDER: &str = "additional_chat_templates";

/// The end of the names of the files in [`TEMPLATE_FOLDER`].
pub const TEMPLATE_SUFFIX: &str = ".jinja";

/// Reads the chat templates of a folder, as transformers 5 does: from `chat_template.jinja` and
/// [`TEMPLATE_FOLDER`] together, else from the tokenizer's config, else from the processor's `chat_template.json`.
pub(super) fn read(
    folder: &Path,
    config: &str,
    in_config: Option<Value>,
) -> Result<Option<ChatTemplate>, TokenizerError> {
    let [own, processor] = TEMPLATE_FILES;
    let path = |name: &str| folder.join(name).display().to_string();

    let mut named = additional_templates(folder)?;
    // A template of that name in the folder wins, as in transformers.
    if !named.contains_key("default")
        && let Some(text) = read_text(&folder.join(own))?
    {
        if named.is_empty() {
            let source = TemplateSource::Single(text);
            return Ok(Some(ChatTemplate::new(path(own), source)));
        }
        named.insert("default".to_owned(), (path(own), text));
    }
    if !named.is_empty() {
        return Ok(Some(ChatTemplate::of_files(path(TEMPLATE_FOLDER), named)));
    }
    if let Some(field) = in_config.filter(|field| !field.is_null()) {
        return Ok(Some(ChatTemplate::new(path(config), source(field))));
    }
    let fields: Option<Map<String, Value>> = read_json(folder, processor)?;
    let field = fields.and_then(|mut fields| fields.remove("chat_template"));
    Ok(field
        .filter(|field| !field.is_null())
        .map(|field| ChatTemplate::new(path(processor), source(field))))
}

/// Reads a `chat_template` field: a text, a list of names and texts, or an object of texts by name.
///
/// Anything else is reported when a conversation is rendered, so that plain prompts still work.
fn source(field: Value) -> TemplateSource {
    let malformed = |what: &str| {
        TemplateSource::Malformed(format!(
            "\"chat_template\" {what}: expected a text, a list of {{\"name\", \"template\"}} or an object of texts by name"
        ))
    };
    let mut named = BTreeMap::new();
    match field {
        Value::String(text) => return TemplateSource::Single(text),
        Value::Array(templates) => {
            for template in templates {
                let text = |key: &str| template.get(key).and_then(Value::as_str);
                let (Some(name), Some(text)) = (text("name"), text("template")) else {
                    return malformed("has an entry without a textual \"name\" and \"template\"");
                };
                named.insert(name.to_owned(), text.to_owned());
            }
        }
        Value::Object(templates) => {
            for (name, text) in templates {
                let Value::String(text) = text else {
                    return malformed(&format!("names a template {name:?} that is not a text"));
                };
                named.insert(name, text);
            }
        }
        _ => return malformed("is of another type"),
    }
    TemplateSource::Named(named)
}

/// Reads the templates of [`TEMPLATE_FOLDER`]: by name, their file and their text.
fn additional_templates(
    folder: &Path,
) -> Result<BTreeMap<String, (String, String)>, TokenizerError> {
    let folder = folder.join(TEMPLATE_FOLDER);
    let failed = |source| TokenizerError::Read {
        file: folder.clone(),
        source,
    };
    let entries = match crate::file::paths_in(&folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(BTreeMap::new());
        }
        Err(source) => return Err(failed(source)),
    };
    let mut templates = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(failed)?;
        let file_name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(name) = file_name.strip_suffix(TEMPLATE_SUFFIX)
            && let Some(text) = read_text(&path)?
        {
            templates.insert(name.to_owned(), (path.display().to_string(), text));
        }
    }
    Ok(templates)
}

#[cfg(test)]
mod tests;
