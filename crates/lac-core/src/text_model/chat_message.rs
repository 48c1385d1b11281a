//! One message of a conversation.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
///
/// All fields of the JSON object are kept, and a field that is absent stays absent: chat templates ask both
/// `message.content is none` and `'tool_calls' in message`. Their order is kept too where serde_json's feature
/// `preserve_order` is on, as lac-models has it.
///
/// ```
/// use lac_core::text_model::ChatMessage;
///
/// let message = ChatMessage::new("user", "Hi");
/// assert_eq!((message.role(), message.text()), ("user", Some("Hi")));
///
/// let read: ChatMessage = serde_json::from_str(r#"{"role": "user", "content": "Hi"}"#)?;
/// assert_eq!(read, message);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ChatMessage {
    fields: Map<String, Value>,
}

impl ChatMessage {
    /// Makes a message of a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        let mut fields = Map::new();
        fields.insert("role".to_owned(), Value::String(role.into()));
        fields.insert("content".to_owned(), Value::String(content.into()));
        Self { fields }
    }

    /// Makes a message of the fields of a JSON object.
    ///
    /// # Errors
    /// The reason, when there is no `role` or it is not a string.
    pub fn from_fields(fields: Map<String, Value>) -> Result<Self, &'static str> {
        match fields.get("role") {
            Some(Value::String(_)) => Ok(Self { fields }),
            Some(_) => Err("\"role\" must be a string"),
            None => Err("\"role\" is missing"),
        }
    }

    /// Returns who speaks: `system`, `user`, `assistant`, `tool`, …
    pub fn role(&self) -> &str {
        self.fields
            .get("role")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns what is said: usually a string; a list of parts for multimodal models; absent or null beside tool
    /// calls.
    pub fn content(&self) -> Option<&Value> {
        self.fields.get("content")
    }

    /// Returns the content where it is a string.
    pub fn text(&self) -> Option<&str> {
        self.content()?.as_str()
    }

    /// Returns all fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    /// Adds a field, such as `tool_calls`, or replaces its value.
    #[must_use]
    pub fn with(mut self, field: impl Into<String>, value: Value) -> Self {
        self.fields.insert(field.into(), value);
        self
    }
}

impl<'de> Deserialize<'de> for ChatMessage {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        Self::from_fields(fields).map_err(serde::de::Error::custom)
    }
}
