//! Chat templates: from messages to the text that a model was trained on.
//!
//! A checkpoint describes its prompt format by a Jinja template, written for Python's Jinja2 as transformers sets it
//! up. [`ChatTemplate`] renders such templates with the same result, within bounds on time and size, since a template
//! comes from a downloaded file and is not trusted.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use chrono::Local;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};

mod arguments;
mod conversation;
mod environment;
mod error;
mod expression;
mod floats;
mod json;
mod operators;
mod options;
mod portable;
mod printf;
mod python;
mod signature;
mod source;
mod str_format;
mod text_filters;
mod tokens;
mod values;
mod wrap;

pub use conversation::{Conversation, MessagesError, messages_from_json};
pub use error::ChatError;
pub use lac_core::text_model::ChatMessage;
pub use options::ChatOptions;
pub use source::TemplateSource;
use source::{TemplateText, Templates};

/// A checkpoint's chat template, ready to render.
///
/// ```
/// use lac_models::chat_template::{ChatMessage, ChatOptions, ChatTemplate, TemplateSource};
///
/// let source = "{% for m in messages %}[{{ m.role }}] {{ m.content|trim }}{{ eos_token }}\n{% endfor %}";
/// let template = ChatTemplate::new("chat_template.jinja", TemplateSource::Single(source.into()));
/// let tokens = serde_json::json!({ "eos_token": "</s>" });
/// let text = template.render(
///     &[ChatMessage::new("user", " Hi ")],
///     tokens.as_object().unwrap(),
///     &ChatOptions::default(),
/// )?;
/// assert_eq!(text, "[user] Hi</s>\n");
/// # Ok::<(), lac_models::chat_template::ChatError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    templates: Templates,
    limits: RenderLimits,
    env: Environment<'static>,
}

/// Bounds on what rendering a template may cost.
///
/// Steps bound time and memory: each 64 bytes that a template makes, shown or not, count as a step. Steps do not count
/// comparisons of values that share their parts: forty lists, each of which holds the one before it twice, are small
/// and take hours to compare. `time` bounds those. A template that exceeds it is left behind on its thread, which ends
/// when the rendering or the program does. In WebAssembly, where there is one thread, steps alone are bounded, by a
/// sixteenth of `steps`.
///
/// That thread's stack is large enough to compare, print and free a list that is nested as deeply as the steps allow.
/// Only the part of the stack that is used takes memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RenderLimits {
    /// Steps of the template engine. One message takes a few hundred.
    pub steps: u64,
    /// Bytes of the rendered text.
    pub bytes: usize,
    /// Depth of nested macro calls and loops.
    pub depth: usize,
    /// How long the caller waits.
    pub time: Duration,
}

impl ChatTemplate {
    /// Makes a template of its source text. Error messages name `file`.
    ///
    /// A fault in the template is reported when it is rendered, so a checkpoint with a broken template can still be
    /// used with plain prompts.
    pub fn new(file: impl Into<String>, source: TemplateSource) -> Self {
        Self::of_templates(Templates::new(file.into(), source))
    }

    /// Makes a template of named templates, each with its own file and its text. `place` is what holds them.
    pub(crate) fn of_files(place: String, named: BTreeMap<String, (String, String)>) -> Self {
        let named = named
            .into_iter()
            .map(|(name, (file, text))| (name, TemplateText { file, text }))
            .collect();
        Self::of_templates(Templates::Named(place, named))
    }

    fn of_templates(templates: Templates) -> Self {
        let template = Self {
            templates,
            limits: RenderLimits::default(),
            env: environment::environment(),
        };
        template.with_limits(RenderLimits::default())
    }

    /// Returns the templates' texts, each with its name; a single one has none, and one that cannot be read no text.
    pub(crate) fn texts(&self) -> Vec<(Option<String>, String)> {
        self.templates.texts()
    }

    /// Sets the bounds.
    #[must_use]
    pub fn with_limits(mut self, limits: RenderLimits) -> Self {
        self.env.set_fuel(Some(limits.steps));
        self.env.set_recursion_limit(limits.depth);
        self.limits = limits;
        self
    }

    /// Returns all that decides which text a conversation gives, as the parts of a hash.
    pub(crate) fn parts(&self) -> Vec<&str> {
        self.templates.parts()
    }

