//! Chat templates: from messages to the text that a model was trained on.
//!
//! A checkpoint describes its prompt format by a Jinja template, written for
//! Python's Jinja2 as transformers sets it up. [`ChatTemplate`] renders such
//! templates with the same result, within bounds on time and size: a template
//! comes from a downloaded file and is not trusted.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use chrono::{Local, NaiveDateTime};
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

mod environment;
mod json;
mod message;
mod python;

pub use message::{Conversation, Message, MessagesError, messages_from_json};

/// A checkpoint's chat template, ready to render.
///
/// ```
/// # use lac_models::{ChatOptions, ChatTemplate, Message, TemplateSource};
/// let source = "{% for m in messages %}[{{ m.role }}] {{ m.content|trim }}{{ eos_token }}\n{% endfor %}";
/// let template = ChatTemplate::new("chat_template.jinja", TemplateSource::Single(source.into()));
/// let tokens = serde_json::json!({ "eos_token": "</s>" });
/// let text = template.render(
///     &[Message::new("user", " Hi ")],
///     tokens.as_object().unwrap(),
///     &ChatOptions::default(),
/// )?;
/// assert_eq!(text, "[user] Hi</s>\n");
/// # Ok::<(), lac_models::ChatError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    file: String,
    source: TemplateSource,
    limits: RenderLimits,
    env: Environment<'static>,
}

/// The template text as a checkpoint stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TemplateSource {
    /// One template for every conversation.
    Single(String),
    /// Templates by name; `tool_use` serves conversations with tools if it
    /// exists, `default` the others.
    Named(BTreeMap<String, String>),
}

/// What a template is given besides messages and special tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatOptions {
    /// JSON schemas of the tools that the model may call.
    pub tools: Option<Vec<Value>>,
    /// Documents for templates that support retrieval.
    pub documents: Option<Vec<Value>>,
    /// Whether the text ends with the start of an assistant's answer, so that
    /// the model goes on to write one. On by default.
    pub add_generation_prompt: bool,
    /// The time that `strftime_now` tells; the present one if absent.
    now: Option<NaiveDateTime>,
    /// Further variables, such as `date_string` or `enable_thinking`. They
    /// take precedence over the special tokens, as in transformers.
    pub extra: Map<String, Value>,
}

/// Bounds on what rendering a template may cost.
///
/// Steps bound the time and the memory: a step pays for 64 bytes of what a template makes, shown or
/// not. They miss one thing: values that share their parts, each a list of the one before it
/// twice, are small and take for ever to be compared. That is what the time is for. A template
/// that exceeds it goes on, unheard, on the thread that it was rendered on, until the program ends.
///
/// That thread's stack is large enough to compare, print and free a list that is nested as deep as
/// the steps allow; only the part of it that is used takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RenderLimits {
    /// Steps of the template engine; a few hundred serve one message. Each 64
    /// bytes that a template produces count as one more step.
    pub steps: u64,
    /// Size of the rendered text in bytes.
    pub bytes: usize,
    /// Depth of nested macro calls and loops.
    pub depth: usize,
    /// The time after which the caller waits no longer.
    pub time: Duration,
}

/// Why a conversation could not be rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The checkpoint names several templates and none of them is `default`.
    #[error("{file}: no template is named \"default\", only {}", names.join(", "))]
    NoDefault {
        /// Where the templates come from.
        file: String,
        /// Names of the templates that exist.
        names: Vec<String>,
    },
    /// The template itself called `raise_exception`, for instance because
    /// roles do not alternate as the model expects.
    #[error("{file}:{line}: the template rejects the conversation: {message}")]
    Rejected {
        /// Where the template comes from.
        file: String,
        /// Line of the template.
        line: usize,
        /// The template's own words.
        message: String,
    },
    /// The template is not valid, or uses a value in a way that fails.
    #[error("{file}:{line}: {message}")]
    Template {
        /// Where the template comes from.
        file: String,
        /// Line of the template, 0 if unknown.
        line: usize,
        /// The engine's description.
        message: String,
    },
    /// The template ran longer than [`RenderLimits::steps`].
    #[error("{file}: rendering did not end within {steps} steps")]
    TooManySteps {
        /// Where the template comes from.
        file: String,
        /// The limit that was exceeded.
        steps: u64,
    },
    /// The template ran longer than [`RenderLimits::time`].
    #[error("{file}: rendering did not end within {seconds} s")]
    TooSlow {
        /// Where the template comes from.
        file: String,
        /// The limit that was exceeded.
        seconds: f64,
    },
    /// There was no thread to render on.
    #[error("{file}: cannot start a thread to render the template")]
    NoThread {
        /// Where the template comes from.
        file: String,
        /// The system's own words.
        source: io::Error,
    },
    /// The text grew beyond [`RenderLimits::bytes`].
    #[error("{file}: the rendered text exceeds {bytes} bytes")]
    TooLarge {
        /// Where the template comes from.
        file: String,
        /// The limit that was exceeded.
        bytes: usize,
    },
}

