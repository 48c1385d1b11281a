//! A conversation read from a file, for a chat template.

use lac_core::text_model::ChatMessage;
use serde_json::{Map, Value};

/// A conversation read from a file: messages, and what else the file held.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Conversation {
    /// The messages, oldest first.
    pub messages: Vec<ChatMessage>,
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
    /// The list of messages is empty.
    #[error("the conversation is empty")]
    Empty,
    /// A message is not an object with a string as its role.
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

impl Conversation {
    /// Reads an array of messages, or an object with `messages` and, optionally, `tools`, `documents` and further
    /// template variables.
    ///
    /// # Errors
    /// [`MessagesError`], with the index of the message at fault.
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

/// Reads the messages of a conversation and ignores the other fields.
///
/// # Errors
/// Those of [`Conversation::from_json`].
pub fn messages_from_json(text: &str) -> Result<Vec<ChatMessage>, MessagesError> {
    Conversation::from_json(text).map(|conversation| conversation.messages)
}

fn read_message((index, value): (usize, Value)) -> Result<ChatMessage, MessagesError> {
    let Value::Object(fields) = value else {
        let reason = "expected an object";
        return Err(MessagesError::Message { index, reason });
    };
    ChatMessage::from_fields(fields).map_err(|reason| MessagesError::Message { index, reason })
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
