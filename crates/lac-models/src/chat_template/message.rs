//! The conversation a chat template is given.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
///
/// Every field of the original JSON object is kept in its original order, and
/// a field that was absent stays absent: templates ask both
/// `message.content is none` and `'tool_calls' in message`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Message {
    fields: Map<String, Value>,
}

/// A conversation read from a file: messages, and what else the file held.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Conversation {
    /// The messages, oldest first.
    pub messages: Vec<Message>,
    /// JSON schemas of the tools the model may call, if the file named any.
    pub tools: Option<Vec<Value>>,
    /// Documents for templates that support retrieval, if the file named any.
    pub documents: Option<Vec<Value>>,
    /// Every other field of the file; templates may read them as variables.
    pub extra: Map<String, Value>,
}

/// Why a file of messages could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MessagesError {
    /// The text is not JSON.
    #[error("messages are not valid JSON")]
    Json(#[from] serde_json::Error),
    /// The JSON is neither an array of messages nor an object that holds one.
    #[error("expected an array of messages or an object with a \"messages\" array")]
    NoMessages,
    /// There is not a single message to render.
    #[error("the conversation is empty")]
    Empty,
    /// A message is not an object with a textual role.
    #[error("message {index}: {reason}")]
    Message {
        /// Position in the array, counted from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A field beside the messages has the wrong type.
    #[error("field \"{field}\" must be an array")]
    NotAnArray {
        /// Name of the field.
        field: &'static str,
    },
}

impl Message {
    /// A message with a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("role".to_owned(), Value::String(role.into()));
        fields.insert("content".to_owned(), Value::String(content.into()));
        Self { fields }
    }

    /// A message from the fields of a JSON object.
    ///
    /// # Errors
    /// Gives the reason if there is no textual `role`.
    pub fn from_fields(fields: Map<String, Value>) -> Result<Self, &'static str> {
        match fields.get("role") {
            Some(Value::String(_)) => Ok(Self { fields }),
            Some(_) => Err("\"role\" must be a string"),
            None => Err("\"role\" is missing"),
        }
    }

    /// Who speaks: `system`, `user`, `assistant`, `tool`, …
    pub fn role(&self) -> &str {
        self.fields
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// What is said: usually a string, a list of parts for multimodal models,
    /// and absent or null beside tool calls.
    pub fn content(&self) -> Option<&Value> {
        self.fields.get("content")
    }

    /// All fields, in the order in which they were given.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// The same message with one more field, such as `tool_calls`.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: Value) -> Self {
        self.fields.insert(field.into(), value);
        self
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        Self::from_fields(fields).map_err(serde::de::Error::custom)
    }
}

impl Conversation {
    /// Reads either a bare array of messages or an object with `messages` and,
    /// optionally, `tools`, `documents` and further template variables.
    ///
    /// # Errors
    /// See [`MessagesError`]; the message at fault is named by its position.
    pub fn from_json(text: &str) -> Result<Self, MessagesError> {
        let (messages, mut rest) = match serde_json::from_str(text)? {
            Value::Array(messages) => (messages, Map::new()),
            // `shift_remove` keeps the order of the remaining fields.
            Value::Object(mut fields) => match fields.shift_remove("messages") {
                Some(Value::Array(messages)) => (messages, fields),
                _ => return Err(MessagesError::NoMessages),
            },
            _ => return Err(MessagesError::NoMessages),
        };
        if messages.is_empty() {
            return Err(MessagesError::Empty);
        }
        Ok(Self {
            messages: messages
                .into_iter()
                .enumerate()
                .map(read_message)
                .collect::<Result<_, _>>()?,
            tools: take_array(&mut rest, "tools")?,
            documents: take_array(&mut rest, "documents")?,
            extra: rest,
        })
    }
}

/// Reads the messages of a conversation and drops what stands beside them.
///
/// # Errors
/// See [`Conversation::from_json`].
pub fn messages_from_json(text: &str) -> Result<Vec<Message>, MessagesError> {
    Conversation::from_json(text).map(|conversation| conversation.messages)
}

fn read_message((index, value): (usize, Value)) -> Result<Message, MessagesError> {
    let Value::Object(fields) = value else {
        let reason = "expected an object";
        return Err(MessagesError::Message { index, reason });
    };
    Message::from_fields(fields).map_err(|reason| MessagesError::Message { index, reason })
}

fn take_array(
    fields: &mut Map<String, Value>,
    field: &'static str,
) -> Result<Option<Vec<Value>>, MessagesError> {
    match fields.shift_remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(_) => Err(MessagesError::NotAnArray { field }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_pass_whole_and_in_order() {
        let json = r#"{"tools":[{"x":1}],"messages":[{"z":1,"role":"assistant","tool_calls":[],"content":null}],"date_string":"now"}"#;
        let read = Conversation::from_json(json).unwrap();
        assert_eq!(
            serde_json::to_string(&read.messages).unwrap(),
            r#"[{"z":1,"role":"assistant","tool_calls":[],"content":null}]"#
        );
        assert_eq!(read.tools.unwrap().len(), 1);
        assert_eq!(read.extra["date_string"], "now");
        assert_eq!(read.messages[0].role(), "assistant");
        assert_eq!(read.messages[0].content(), Some(&Value::Null));
    }

    #[test]
    fn faults_are_named() {
        let check = |json: &str, expected: &str| {
            let error = messages_from_json(json).unwrap_err();
            assert_eq!(error.to_string(), expected, "{json}");
        };
        check("[", "messages are not valid JSON");
        check(
            "3",
            "expected an array of messages or an object with a \"messages\" array",
        );
        check(
            "{}",
            "expected an array of messages or an object with a \"messages\" array",
        );
        check("[]", "the conversation is empty");
        check(r#"[{"role":"user"},3]"#, "message 1: expected an object");
        check(r#"[{"content":"a"}]"#, "message 0: \"role\" is missing");
        check(r#"[{"role":7}]"#, "message 0: \"role\" must be a string");
        check(
            r#"{"messages":[{"role":"user"}],"tools":{}}"#,
            "field \"tools\" must be an array",
        );
    }
}
