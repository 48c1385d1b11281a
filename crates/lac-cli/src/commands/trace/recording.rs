//! Traces that are kept: `lac trace --out`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lac_core::{LayerPolicy, Usage, generation::GenerationOutput, usage::PhaseUsage};
use lac_trace::probe::{Probe, ProbeConfig};
use lac_trace::{Probed, TraceWriter};

use crate::numbers::whole;

/// Options that say which numbers are recorded, and where.
#[derive(Args)]
#[command(next_help_heading = "Recording")]
pub struct Recording {
    /// Record every token into this Parquet file, for `lac report`, pandas or polars
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// A file of prompts in place of --prompt, one a line; where its name ends in .jsonl, lines of
    /// {"prompt": "…"} (with "raw": true for one that bypasses the chat template) or
    /// {"messages": […]}; where it ends in .json, one conversation
    #[arg(long, value_name = "FILE", group = "PromptSource", requires = "out", conflicts_with_all = ["json", "logits"])]
    pub prompts: Option<PathBuf>,
    /// Prompts that are run side by side
    #[arg(long, value_name = "N", default_value_t = 8, requires = "prompts", value_parser = whole(1..=u32::MAX))]
    pub batch: u32,
    /// Record also the cosine between each layer's input and output, and what the layer adds in
    /// units of its input's length
    #[arg(long, requires = "out")]
    pub similarity: bool,
    /// Record also the whole hidden states after these layers, counted from 0
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', requires = "out", value_parser = whole(0..=usize::MAX))]
    pub hidden: Vec<usize>,
}

/// A policy, with or without a probe.
pub enum MaybeProbed<'a> {
    Plain(&'a mut dyn LayerPolicy),
    Probed(Probed<'a>),
}

impl MaybeProbed<'_> {
    pub fn as_policy(&mut self) -> &mut dyn LayerPolicy {
        match self {
            Self::Plain(policy) => *policy,
            Self::Probed(policy) => policy,
        }
    }
}

impl Recording {
    /// Wraps the policy in a probe if more than the gate's numbers is recorded. Otherwise it is returned as it is,
    /// because a policy without a probe is gated faster.
    pub fn probed<'a>(&self, policy: &'a mut dyn LayerPolicy) -> (MaybeProbed<'a>, Option<Probe>) {
        let config = ProbeConfig {
            similarity: self.similarity,
            hidden_layers: self.hidden.clone(),
        };
        if config.is_empty() {
            return (MaybeProbed::Plain(policy), None);
        }
        let (policy, probe) = Probed::new(policy, config);
        (MaybeProbed::Probed(policy), Some(probe))
    }

    /// Returns what an interrupted trace of one prompt left.
    pub fn left_by_one_prompt(&self) -> String {
        match &self.out {
            Some(path) => format!(
                "{0}.parts holds the tokens so far, for lac report and lac export; to begin anew, remove it",
                path.display()
            ),
            None => "nothing was written".to_owned(),
        }
    }

    /// Returns what an interrupted trace of many prompts left.
    pub fn left_by_prompts(&self) -> String {
        let path = self.out.as_deref().unwrap_or("".as_ref());
        format!(
            "{}.parts holds the prompts so far: the same command goes on from there",
            path.display()
        )
    }

    /// Makes the file and returns a summary of it, of three lines.
    pub fn finish(&self, writer: TraceWriter<'_>, usage: &Usage) -> Result<String> {
        let n_sequences = writer.n_sequences();
        let n_tokens = writer.finish()?;
        let path = self.out.as_deref().unwrap_or("".as_ref());
        let sequences = if n_sequences == 1 {
            "sequence"
        } else {
            "sequences"
        };
        Ok(format!(
            "prompt: {}\nresponse: {}\n{}: {n_tokens} tokens of {n_sequences} {sequences}",
            summary(&usage.prompt),
            summary(&usage.response),
            path.display()
        ))
    }
}

/// Records the last new token of every sequence, which no pass was fed with.
pub fn note_unfed(writer: &mut TraceWriter<'_>, first_sequence: u32, output: &GenerationOutput) {
    for (row, generated) in output.rows.iter().enumerate() {
        if let Some(&id) = generated.ids.last() {
            writer.unfed(first_sequence + row as u32, id);
        }
    }
}

pub fn summary(usage: &PhaseUsage) -> String {
    match usage.mean() {
        Some(mean) => format!(
            "{} tokens, {:.1} % of the layers active",
            usage.n_tokens(),
            100.0 * mean
        ),
        None => "nothing was gated".to_owned(),
    }
}