impl ChatTemplate {
    /// A template from its source text; `file` is what error messages name.
    ///
    /// A fault in the template surfaces when it is rendered, so that a
    /// checkpoint with a broken template still serves plain prompts.
    pub fn new(file: impl Into<String>, source: TemplateSource) -> Self {
        let source = match source {
            TemplateSource::Single(text) => {
                TemplateSource::Single(environment::portable_source(&text))
            }
            TemplateSource::Named(texts) => TemplateSource::Named(
                texts
                    .into_iter()
                    .map(|(name, text)| (name, environment::portable_source(&text)))
                    .collect(),
            ),
        };
        let template = Self {
            file: file.into(),
            source,
            limits: RenderLimits::default(),
            env: environment::environment(),
        };
        template.with_limits(RenderLimits::default())
    }

    /// The same template under other bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: RenderLimits) -> Self {
        self.env.set_fuel(Some(limits.steps));
        self.env.set_recursion_limit(limits.depth);
        self.limits = limits;
        self
    }

    /// The template's text, as it is rendered.
    pub(crate) fn source(&self) -> &TemplateSource {
        &self.source
    }

    /// Renders a conversation.
    ///
    /// `special_tokens` become variables of the template: `bos_token`,
    /// `eos_token` and so on; a token that a checkpoint does not have must be
    /// absent, not null.
    ///
    /// # Errors
    /// See [`ChatError`].
    pub fn render(
        &self,
        messages: &[Message],
        special_tokens: &Map<String, Value>,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        let failed = |message: &str| ChatError::Template {
            file: self.file.clone(),
            line: 0,
            message: message.to_owned(),
        };
        // Where there is no room for so large a stack, fewer steps need a smaller one.
        let steps = self.limits.steps;
        let receiver = self
            .start(steps, messages, special_tokens, options)
            .or_else(|_| self.start(steps / 16, messages, special_tokens, options))
            .map_err(|source| ChatError::NoThread {
                file: self.file.clone(),
                source,
            })?;
        match receiver.recv_timeout(self.limits.time) {
            Ok(rendered) => rendered,
            Err(RecvTimeoutError::Timeout) => Err(ChatError::TooSlow {
                file: self.file.clone(),
                seconds: self.limits.time.as_secs_f64(),
            }),
            Err(RecvTimeoutError::Disconnected) => Err(failed("the template engine failed")),
        }
    }

    /// Starts to render within so many steps, on a thread that owns what it works on: it may be left
    /// behind.
    fn start(
        &self,
        steps: u64,
        messages: &[Message],
        special_tokens: &Map<String, Value>,
        options: &ChatOptions,
    ) -> io::Result<Receiver<Result<String, ChatError>>> {
        let limits = RenderLimits {
            steps,
            ..self.limits
        };
        let template = self.clone().with_limits(limits);
        let messages = messages.to_vec();
        let (special_tokens, options) = (special_tokens.clone(), options.clone());
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("chat template".to_owned())
            .stack_size(stack_size(steps))
            .spawn(move || {
                // Nobody listens any more where the time was up.
                let _ = sender.send(template.render_here(&messages, &special_tokens, &options));
            })?;
        Ok(receiver)
    }

    /// Renders on the stack that there is.
    fn render_here(
        &self,
        messages: &[Message],
        special_tokens: &Map<String, Value>,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        let source = self.source_for(options)?;
        let mut variables: BTreeMap<&str, minijinja::Value> = special_tokens
            .iter()
            .chain(&options.extra)
            .map(|(name, value)| (name.as_str(), engine_value(value)))
            .collect();
        variables.insert("messages", engine_value(messages));
        variables.insert("tools", engine_value(&options.tools));
        variables.insert("documents", engine_value(&options.documents));
        let add_generation_prompt = options.add_generation_prompt.into();
        variables.insert("add_generation_prompt", add_generation_prompt);

        let mut out = BoundedWriter {
            text: Vec::new(),
            left: self.limits.bytes,
            overflowed: false,
        };
        let now = options.now.unwrap_or_else(|| Local::now().naive_local());
        let mut env = self.env.clone();
        env.add_function("strftime_now", move |format: &str| {
            environment::strftime(now, format)
        });
        env.template_from_named_str(&self.file, source)
            .and_then(|template| {
                template
                    .render_captured_to(minijinja::Value::from(variables), &mut out)
                    .map(drop)
            })
            .map_err(|error| self.explain(&error, &out))?;
        // The engine writes whole strings, so this never replaces anything.
        Ok(String::from_utf8_lossy(&out.text).into_owned())
    }

    fn source_for(&self, options: &ChatOptions) -> Result<&str, ChatError> {
        let templates = match &self.source {
            TemplateSource::Single(text) => return Ok(text),
            TemplateSource::Named(templates) => templates,
        };
        let for_tools = options
            .tools
            .as_ref()
            .and_then(|_| templates.get("tool_use"));
        for_tools
            .or_else(|| templates.get("default"))
            .map(String::as_str)
            .ok_or_else(|| ChatError::NoDefault {
                file: self.file.clone(),
                names: templates.keys().cloned().collect(),
            })
    }

    /// Finds what went wrong behind the engine's error.
    fn explain(&self, error: &minijinja::Error, out: &BoundedWriter) -> ChatError {
        let file = self.file.clone();
        if out.overflowed {
            return ChatError::TooLarge {
                file,
                bytes: self.limits.bytes,
            };
        }
        let mut line = error.line().unwrap_or(0);
        let mut message = without_place(error);
        let mut kind = error.kind();
        let mut cause = error.source();
        while let Some(inner) = cause {
            if let Some(raised) = inner.downcast_ref::<environment::Raised>() {
                let message = shortened(&raised.0);
                return ChatError::Rejected {
                    file,
                    line,
                    message,
                };
            }
            if let Some(inner) = inner.downcast_ref::<minijinja::Error>() {
                line = inner.line().unwrap_or(line);
                kind = inner.kind();
                message = format!("{message}: {}", without_place(inner));
            } else {
                message = format!("{message}: {inner}");
            }
            cause = inner.source();
        }
        match kind {
            ErrorKind::OutOfFuel => ChatError::TooManySteps {
                file,
                steps: self.limits.steps,
            },
            _ => ChatError::Template {
                file,
                line,
                message: shortened(&message),
            },
        }
    }
}

