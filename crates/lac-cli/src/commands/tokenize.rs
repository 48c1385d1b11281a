//! `lac tokenize`: the prompt as the model will see it.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lac_models::ModelFolder;
use lac_session::LocalModel;
use serde::Serialize;

use crate::output::{print_line, tell, write_json};
use crate::prompts::PromptArgs;

/// Show a prompt as the model sees it: rendered text, token ids, pieces (needs no weights)
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac tokenize --model DIR --prompt \"Hello\"\n  lac tokenize --model DIR --messages chat.json --json"
)]
pub struct Tokenize {
    /// Folder with tokenizer.json, a GGUF file, an id on the Hugging Face hub, or demo
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Print one JSON object: {text, ids, pieces}
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Tokenized {
    text: String,
    ids: Vec<u32>,
    pieces: Vec<String>,
}

impl Tokenize {
    pub fn run(&self) -> Result<()> {
        let local = LocalModel::find(&self.model, &mut tell)?;
        let tokenizer = ModelFolder::tokenizer_of(local.path())?;
        let prompt = self.prompt.resolve(Some(&tokenizer))?;
        let pieces = tokenizer.pieces(&prompt.ids);
        if self.json {
            return write_json(
                "-".as_ref(),
                &Tokenized {
                    text: prompt.text,
                    ids: prompt.ids,
                    pieces,
                },
            );
        }
        for (id, piece) in prompt.ids.iter().zip(pieces) {
            print_line(&format!("{id:>7}  {piece:?}"))?;
        }
        Ok(())
    }
}
