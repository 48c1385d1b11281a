//! `lac quantize`: a model as a GGUF file, with its matrices quantised.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lac_models::gguf::{BlockFormat, FORMATS};
use lac_session::LocalModel;

use crate::model::{Strictness, open_folder};
use crate::one_of::one_of;
use crate::out_file;
use crate::output::{print_line, tell};
use crate::progress;

/// Write a model as a GGUF file, quantised, for lac and llama.cpp
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac quantize --model DIR --type q8_0 --out model-Q8_0.gguf\n  lac quantize --model DIR --type q4_0 --out model-Q4_0.gguf\n\nWith q4_0 the head is written in Q8_0. Vectors are always F32."
)]
pub struct Quantize {
    /// Folder in Hugging Face layout, an unquantised GGUF file, an id on the Hugging Face hub, or demo
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Type of the matrices in the file
    #[arg(long = "type", value_name = "TYPE", value_parser = one_of(&FORMATS, type_name))]
    format: BlockFormat,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    strictness: Strictness,
}

impl Quantize {
    pub fn run(&self) -> Result<()> {
        out_file::check(("--out", &self.out), &[Some(("--model", &self.model))])?;
        let local = LocalModel::find(&self.model, &mut tell)?;
        let folder = open_folder(&local, self.strictness)?;
        let summary =
            progress::while_loading(|report| folder.write_gguf(self.format, &self.out, report))?;
        let types: Vec<String> = summary
            .formats
            .iter()
            .map(|(format, n_tensors)| format!("{n_tensors} {format}"))
            .collect();
        print_line(&format!(
            "{}: {:.1} MB, {} tensors",
            self.out.display(),
            summary.n_bytes as f64 / 1e6,
            types.join(", ")
        ))
    }
}

/// Returns the type's word on the command line.
fn type_name(format: BlockFormat) -> &'static str {
    match format {
        BlockFormat::F16 => "f16",
        BlockFormat::BF16 => "bf16",
        BlockFormat::Q8_0 => "q8_0",
        BlockFormat::Q4_0 => "q4_0",
        _ => "f32",
    }
}
