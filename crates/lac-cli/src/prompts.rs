//! Several prompts at once, for commands that learn from them or try something on each.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lac_core::CausalLm;
use lac_models::{ChatOptions, Message, PromptKind, Tokenizer};

/// Prompts, each a text.
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

/// A line of a .jsonl file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonPrompt {
    prompt: String,
    #[serde(default)]
    raw: bool,
}

impl PromptsArgs {
    /// The tokens of each prompt, checked against the model's context.
    pub fn resolve(&self, tokenizer: &Tokenizer, model: &impl CausalLm) -> Result<Vec<Vec<u32>>> {
        let mut prompts = Vec::new();
        for text in &self.source.prompt {
            prompts.push(self.tokens(tokenizer, text, false).context("--prompt")?);
        }
        if let Some(path) = &self.source.prompts {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let is_json = path
                .extension()
                .is_some_and(|extension| extension == "jsonl");
            for (idx, line) in text.lines().enumerate() {
                if line.trim().is_empty() {
                    continue;
                }
                let at = || format!("{}, line {}", path.display(), idx + 1);
                let ids = if is_json {
                    let prompt: JsonPrompt = serde_json::from_str(line).with_context(at)?;
                    self.tokens(tokenizer, &prompt.prompt, prompt.raw)
                } else {
                    self.tokens(tokenizer, line, false)
                };
                let ids = ids.with_context(at)?;
                if let Some(max_context) = model.max_context() {
                    ensure!(
                        ids.len() <= max_context,
                        "{}: the prompt has {} tokens, the model's context holds {max_context}",
                        at(),
                        ids.len()
                    );
                }
                prompts.push(ids);
            }
            ensure!(!prompts.is_empty(), "{} holds no prompt", path.display());
        }
        Ok(prompts)
    }

    fn tokens(&self, tokenizer: &Tokenizer, text: &str, is_raw: bool) -> Result<Vec<u32>> {
        let ids = if self.raw || is_raw || !tokenizer.has_chat_template() {
            tokenizer.encode_prompt(text, PromptKind::Raw)?
        } else {
            let messages = [Message::new("user", text)];
            let rendered = tokenizer.render_chat(&messages, &ChatOptions::default())?;
            tokenizer.encode_prompt(&rendered, PromptKind::Rendered)?
        };
        if ids.is_empty() {
            bail!("the prompt is empty: it holds no token");
        }
        Ok(ids)
    }
}
