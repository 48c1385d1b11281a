//! Programs that show what lac does; each explains itself where it stands.
//!
//! - `skip_voids`: the main job. A prompt answered by the full model and with its voids skipped.
//! - `evaluate`: MMLU, GPQA and BoolQ, full and with voids skipped, in one table.
//! - `custom_architecture`: a model of your own, made traceable by implementing two traits.
//! - `trace_phases`: a chat traced into a file, its statistics, and a page to look at.
//! - `soak`: many texts one after another, and the memory that takes.
//!
//! The functions that they and docs/guide.md share are here.

use anyhow::{Context, Result};
use burn::tensor::Device;
use lac_models::{ChatMessage, ChatOptions, Decoder, ModelFolder, Tokenizer, WeightDtype};

/// The small trained model that lac carries, on the CPU in f32, and its tokenizer.
///
/// # Errors
/// A temporary folder that cannot be made or written to.
pub fn demo_model() -> Result<(Decoder, Tokenizer)> {
    let directory = tempfile::tempdir().context("cannot make a temporary folder")?;
    lac_demo::unpack(lac_demo::model_files(), directory.path())?;
    let folder = ModelFolder::open(directory.path())?;
    let model = folder.load(WeightDtype::F32, &Device::flex(), &mut |_| {})?;
    Ok((model, folder.tokenizer()?))
}

/// A user's message in the chat template.
///
/// # Errors
/// A tokenizer without a chat template.
pub fn chat_prompt(tokenizer: &Tokenizer, message: &str) -> Result<Vec<u32>> {
    let messages = [ChatMessage::new("user", message)];
    let prompt = tokenizer.encode_chat(&messages, &ChatOptions::default())?;
    Ok(prompt.ids)
}

/// Compiles and runs the guide's examples.
#[cfg(doctest)]
#[doc = include_str!("../docs/guide.md")]
struct Guide;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
