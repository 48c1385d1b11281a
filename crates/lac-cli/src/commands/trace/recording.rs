//! Traces that are kept: `lac trace --out`.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use lac_core::{
    CausalLm, LayerPolicy, Observed, Usage, generation::GenerationOutput, lens::Lens,
    measures::Measures, usage::PhaseUsage,
};
use lac_models::{Decoder, tuned_lens::read_tuned_lens};
use lac_trace::probe::{Probe, ProbeConfig};
use lac_trace::{Probed, TraceWriter};

use crate::numbers::whole;
use crate::one_of::one_of_explained;
use crate::out_file::Named;

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
    /// Measure every layer beside the norm: the cosine of its input and output (block influence is 1
    /// less that), and the length of what it adds in units of its input's; or the same of
    /// attentions and MLPs too, and the attention's share of what a layer adds
    #[arg(long, value_name = "WHAT", value_parser = one_of_explained(MEASURES, measures_name, explain_measures))]
    pub measures: Option<Measures>,
    /// The same as --measures layers
    #[arg(long, conflicts_with = "measures")]
    pub similarity: bool,
    /// Look at the state after every layer through the final norm and the head (a logit lens), and
    /// keep the K most probable tokens, the entropy and the divergence from the last layer
    #[arg(long, value_name = "K", value_parser = whole(1..=Lens::MOST_TOP))]
    pub lens: Option<usize>,
    /// The maps of a tuned lens: a safetensors file with the tensors 0.weight, 0.bias, 1.weight, …
    #[arg(long, value_name = "FILE", requires = "lens")]
    pub lens_file: Option<PathBuf>,
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

/// What `--measures` may be.
const MEASURES: &[Measures] = &[Measures::Layers, Measures::Sublayers];

fn measures_name(measures: Measures) -> &'static str {
    match measures {
        Measures::Off => "off",
        Measures::Layers => "layers",
        Measures::Sublayers => "sublayers",
    }
}

fn explain_measures(measures: Measures) -> Option<&'static str> {
    match measures {
        Measures::Off => None,
        Measures::Layers => Some("Each layer as a whole"),
        Measures::Sublayers => Some("Attention and MLP apart too"),
    }
}

impl Recording {
    /// Returns what is measured of every layer.
    pub fn measures(&self) -> Measures {
        match self.measures {
            Some(measures) => measures,
            None if self.similarity => Measures::Layers,
            None => Measures::Off,
        }
    }

    /// Returns whether more than the gate's numbers is looked at.
    pub fn looks_closer(&self) -> bool {
        self.measures() != Measures::Off || self.lens.is_some() || !self.hidden.is_empty()
    }

    /// Returns the number of tokens that the lens names.
    pub fn lens_top(&self, vocab_size: usize) -> Option<usize> {
        self.lens.map(|n_top| n_top.min(vocab_size))
    }

    /// Returns the file that the lens is read from.
    pub fn file(&self) -> Option<Named<'_>> {
        let path = self.lens_file.as_ref()?;
        Some(("--lens-file", path.as_path()))
    }

    /// Wraps a policy so that it is measured and looked at as the flags say; without such flags it is returned as it is.
    pub fn observed<'p>(
        &self,
        policy: Box<dyn LayerPolicy + 'p>,
        model: &Decoder,
    ) -> Result<Box<dyn LayerPolicy + 'p>> {
        let lens = match self.lens {
            None => None,
            Some(n_top) => {
                let config = model.config();
                let lens = Lens::new(n_top.min(config.vocab_size)).context("--lens")?;
                Some(match &self.lens_file {
                    None => lens,
                    Some(path) => {
                        let (n_layers, hidden) = (config.n_layers, config.hidden_size);
                        let maps = read_tuned_lens(path, n_layers, hidden, &model.device());
                        lens.with_maps(Arc::new(maps.context("--lens-file")?))
                    }
                })
            }
        };
        let measures = self.measures();
        if measures == Measures::Off && lens.is_none() {
            return Ok(policy);
        }
        let observed = Observed::new(policy).with_measures(measures);
        Ok(Box::new(observed.with_lens(lens)))
    }

    /// Wraps the policy in a probe if whole states are recorded. Otherwise it is returned as it is.
    pub fn probed<'a>(&self, policy: &'a mut dyn LayerPolicy) -> (MaybeProbed<'a>, Option<Probe>) {
        let config = ProbeConfig {
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
