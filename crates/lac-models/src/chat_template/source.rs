//! The templates of a checkpoint, and which one renders a conversation.

use std::collections::BTreeMap;

use super::error::ChatError;
use super::options::ChatOptions;

/// The template text as a checkpoint stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateSource {
    /// One template for every conversation.
    Single(String),
    /// Templates by name. `tool_use`, if it exists, renders conversations with tools, and `default` the others, unless
    /// [`ChatOptions::template`] names another.
    Named(BTreeMap<String, String>),
    /// What is stored cannot be read, for this reason. Rendering fails with it, and plain prompts still work.
    Malformed(String),
}

/// Templates, each with the file that errors name.
#[derive(Clone, Debug)]
pub(super) enum Templates {
    Single(TemplateText),
    /// What holds the templates, and the templates by name.
    Named(String, BTreeMap<String, TemplateText>),
    /// The file and what is wrong with it.
    Malformed(String, String),
}

/// A template's file and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TemplateText {
    pub(super) file: String,
    pub(super) text: String,
}

impl Templates {
    pub(super) fn new(file: String, source: TemplateSource) -> Self {
        let template = |text| TemplateText {
            file: file.clone(),
            text,
        };
        match source {
            TemplateSource::Single(text) => Self::Single(template(text)),
            TemplateSource::Named(texts) => {
                let named = texts.into_iter();
                let named = named.map(|(name, text)| (name, template(text))).collect();
                Self::Named(file, named)
            }
            TemplateSource::Malformed(message) => Self::Malformed(file, message),
        }
    }

    /// Returns the template that renders a conversation with these options, as transformers'
    /// `apply_chat_template` chooses it: the one that is asked for, `tool_use` where there are tools, `default`.
    /// Documents choose nothing.
    pub(super) fn choose(&self, options: &ChatOptions) -> Result<&TemplateText, ChatError> {
        let (file, templates) = match (self, &options.template) {
            (Self::Malformed(file, message), _) => {
                return Err(ChatError::Malformed {
                    file: file.clone(),
                    message: message.clone(),
                });
            }
            // A single template counts as the default.
            (Self::Single(template), None) => return Ok(template),
            (Self::Single(template), Some(name)) if name == "default" => return Ok(template),
            (Self::Single(template), Some(name)) => {
                return Err(ChatError::NoSuchTemplate {
                    file: template.file.clone(),
                    name: name.clone(),
                    names: vec!["default".to_owned()],
                });
            }
            (Self::Named(file, templates), _) => (file, templates),
        };
        if let Some(name) = &options.template {
            return templates
                .get(name)
                .ok_or_else(|| ChatError::NoSuchTemplate {
                    file: file.clone(),
                    name: name.clone(),
                    names: templates.keys().cloned().collect(),
                });
        }
        let for_tools = options
            .tools
            .as_ref()
            .and_then(|_| templates.get("tool_use"));
        for_tools
            .or_else(|| templates.get("default"))
            .ok_or_else(|| ChatError::NoDefault {
                file: file.clone(),
                names: templates.keys().cloned().collect(),
            })
    }

    /// Returns the texts, each with its name.
    pub(super) fn texts(&self) -> Vec<(Option<String>, String)> {
        match self {
            Self::Single(template) => vec![(None, template.text.clone())],
            Self::Named(_, templates) => templates
                .iter()
                .map(|(name, template)| (Some(name.clone()), template.text.clone()))
                .collect(),
            Self::Malformed(..) => Vec::new(),
        }
    }

    /// Returns all that decides which text a conversation gives, as the parts of a hash.
    pub(super) fn parts(&self) -> Vec<&str> {
        match self {
            Self::Single(template) => vec![&template.text],
            Self::Named(_, templates) => templates
                .iter()
                .flat_map(|(name, template)| [name.as_str(), template.text.as_str()])
                .collect(),
            Self::Malformed(_, message) => vec![message],
        }
    }
}