    /// Renders a conversation.
    ///
    /// `special_tokens` become variables of the template: `bos_token`, `eos_token` and so on. A token that the
    /// checkpoint does not have must be absent, not null.
    ///
    /// # Errors
    /// [`ChatError`]: the template is faulty, rejects the conversation or exceeds a bound.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        special_tokens: &Map<String, Value>,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        let chosen = self.templates.choose(options)?;
        let file = || chosen.file.clone();
        if cfg!(target_family = "wasm") {
            // No other thread, and no larger stack, is to be had: fewer steps bound both the time and the depth.
            let limits = RenderLimits {
                steps: self.limits.steps / 16,
                ..self.limits
            };
            let template = self.clone().with_limits(limits);
            return template.render_here(chosen, messages, special_tokens, options);
        }
        // Where the system has no room for so large a stack, fewer steps need a smaller one.
        let steps = self.limits.steps;
        let receiver = self
            .start(chosen, steps, messages, special_tokens, options)
            .or_else(|_| self.start(chosen, steps / 16, messages, special_tokens, options))
            .map_err(|source| ChatError::NoThread {
                file: file(),
                source,
            })?;
        match receiver.recv_timeout(self.limits.time) {
            Ok(rendered) => rendered,
            Err(RecvTimeoutError::Timeout) => Err(ChatError::TooSlow {
                file: file(),
                seconds: self.limits.time.as_secs_f64(),
            }),
            Err(RecvTimeoutError::Disconnected) => Err(ChatError::Template {
                file: file(),
                line: 0,
                message: "the template engine failed".to_owned(),
            }),
        }
    }

    /// Starts to render within `steps` steps on another thread. The thread owns all that it needs, since the caller may
    /// leave it behind.
    fn start(
        &self,
        chosen: &TemplateText,
        steps: u64,
        messages: &[ChatMessage],
        special_tokens: &Map<String, Value>,
        options: &ChatOptions,
    ) -> io::Result<Receiver<Result<String, ChatError>>> {
        let limits = RenderLimits {
            steps,
            ..self.limits
        };
        let template = self.clone().with_limits(limits);
        let (chosen, messages) = (chosen.clone(), messages.to_vec());
        let (special_tokens, options) = (special_tokens.clone(), options.clone());
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::Builder::new()
            .name("chat template".to_owned())
            .stack_size(stack_size(steps))
            .spawn(move || {
                // The receiver is gone when the caller has stopped to wait.
                let _ = sender.send(template.render_here(
                    &chosen,
                    &messages,
                    &special_tokens,
                    &options,
                ));
            })?;
        Ok(receiver)
    }

    /// Renders on the calling thread.
    fn render_here(
        &self,
        chosen: &TemplateText,
        messages: &[ChatMessage],
        special_tokens: &Map<String, Value>,
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        let source = portable::portable_source(&chosen.text);
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
        env.template_from_named_str(&chosen.file, &source)
            .and_then(|template| {
                template
                    .render_captured_to(minijinja::Value::from(variables), &mut out)
                    .map(drop)
            })
            .map_err(|error| self.explain(&error, chosen, &out))?;
        // The engine writes whole strings, so the text is valid UTF-8.
        Ok(String::from_utf8_lossy(&out.text).into_owned())
    }

    /// Makes an error of the engine's error and its causes.
    fn explain(
        &self,
        error: &minijinja::Error,
        chosen: &TemplateText,
        out: &BoundedWriter,
    ) -> ChatError {
        let file = chosen.file.clone();
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

/// Collects the rendered text up to a bound.
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

/// Returns the size of a stack on which the engine can compare, print and free lists that are nested as deeply as
/// `steps` can make them.
fn stack_size(steps: u64) -> usize {
    /// Bytes that the engine needs without any nesting.
    const BASE: u64 = 8 << 20;
    // Measured with minijinja 3.1: 500 bytes a level with optimisations, 2000 without.
    const PER_LEVEL: u64 = if cfg!(debug_assertions) { 2560 } else { 768 };
    usize::try_from(steps.saturating_mul(PER_LEVEL).saturating_add(BASE)).unwrap_or(usize::MAX)
}

/// Cuts a template's message, which can have any length.
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

/// Returns the engine's message without the place, which [`ChatError`] names itself.
fn without_place(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

#[cfg(test)]
mod tests;