impl Default for ChatOptions {
    fn default() -> Self {
        Self {
            tools: None,
            documents: None,
            add_generation_prompt: true,
            now: None,
            extra: Map::new(),
        }
    }
}

impl ChatOptions {
    /// The same as on a given day, at noon, in place of the present time; `None` for a day that no
    /// calendar has. Several templates write the date into the prompt, so set it to reproduce one.
    pub fn on_day(self, year: i32, month: u32, day: u32) -> Option<Self> {
        let day = chrono::NaiveDate::from_ymd_opt(year, month, day)?;
        Some(Self {
            now: Some(day.and_hms_opt(12, 0, 0)?),
            ..self
        })
    }

    /// The same as at a given local time, such as `2026-07-01T12:00:00`; `None` for a text that is
    /// no time of this form.
    pub fn at(self, time: &str) -> Option<Self> {
        Some(Self {
            now: Some(time.parse().ok()?),
            ..self
        })
    }
}

impl Default for RenderLimits {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            bytes: 16 << 20,
            depth: 200,
            time: Duration::from_secs(10),
        }
    }
}

/// Collects the rendered text and refuses to grow beyond a bound.
struct BoundedWriter {
    text: Vec<u8>,
    left: usize,
    overflowed: bool,
}

impl io::Write for BoundedWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            self.overflowed = true;
            return Err(io::ErrorKind::FileTooLarge.into());
        };
        self.left = left;
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stack on which the engine can compare, print and free lists that are nested as deep as so many
/// steps can make them.
fn stack_size(steps: u64) -> usize {
    /// What the engine takes without any nesting.
    const BASE: u64 = 8 << 20;
    // Measured with minijinja 3.1: 500 bytes a level with optimisations, 2000 without.
    const PER_LEVEL: u64 = if cfg!(debug_assertions) { 2560 } else { 768 };
    usize::try_from(steps.saturating_mul(PER_LEVEL).saturating_add(BASE)).unwrap_or(usize::MAX)
}

/// A message of a template, which can be as long as a template likes.
fn shortened(message: &str) -> String {
    const MAX_CHARS: usize = 2000;
    match message.char_indices().nth(MAX_CHARS) {
        None => message.to_owned(),
        Some((end, _)) => format!("{}…", &message[..end]),
    }
}

fn engine_value(value: impl serde::Serialize) -> minijinja::Value {
    Serde(value).into()
}

/// The engine's message without the place, which [`ChatError`] tells itself.
fn without_place(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests;
