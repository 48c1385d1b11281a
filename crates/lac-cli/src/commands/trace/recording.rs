//! Traces that are kept: `lac trace --out`.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use lac_core::{
    FingerprintPart, GenerationConfig, GenerationOutput, Hooks, LayerPolicy, PhaseUsage, Usage,
    generate,
};
use lac_models::{ModelFolder, Tokenizer};
use lac_trace::{Probe, ProbeConfig, Probed, TraceInfo, TraceWriter};
use sha2::{Digest, Sha256};

use super::{Counter, Trace};
use crate::interrupt;
use crate::output::print_line;
use crate::progress;

/// What a trace notes of its model: an interrupted run goes on only where all of it is the same. The hash of the
/// configuration stands for the sizes.
const RECORDED_PARTS: [FingerprintPart; 5] = [
    FingerprintPart::Weights,
    FingerprintPart::Config,
    FingerprintPart::Tokenizer,
    FingerprintPart::ChatTemplate,
    FingerprintPart::StopTokens,
];

/// What is kept, and where.
#[derive(Args)]
#[command(next_help_heading = "Recording")]
pub struct Recording {
    /// Record every token into this Parquet file, for `lac report`, pandas or polars
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A file with a prompt on each line, in place of --prompt
    #[arg(long, value_name = "FILE", group = "PromptSource", requires = "out", conflicts_with_all = ["json", "logits"])]
    pub prompts: Option<PathBuf>,
    /// Prompts that are run side by side
    #[arg(long, value_name = "N", default_value_t = 8, requires = "prompts", value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Record also the cosine between each layer's input and output, and what the layer adds in
    /// units of its input's length
    #[arg(long, requires = "out")]
    similarity: bool,
    /// Record also the whole hidden states after these layers, counted from 0
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', requires = "out")]
    hidden: Vec<usize>,
}

/// A policy, looked at or not.
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
    /// Wraps the policy if something beside the gate is to be read; a policy that is not wrapped
    /// is gated faster.
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

    /// What an interruption leaves.
    pub fn left_by_one_prompt(&self) -> String {
        match &self.out {
            Some(path) => format!(
                "{0}.parts holds the tokens so far, for lac report and lac export; to begin anew, remove it",
                path.display()
            ),
            None => "nothing was written".to_owned(),
        }
    }

    /// The same of many prompts.
    fn left_by_prompts(&self) -> String {
        let path = self.out.as_deref().unwrap_or("".as_ref());
        format!(
            "{}.parts holds the prompts so far: the same command goes on from there",
            path.display()
        )
    }

    /// Makes the file and says what is in it.
    pub fn finish(&self, writer: TraceWriter<'_>, usage: &Usage) -> Result<()> {
        let n_sequences = writer.n_sequences();
        let n_tokens = writer.finish()?;
        for (name, usage) in [("prompt", &usage.prompt), ("response", &usage.response)] {
            print_line(&format!("{name}: {}", summary(usage)))?;
        }
        let path = self.out.as_deref().unwrap_or("".as_ref());
        let sequences = if n_sequences == 1 {
            "sequence"
        } else {
            "sequences"
        };
        print_line(&format!(
            "{}: {n_tokens} tokens of {n_sequences} {sequences}",
            path.display()
        ))
    }
}

