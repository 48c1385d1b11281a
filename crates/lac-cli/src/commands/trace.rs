//! `lac trace`: what every layer did for every token, as a picture, JSON or a file of many prompts.

mod recording;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use lac_core::{Hooks, PromptLogits, StopReason, TextSink, Usage, generate};
use lac_models::{ModelFolder, SpecialTokensInText};
use lac_trace::{PhaseTrace, Recorder, Style, heat_map};
use serde::Serialize;

use crate::args::{ModelArgs, PolicyArgs, PolicyName, PromptArgs, SamplingArgs};
use crate::commands::generate::context_full;
use crate::interrupt;
use crate::memory::Rows;
use crate::output::{print_line, write_json};
use crate::phase_pair::PhasePair;
use crate::progress;
use recording::{Recording, summary};

/// Trace a prompt and its response: norms, deltas, thresholds and flags per layer and token
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac trace --model DIR --prompt \"Why is the sky blue?\" --json trace.json\n  lac trace --model DIR --prompt-ids 1,403,407 --max-new-tokens 0 --logits --json - | jq .usage\n  lac trace --model DIR --prompts prompts.txt --out trace.parquet && lac report trace.parquet --out report"
)]
pub struct Trace {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// At most this many new tokens
    #[arg(long, value_name = "N", default_value_t = 50)]
    max_new_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// What happens to void layers
    #[arg(long, value_enum, default_value_t = PolicyName::Trace, help_heading = "Gate and policy")]
    policy: PolicyName,
    #[command(flatten)]
    gate: PolicyArgs,
    /// Add the logits of the prompt's last position
    #[arg(long, requires = "json")]
    logits: bool,
    /// Write one JSON object to this file (- for stdout) in place of the picture
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    recording: Recording,
}

/// The JSON of a trace; docs/trace-json.md describes it.
#[derive(Serialize)]
struct TraceJson<'a> {
    prompt_ids: &'a [u32],
    layers: usize,
    alpha: f32,
    policy: &'a str,
    dtype: &'a str,
    device: String,
    embedding_norms: &'a [f32],
    norms: &'a [Vec<f32>],
    deltas: &'a [Vec<f32>],
    thresholds: &'a [Vec<f32>],
    active: &'a [Vec<u8>],
    generated: &'a [u32],
    text: Option<&'a str>,
    rg_norms: &'a [Vec<f32>],
    rg_deltas: &'a [Vec<f32>],
    rg_thresholds: &'a [Vec<f32>],
    rg_active: &'a [Vec<u8>],
    #[serde(skip_serializing_if = "Option::is_none")]
    logits_last: Option<&'a [f32]>,
    usage: UsageJson,
    executed: PhasePair,
}

#[derive(Serialize)]
struct UsageJson {
    prompt: Vec<f64>,
    response: Vec<f64>,
    prompt_mean: Option<f64>,
    response_mean: Option<f64>,
}

