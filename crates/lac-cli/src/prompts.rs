//! The options that name prompts, and their tokens.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lac_models::Tokenizer;
use lac_session::{Prompt, PromptSource, Template};

use crate::numbers::whole;
use crate::out_file::Named;
use crate::prompt_file::{read_conversation, read_prompts};

/// Options that name one prompt.
#[derive(Args)]
#[command(next_help_heading = "Prompt")]
pub struct PromptArgs {
    #[command(flatten)]
    source: OnePrompt,
    /// Take --prompt as it is, without the chat template
    #[arg(long, conflicts_with = "messages")]
    raw: bool,
}

/// Exactly one of these.
#[derive(Args)]
#[group(id = "PromptSource", required = true, multiple = false)]
struct OnePrompt {
    /// A text; it goes through the chat template when the model has one
    #[arg(long, value_name = "TEXT")]
    prompt: Option<String>,
    /// Token ids as they are, without a beginning-of-text token: 1,2,3
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = whole(0..=u32::MAX))]
    prompt_ids: Option<Vec<u32>>,
    /// A JSON file with messages: [{"role": "user", "content": "…"}, …]
    #[arg(long, value_name = "FILE")]
    messages: Option<PathBuf>,
}

/// Options that name any number of prompts.
#[derive(Args)]
#[command(next_help_heading = "Prompts")]
pub struct PromptsArgs {
    #[command(flatten)]
    source: ManyPrompts,
    /// Take the prompts as they are, without the chat template
    #[arg(long)]
    raw: bool,
}

/// At least one of these, where prompts are needed.
#[derive(Args)]
struct ManyPrompts {
    /// A text; it goes through the chat template when the model has one. May be given several
    /// times
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// A file of prompts, one a line; where its name ends in .jsonl, lines of {"prompt": "…"}
    /// (with "raw": true for one that bypasses the chat template) or {"messages": […]}; where it
    /// ends in .json, one conversation
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
}

impl PromptArgs {
    /// Returns whether the prompt needs a tokenizer.
    pub fn needs_tokenizer(&self) -> bool {
        self.source.prompt_ids.is_none()
    }

    /// Returns the file that the prompt is read from.
    pub fn file(&self) -> Option<Named<'_>> {
        let messages = self.source.messages.as_ref();
        messages.map(|path| ("--messages", path.as_path()))
    }

    /// Renders the chat template and tokenises.
    pub fn resolve(&self, tokenizer: Option<&Tokenizer>) -> Result<Prompt> {
        let OnePrompt {
            prompt,
            prompt_ids,
            messages,
        } = &self.source;
        let (flag, source) = match (prompt_ids, messages, prompt) {
            (Some(ids), _, _) => {
                return Prompt::of_ids(ids.clone()).context("--prompt-ids");
            }
            (None, Some(path), _) => {
                let conversation = Box::new(read_conversation(path)?);
                let flag = path.display().to_string();
                (flag, PromptSource::Conversation(conversation))
            }
            (None, None, Some(text)) => ("--prompt".to_owned(), self.template().of(text)),
            (None, None, None) => bail!("give --prompt, --prompt-ids or --messages"),
        };
        let tokenizer = tokenizer.context("--prompt and --messages need a tokenizer.json")?;
        Prompt::new(&source, tokenizer).context(flag)
    }

    /// Returns the tokens of another text, encoded as `--prompt` is.
    pub fn encode(&self, text: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        Ok(Prompt::new(&self.template().of(text), tokenizer)?.ids)
    }

    /// Returns the tokens of each prompt of a file, as `--prompts` names it.
    ///
    /// # Errors
    /// Those of [`PromptsArgs::resolve`].
    pub fn resolve_file(
        &self,
        path: &Path,
        tokenizer: &Tokenizer,
        max_context: usize,
    ) -> Result<Vec<Vec<u32>>> {
        of_file(path, self.template(), tokenizer, max_context)
    }

    fn template(&self) -> Template {
        if self.raw {
            Template::Bypassed
        } else {
            Template::Applied
        }
    }
}

impl PromptsArgs {
    /// Returns the file that prompts are read from.
    pub fn file(&self) -> Option<Named<'_>> {
        let prompts = self.source.prompts.as_ref();
        prompts.map(|path| ("--prompts", path.as_path()))
    }

    /// Returns the tokens of each prompt.
    ///
    /// # Errors
    /// A file that cannot be read, or a prompt that is empty or longer than `max_context` tokens, with its line.
    pub fn resolve(&self, tokenizer: &Tokenizer, max_context: usize) -> Result<Vec<Vec<u32>>> {
        let template = if self.raw {
            Template::Bypassed
        } else {
            Template::Applied
        };
        ensure!(
            !self.source.prompt.is_empty() || self.source.prompts.is_some(),
            "there is no prompt: give --prompt or --prompts"
        );
        let mut prompts = Vec::new();
        for text in &self.source.prompt {
            let ids = ids_of(&template.of(text), tokenizer, max_context);
            prompts.push(ids.context("--prompt")?);
        }
        if let Some(path) = &self.source.prompts {
            prompts.extend(of_file(path, template, tokenizer, max_context)?);
        }
        Ok(prompts)
    }
}

/// Returns the tokens of each prompt of a file.
///
/// # Errors
/// Those of [`PromptsArgs::resolve`].
pub fn prompts_of_file(
    path: &Path,
    tokenizer: &Tokenizer,
    max_context: usize,
) -> Result<Vec<Vec<u32>>> {
    of_file(path, Template::Applied, tokenizer, max_context)
}

/// Tokenises each prompt of a file; `--raw` bypasses the template whatever a line says.
fn of_file(
    path: &Path,
    template: Template,
    tokenizer: &Tokenizer,
    max_context: usize,
) -> Result<Vec<Vec<u32>>> {
    let prompts = read_prompts(path)?.into_iter().map(|prompt| {
        let source = match (template, prompt.source) {
            (Template::Bypassed, PromptSource::Text { text, .. }) => template.of(&text),
            (Template::Bypassed, PromptSource::Conversation(_)) => {
                bail!(
                    "{}: --raw takes texts, and this is a conversation",
                    prompt.place
                )
            }
            (Template::Applied, source) => source,
        };
        ids_of(&source, tokenizer, max_context).with_context(|| prompt.place.to_string())
    });
    prompts.collect()
}

fn ids_of(source: &PromptSource, tokenizer: &Tokenizer, max_context: usize) -> Result<Vec<u32>> {
    let prompt = Prompt::new(source, tokenizer)?;
    prompt.check_fits(max_context)?;
    Ok(prompt.ids)
}
