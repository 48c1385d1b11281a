//! `lac inspect`: what a model folder holds, without loading its weights. Where something is wrong with the folder, the
//! report says so and goes on with the rest.

mod lines;
mod report;

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lac_models::ModelFolder;
use lac_session::LocalModel;

use crate::output::{print_line, tell, write_json};
use report::Report;

/// Show a model's shape, its weights and its tokenizer, and what is wrong with its files; loads no weights
///
/// Fields of config.json that change no result are listed as passed over, and those that nothing is known of as unknown.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac inspect --model ./Qwen2.5-0.5B-Instruct\n  lac inspect --model DIR --json | jq .layers\n  lac inspect --model DIR --strict && lac generate --model DIR --prompt \"Hello\""
)]
pub struct Inspect {
    /// Folder in Hugging Face layout, a GGUF file, an id on the Hugging Face hub, or demo
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// End with an error, after the report, where a command with --strict would refuse the model
    #[arg(long)]
    strict: bool,
}

impl Inspect {
    pub fn run(&self) -> Result<()> {
        let local = LocalModel::find(&self.model, &mut tell)?;
        let report = match ModelFolder::gguf_path(local.path())? {
            Some(gguf) => Report::of_gguf(&gguf),
            None if !local.path().is_dir() => {
                // The error says what is there in place of a folder.
                ModelFolder::open(local.path())?;
                bail!("{} is not a folder", local.path().display());
            }
            None => Report::of_folder(local.path()),
        };
        if self.json {
            write_json("-".as_ref(), &report)?;
        } else {
            for line in lines::lines(&report) {
                print_line(&line)?;
            }
        }
        if self.strict && !report.is_clean() {
            bail!(
                "{}: {} problem(s) and {} unknown field(s) of config.json",
                local.path().display(),
                report.problems.len(),
                report.unknown_fields.len()
            );
        }
        Ok(())
    }
}