impl Trace {
    pub fn run(&self) -> Result<()> {
        let local = self.model.find()?;
        let folder = ModelFolder::open(local.path())?;
        self.gate.check()?;
        // Ids can be traced without a tokenizer; then there is no text and no stop token but
        // config.json's.
        let tokenizer =
            if self.prompt.needs_tokenizer() || folder.path().join("tokenizer.json").exists() {
                Some(folder.tokenizer()?)
            } else {
                None
            };
        let stop_tokens = match &tokenizer {
            Some(tokenizer) => tokenizer.stop_ids(),
            None => &folder.config().eos_token_ids,
        };
        let config = self.sampling.generation(self.max_new_tokens, stop_tokens);
        if let Some(prompts) = &self.recording.prompts {
            let tokenizer = tokenizer
                .as_ref()
                .context("--prompts needs a tokenizer.json")?;
            let prompts = self.prompt.resolve_lines(prompts, tokenizer)?;
            return self.record_many(&folder, tokenizer, prompts, &config);
        }
        let prompt = self.prompt.resolve(tokenizer.as_ref())?;
        let rows = self.rows(1, prompt.ids.len());
        let model = self.model.load(&folder, rows, "lower --max-new-tokens")?;
        let mut policy = self.gate.policy(self.policy, &self.model, &folder)?;
        let mut writer = self.writer(&folder, policy.as_ref(), tokenizer.as_ref(), None)?;
        interrupt::listen("the token under way")?;
        let policy_name = policy.name().to_owned();
        let (mut policy, probe) = self.recording.probed(policy.as_mut());
        writer = match (writer, probe) {
            (Some(writer), Some(probe)) => Some(writer.with_probe(probe)),
            (writer, _) => writer,
        };

        let bar = progress::generating(self.max_new_tokens);
        let mut observer = (
            ((Recorder::new(0), writer), interrupt::Passes),
            (Usage::default(), Counter(&bar)),
        );
        let mut sink = tokenizer.as_ref().map(|tokenizer| {
            let stream = tokenizer.stream(SpecialTokensInText::Skip);
            TextSink::new(vec![stream], &[], |_: usize, _: &str| {})
        });
        let mut hooks = Hooks::new(policy.as_policy()).observer(&mut observer);
        if let Some(sink) = &mut sink {
            hooks = hooks.sink(sink);
        }
        if self.logits {
            hooks = hooks.prompt_logits(PromptLogits::Return);
        }
        let output = generate(&model, std::slice::from_ref(&prompt.ids), &config, hooks);
        bar.finish_and_clear();
        let output = match output {
            Err(_) if interrupt::is_requested() => {
                return interrupt::check().context(self.recording.left_by_one_prompt());
            }
            output => output?,
        };
        if output.rows[0].stop_reason == StopReason::ContextFull {
            eprintln!("lac: {}", context_full(&folder));
        }
        let text = sink.and_then(|sink| sink.into_texts().pop());
        let (((recorder, writer), _), (usage, _)) = observer;
        if let Some(mut writer) = writer {
            recording::note_unfed(&mut writer, 0, &output);
            self.recording.finish(writer, &usage)?;
            if self.json.is_none() {
                return Ok(());
            }
        }

        let Some(path) = &self.json else {
            let pieces = |trace: &PhaseTrace| match &tokenizer {
                Some(tokenizer) => tokenizer.pieces(&trace.token_ids),
                None => trace.token_ids.iter().map(u32::to_string).collect(),
            };
            return print_picture(&recorder, pieces, &usage, text.as_deref());
        };
        let json = TraceJson {
            prompt_ids: &prompt.ids,
            layers: folder.config().decoder.n_layers,
            alpha: self.gate.alpha,
            policy: &policy_name,
            dtype: self.model.dtype.weight_dtype().name(),
            device: self.model.device.to_string(),
            embedding_norms: &recorder.prompt.embedding_norms,
            norms: &recorder.prompt.norms,
            deltas: &recorder.prompt.deltas,
            thresholds: &recorder.prompt.thresholds,
            active: &recorder.prompt.active,
            generated: &output.rows[0].ids,
            text: text.as_deref(),
            rg_norms: &recorder.response.norms,
            rg_deltas: &recorder.response.deltas,
            rg_thresholds: &recorder.response.thresholds,
            rg_active: &recorder.response.active,
            logits_last: output.prompt_logits.as_ref().map(|rows| rows[0].as_slice()),
            usage: UsageJson {
                prompt: usage.prompt.per_layer().unwrap_or_default(),
                response: usage.response.per_layer().unwrap_or_default(),
                prompt_mean: usage.prompt.mean(),
                response_mean: usage.response.mean(),
            },
            executed: PhasePair::executed(&usage),
        };
        write_json(path, &json)
    }

    /// What is in memory side by side.
    fn rows(&self, batch: usize, longest: usize) -> Rows {
        Rows {
            batch,
            n_slots: longest.saturating_add(self.max_new_tokens),
        }
    }
}

/// Moves the progress bar by one for every pass.
struct Counter<'a>(&'a indicatif::ProgressBar);

impl lac_core::Observer for Counter<'_> {
    fn pass(&mut self, _record: &lac_core::PassRecord) -> Result<(), lac_core::BoxError> {
        self.0.inc(1);
        Ok(())
    }
}

fn print_picture(
    recorder: &Recorder,
    pieces: impl Fn(&PhaseTrace) -> Vec<String>,
    usage: &Usage,
    text: Option<&str>,
) -> Result<()> {
    let phases = [
        ("prompt", &recorder.prompt, &usage.prompt),
        ("response", &recorder.response, &usage.response),
    ];
    for (name, trace, usage) in phases {
        print_line(&format!("{name}: {}", summary(usage)))?;
        if !trace.active.is_empty() {
            print_line(&heat_map(trace, &pieces(trace), Style::Coloured))?;
        }
    }
    match text {
        Some(text) => print_line(text),
        None => Ok(()),
    }
}