impl Trace {
    /// The recorder, if a file was asked for. It goes on with what an interrupted run had recorded if that was the
    /// same `run`.
    pub fn writer<'t>(
        &self,
        folder: &ModelFolder,
        policy: &dyn LayerPolicy,
        tokenizer: Option<&'t Tokenizer>,
        run: Option<&str>,
    ) -> Result<Option<TraceWriter<'t>>> {
        let Some(path) = &self.recording.out else {
            return Ok(None);
        };
        let n_layers = folder.config().decoder.n_layers;
        if let Some(layer) = self
            .recording
            .hidden
            .iter()
            .find(|&&layer| layer >= n_layers)
        {
            anyhow::bail!(
                "--hidden {layer}: the model's layers count from 0 to {}",
                n_layers - 1
            );
        }
        let model = self.model.model.display().to_string();
        let fingerprint = self.model.fingerprint(folder)?;
        let mut info = TraceInfo::new(&model, n_layers, policy)
            .context("--out")?
            .with_machine(
                self.model.dtype.weight_dtype().name(),
                &self.model.device.to_string(),
            )
            .with_note("sampling", &self.sampling.describe());
        for part in RECORDED_PARTS {
            info = info.with_note(&format!("model {}", part.name()), &fingerprint.part(part));
        }
        if self.sampling.temperature.is_some() {
            info = info.with_seed(self.sampling.seed);
        }
        let writer = match run {
            Some(run) => TraceWriter::resume(path, info.with_note("run", run)),
            None => TraceWriter::create(path, info),
        };
        let writer = writer.with_context(|| format!("cannot record to {}", path.display()))?;
        Ok(Some(match tokenizer {
            Some(tokenizer) => writer.with_pieces(|id| tokenizer.id_to_piece(id)),
            None => writer,
        }))
    }

    /// Traces many prompts, some at a time.
    pub fn record_many(
        &self,
        folder: &ModelFolder,
        tokenizer: &Tokenizer,
        prompts: Vec<Vec<u32>>,
        config: &GenerationConfig,
    ) -> Result<()> {
        let batch_size = self.recording.batch as usize;
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let rows = self.rows(batch_size.min(prompts.len()), longest);
        let lower = "lower --batch or --max-new-tokens";
        let model = self.model.load(folder, rows, lower)?;
        let mut policy = self.gate.policy(self.policy, &self.model, folder)?;
        let policy = policy.as_mut();
        let run = self.digest(&prompts, config)?;
        let writer = self.writer(folder, policy, Some(tokenizer), Some(&run))?;
        let writer = writer.context("--prompts needs --out")?;
        let n_before = writer.n_sequences() as usize;
        if n_before > 0 {
            eprintln!(
                "lac: going on after {n_before} of {} prompts",
                prompts.len()
            );
        }
        interrupt::listen("the prompts under way")?;
        let (mut policy, probe) = self.recording.probed(policy);
        let writer = match probe {
            Some(probe) => writer.with_probe(probe),
            None => writer,
        };
        let n_batches = prompts.len().div_ceil(self.recording.batch as usize);
        let bar = progress::generating(n_batches * (config.max_new_tokens + 1));
        let mut observer = (writer, (Usage::default(), Counter(&bar)));
        for (batch_idx, batch) in prompts.chunks(batch_size).enumerate() {
            let first = batch_idx * batch_size;
            if first < n_before {
                continue;
            }
            interrupt::check().with_context(|| self.recording.left_by_prompts())?;
            let hooks = Hooks::new(policy.as_policy()).observer(&mut observer);
            let output = generate(&model, batch, config, hooks)
                .with_context(|| format!("prompts {} to {}", first + 1, first + batch.len()))?;
            note_unfed(&mut observer.0, first as u32, &output);
            observer.0.sequences_are_whole();
            bar.set_position(((batch_idx + 1) * (config.max_new_tokens + 1)) as u64);
        }
        bar.finish_and_clear();
        let (writer, (usage, _)) = observer;
        if n_before > 0 {
            print_line("of the prompts that were left:")?;
        }
        self.recording.finish(writer, &usage)
    }

    /// A hash of what the tokens of a run depend on beside what its trace says of the model and the policy.
    fn digest(&self, prompts: &[Vec<u32>], config: &GenerationConfig) -> Result<String> {
        let parts = (
            prompts,
            config,
            self.recording.batch,
            (self.recording.similarity, &self.recording.hidden),
            self.gate.plan_digest()?,
        );
        let digest = Sha256::digest(serde_json::to_vec(&parts)?);
        let hex = digest[..8].iter().map(|byte| format!("{byte:02x}"));
        Ok(hex.collect())
    }
}

/// The last new token of every sequence was not fed: no pass tells of it.
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
