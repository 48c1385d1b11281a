//! What a template is given besides the messages.

use chrono::{NaiveDate, NaiveDateTime};
use serde_json::{Map, Value};

/// The variables that a template is given besides messages and special tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatOptions {
    /// JSON schemas of the tools that the model may call.
    pub tools: Option<Vec<Value>>,
    /// Documents for templates that support retrieval.
    pub documents: Option<Vec<Value>>,
    /// The name of the template that renders the conversation, where the checkpoint has several: `rag` for instance.
    /// `None` takes `tool_use`, if there is one, for conversations with tools, and `default` for the others.
    pub template: Option<String>,
    /// Whether the text ends with the start of an assistant's answer, which the model then writes. On by default.
    pub add_generation_prompt: bool,
    /// The time that `strftime_now` formats; the present time if `None`.
    pub(super) now: Option<NaiveDateTime>,
    /// Further variables, such as `date_string` or `enable_thinking`. They replace special tokens of the same name, as
    /// in transformers.
    pub extra: Map<String, Value>,
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self {
            tools: None,
            documents: None,
            template: None,
            add_generation_prompt: true,
            now: None,
            extra: Map::new(),
        }
    }
}

impl ChatOptions {
    /// Sets the present time to noon of a day; `None` if there is no such day. Several templates write the date into
    /// the prompt, so a prompt can be reproduced only with its date.
    pub fn on_day(self, year: i32, month: u32, day: u32) -> Option<Self> {
        let day = NaiveDate::from_ymd_opt(year, month, day)?;
        Some(Self {
            now: Some(day.and_hms_opt(12, 0, 0)?),
            ..self
        })
    }

    /// Sets the present time to a local time such as `2026-07-01T12:00:00`; `None` if the text has another form.
    pub fn at(self, time: &str) -> Option<Self> {
        Some(Self {
            now: Some(time.parse().ok()?),
            ..self
        })
    }
}
