//! Texts that become prompts, and the options of commands that take several.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lac_files::{LineEnds, read_text};
use lac_models::{AddSpecialTokens, ChatMessage, ChatOptions, Tokenizer, tokenizer::EncodedChat};

/// Options that name prompts.
#[derive(Args)]
#[command(next_help_heading = "Prompts")]
pub struct PromptsArgs {
    #[command(flatten)]
    source: PromptsSource,
    /// Take the prompts as they are, without the chat template
    #[arg(long)]
    raw: bool,
}

/// At least one of these.
#[derive(Args)]
#[group(required = true, multiple = true)]
struct PromptsSource {
    /// A text; it goes through the chat template when the model has one. May be given several
    /// times
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// A file of prompts, one a line; where its name ends in .jsonl, lines of {"prompt": "…"}
    /// (with "raw": true for one that bypasses the chat template)
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
}

/// A line of a file of prompts whose name ends in .jsonl.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPrompt {
    prompt: String,
    #[serde(default)]
    raw: bool,
}

impl PromptsArgs {
    /// Returns the tokens of each prompt.
    ///
    /// # Errors
    /// A file that cannot be read, or a prompt of a file that is empty or longer than `max_context` tokens, with its
    /// line.
    pub fn resolve(&self, tokenizer: &Tokenizer, max_context: usize) -> Result<Vec<Vec<u32>>> {
        let mut prompts = Vec::new();
        for text in &self.source.prompt {
            prompts.push(
                self.tokens(tokenizer, text, Template::Applied)
                    .context("--prompt")?,
            );
        }
        if let Some(path) = &self.source.prompts {
            let is_json = path
                .extension()
                .is_some_and(|extension| extension == "jsonl");
            prompts.extend(of_lines(path, |line| {
                let ids = if is_json {
                    let prompt: JsonPrompt = serde_json::from_str(line)?;
                    let template = if prompt.raw {
                        Template::Bypassed
                    } else {
                        Template::Applied
                    };
                    self.tokens(tokenizer, &prompt.prompt, template)?
                } else {
                    self.tokens(tokenizer, line, Template::Applied)?
                };
                ensure!(
                    ids.len() <= max_context,
                    "the prompt has {} tokens, the model's context holds {max_context}",
                    ids.len()
                );
                Ok(ids)
            })?);
        }
        Ok(prompts)
    }

    /// Tokenises a text; `--raw` bypasses the template whatever `template` says.
    fn tokens(&self, tokenizer: &Tokenizer, text: &str, template: Template) -> Result<Vec<u32>> {
        let template = if self.raw {
            Template::Bypassed
        } else {
            template
        };
        let prompt = encode(text, template, tokenizer)?;
        prompt.check()?;
        Ok(prompt.ids)
    }
}

/// A prompt, rendered and tokenised.
pub struct Prompt {
    /// The text that was tokenised; empty for ids given as they are.
    pub text: String,
    pub ids: Vec<u32>,
}

impl Prompt {
    /// Fails for a prompt without tokens, which no model can continue.
    pub fn check(&self) -> Result<()> {
        if self.ids.is_empty() {
            bail!("the prompt is empty: it holds no token");
        }
        Ok(())
    }
}

/// Whether a text goes through the chat template.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Template {
    /// The text is a user's message, if the model has a template; otherwise it is taken as it is.
    Applied,
    /// The text is taken as it is.
    Bypassed,
}

/// Tokenises a text, in the chat template or as it is.
pub fn encode(text: &str, template: Template, tokenizer: &Tokenizer) -> Result<Prompt> {
    if template == Template::Bypassed || !tokenizer.has_chat_template() {
        let ids = tokenizer.encode(text, AddSpecialTokens::Once)?;
        let text = text.to_owned();
        return Ok(Prompt { text, ids });
    }
    let messages = [ChatMessage::new("user", text)];
    let EncodedChat { text, ids } = tokenizer.encode_chat(&messages, &ChatOptions::default())?;
    Ok(Prompt { text, ids })
}

/// Returns the tokens of each prompt of a file: one prompt a line, blank lines left out.
pub fn of_lines(
    path: &Path,
    mut tokens: impl FnMut(&str) -> Result<Vec<u32>>,
) -> Result<Vec<Vec<u32>>> {
    let text = read_text(path, LineEnds::Newline)
        .with_context(|| format!("cannot read {}", path.display()))?;
    let mut prompts = Vec::new();
    for (idx, line) in text.lines().enumerate() {
        if !line.trim().is_empty() {
            let ids = tokens(line);
            prompts.push(ids.with_context(|| format!("{}, line {}", path.display(), idx + 1))?);
        }
    }
    ensure!(
        !prompts.is_empty(),
        "{} holds no prompt: one is expected on each line",
        path.display()
    );
    Ok(prompts)
}
