//! `lac trace`: what every layer did for every token, as a picture, JSON or a file of many prompts.

mod json;
mod layer_table;
mod recording;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use lac_core::{
    GenerateArgs, GenerationConfig, LayerPolicy, Observer, Usage, generate,
    generation::{GenerationOutput, PromptLogits, Sampling, StopReason, TextSink, TokenSink},
    speculation::{SpeculateArgs, Speculator, WithSecondWeights, generate_speculative},
};
use lac_models::{DecodedSpecialTokens, Decoder, Tokenizer};
use lac_trace::file::LensFields;
use lac_trace::recorder::PhaseTrace;
use lac_trace::routing::ExpertCounts;
use lac_trace::{Recorder, Style, TraceInfo, TraceWriter, heat_map};
use sha2::{Digest, Sha256};

use crate::args::{PolicyArgs, PolicyName};
use crate::commands::generate::context_full;
use crate::interrupt;
use crate::interventions::{InterventionArgs, PatchArgs};
use crate::memory::Rows;
use crate::model::{ModelArgs, OpenModel};
use crate::numbers::whole;
use crate::out_file;
use crate::output::{note, print_line, print_picture, warn_user, write_json};
use crate::phase_pair::PhasePair;
use crate::progress;
use crate::prompts::PromptArgs;
use crate::sampling::SamplingArgs;
use crate::second_weights::SecondWeights;
use crate::speculation::{Gated, SpeculationArgs, Verifier};
use json::{TraceJson, UsageJson};
use layer_table::layer_table;
use recording::{Recording, note_unfed, summary};

/// Trace a prompt and its response: norms, deltas, thresholds and flags per layer and token
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac trace --model DIR --prompt \"Why is the sky blue?\" --json trace.json\n  lac trace --model DIR --prompt-ids 1,403,407 --max-new-tokens 0 --logits --json - | jq .usage\n  lac trace --model DIR --prompt \"Why is the sky blue?\" --lens 5 --measures sublayers --json trace.json\n  lac trace --model DIR --prompts prompts.txt --out trace.parquet && lac report trace.parquet --out report"
)]
pub struct Trace {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// At most this many new tokens
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = whole(0..=usize::MAX))]
    max_new_tokens: usize,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// What happens to void layers
    #[arg(long, value_enum, default_value_t = PolicyName::Trace, help_heading = "Gate and policy")]
    policy: PolicyName,
    #[command(flatten)]
    gate: PolicyArgs,
    #[command(flatten)]
    interventions: InterventionArgs,
    #[command(flatten)]
    patch: PatchArgs,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Add the logits of the prompt's last position
    #[arg(long, requires = "json")]
    logits: bool,
    /// Write one JSON object to this file (- for stdout) in place of the picture
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    #[command(flatten)]
    recording: Recording,
}

impl Trace {
    pub fn run(&self) -> Result<()> {
        self.check_files()?;
        let open = self.model.open()?;
        let folder = &open.folder;
        self.gate.check(self.policy)?;
        let n_layers = folder.config().decoder.n_layers;
        self.interventions.check(n_layers)?;
        self.patch.check(n_layers)?;
        if self.is_speculative() {
            self.check_speculation()?;
        }
        // Ids can be traced without a tokenizer; then there is no text and no stop token but
        // config.json's.
        let tokenizer = if self.prompt.needs_tokenizer() || folder.has_tokenizer() {
            Some(folder.tokenizer()?)
        } else {
            None
        };
        let stop_tokens = match &tokenizer {
            Some(tokenizer) => tokenizer.stop_ids(),
            None => &folder.config().eos_token_ids,
        };
        let choice = self.sampling.choose(folder)?;
        if self.max_new_tokens > 0 {
            choice.warn(tokenizer.as_ref());
        }
        let config = choice.generation(self.max_new_tokens, stop_tokens);
        let max_context = open.max_context();
        if let Some(prompts) = &self.recording.prompts {
            let tokenizer = tokenizer
                .as_ref()
                .context("--prompts needs a tokenizer.json")?;
            let prompts = self.prompt.resolve_file(prompts, tokenizer, max_context)?;
            ensure!(
                self.patch.is_empty(),
                "--patch replaces states of one prompt: give --prompt in place of --prompts"
            );
            return self.record_many(&open, tokenizer, prompts, &config);
        }
        let prompt = self.prompt.resolve(tokenizer.as_ref())?;
        prompt.check_fits(max_context)?;
        let rows = self.rows(1, prompt.ids.len());
        let model = open.load(rows, "lower --max-new-tokens")?;
        let policy = self.gate.policy(self.observed_policy(), &open)?;
        let encode = |text: &str, tokenizer: &Tokenizer| self.prompt.encode(text, tokenizer);
        let patches = self.patch.run(&model, tokenizer.as_ref(), encode)?;
        let policy = self.interventions.around(policy, patches, &model)?;
        let mut policy = self.recording.observed(policy, &model)?;
        let second = self.second_weights(&open, rows.n_slots)?;
        let drafted = WithSecondWeights::new(&model, second.as_ref().map(|second| &second.model));
        let mut speculator = self.speculator(&open, &model, second.as_ref(), choice.is_greedy())?;
        let mut writer = self.writer(&open, policy.as_ref(), tokenizer.as_ref(), None)?;
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
            let stream = tokenizer.stream(DecodedSpecialTokens::Skip);
            TextSink::new(vec![stream], &[], |_: usize, _: &str| {})
        });
        let run = TracedRun {
            model: &drafted,
            config: &config,
            prompt_logits: if self.logits {
                PromptLogits::Return
            } else {
                PromptLogits::Drop
            },
        };
        let output = run.generate(
            std::slice::from_ref(&prompt.ids),
            policy.as_policy(),
            speculator.as_mut(),
            &mut observer,
            sink.as_mut().map(|sink| sink as &mut dyn TokenSink),
        );
        bar.finish_and_clear();
        let output = match output {
            Err(_) if interrupt::is_requested() => {
                return interrupt::check().context(self.recording.left_by_one_prompt());
            }
            output => output?,
        };
        if output.rows[0].stop_reason == StopReason::ContextFull {
            warn_user!("{}", context_full(&open));
        }
        let text = sink.and_then(|sink| sink.into_texts().pop());
        let (((recorder, writer), _), (usage, _)) = observer;
        if let Some(mut writer) = writer {
            note_unfed(&mut writer, 0, &output);
            let summary = self.recording.finish(writer, &usage)?;
            match &self.json {
                None => return print_line(&summary),
                // Stdout is the JSON's.
                Some(path) if path == Path::new("-") => note!("{summary}"),
                Some(_) => print_line(&summary)?,
            }
        }

        let Some(path) = &self.json else {
            let pieces = |trace: &PhaseTrace| match &tokenizer {
                Some(tokenizer) => tokenizer.pieces(&trace.token_ids),
                None => trace.token_ids.iter().map(u32::to_string).collect(),
            };
            return print_phases(&recorder, pieces, &usage, text.as_deref());
        };
        let json = TraceJson {
            prompt_ids: &prompt.ids,
            layers: folder.config().decoder.n_layers,
            alpha: self.gate.alpha,
            policy: &policy_name,
            dtype: &open.weights_name(),
            device: self.model.device.to_string(),
            embedding_norms: &recorder.phases.prompt.embedding_norms,
            norms: &recorder.phases.prompt.norms,
            deltas: &recorder.phases.prompt.deltas,
            thresholds: &recorder.phases.prompt.thresholds,
            active: &recorder.phases.prompt.active,
            generated: &output.rows[0].ids,
            text: text.as_deref(),
            rg_norms: &recorder.phases.response.norms,
            rg_deltas: &recorder.phases.response.deltas,
            rg_thresholds: &recorder.phases.response.thresholds,
            rg_active: &recorder.phases.response.active,
            experts: &recorder.phases.prompt.experts,
            expert_weights: &recorder.phases.prompt.expert_weights,
            rg_experts: &recorder.phases.response.experts,
            rg_expert_weights: &recorder.phases.response.expert_weights,
            measures: &recorder.phases.prompt.measures,
            rg_measures: &recorder.phases.response.measures,
            lens: LensFields::new(
                recorder.phases.prompt.lens.clone(),
                recorder.phases.response.lens.clone(),
            ),
            logits_last: output.prompt_logits.as_ref().map(|rows| rows[0].as_slice()),
            usage: UsageJson::new(&usage),
            executed: PhasePair::executed(&usage),
        };
        write_json(path, &json)
    }

    fn is_speculative(&self) -> bool {
        self.policy == PolicyName::Speculative || self.speculation.is_asked_for()
    }

    /// Returns the policy whose passes are traced: the full model's, where these verify drafts.
    fn observed_policy(&self) -> PolicyName {
        if self.is_speculative() {
            PolicyName::Trace
        } else {
            self.policy
        }
    }

    /// Finds mistakes in flags that do not go with speculation.
    fn check_speculation(&self) -> Result<()> {
        self.speculation.check()?;
        ensure!(
            matches!(self.policy, PolicyName::Trace | PolicyName::Speculative),
            "--draft verifies with the full model: it takes no other --policy"
        );
        ensure!(
            self.interventions.is_empty() && self.patch.is_empty(),
            "--draft verifies with the full model: leave it out with --ablate, --add and --patch"
        );
        ensure!(
            !self.recording.looks_closer() && !self.logits,
            "--measures, --lens, --hidden and --logits are of passes that verify no drafts: leave --draft out"
        );
        Ok(())
    }

    fn second_weights(
        &self,
        open: &OpenModel<'_>,
        n_slots: usize,
    ) -> Result<Option<SecondWeights>> {
        if !self.is_speculative() {
            return Ok(None);
        }
        let load = |quantization, asked| open.load_second(quantization, asked, n_slots);
        self.speculation.second_weights(load)
    }

    fn speculator(
        &self,
        open: &OpenModel<'_>,
        model: &Decoder,
        second: Option<&SecondWeights>,
        is_greedy: bool,
    ) -> Result<Option<Speculator>> {
        if !self.is_speculative() {
            return Ok(None);
        }
        let verifier = Verifier::new(model, open.load_config.dtype, is_greedy);
        let fingerprint = || open.fingerprint();
        let speculator = self.speculation.speculator(
            &self.gate,
            Gated::Always,
            verifier,
            second,
            fingerprint,
        )?;
        Ok(Some(speculator))
    }

    /// Finds mistakes in the names of files.
    fn check_files(&self) -> Result<()> {
        let Recording { out, prompts, .. } = &self.recording;
        let prompts = prompts.as_ref().map(|path| ("--prompts", path.as_path()));
        let lens = self.recording.file();
        let read = [self.prompt.file(), prompts, self.gate.file(), lens];
        let mut others: Vec<_> = read
            .into_iter()
            .chain(self.interventions.files().map(Some))
            .collect();
        let out = out.as_ref().map(|path| ("--out", path.as_path()));
        if let Some(out) = out {
            out_file::check_not_stdout(out, "a recording is a Parquet file")?;
            out_file::check(out, &others)?;
        }
        if let Some(json) = &self.json {
            others.push(out);
            out_file::check(("--json", json), &others)?;
        }
        Ok(())
    }

    /// Opens the recorder, if a file was asked for. It continues the recording of an interrupted run with the same
    /// `run`.
    fn writer<'t>(
        &self,
        open: &OpenModel<'_>,
        policy: &dyn LayerPolicy,
        tokenizer: Option<&'t Tokenizer>,
        run: Option<&str>,
    ) -> Result<Option<TraceWriter<'t>>> {
        let Some(path) = &self.recording.out else {
            return Ok(None);
        };
        let folder = &open.folder;
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
        let fingerprint = open.fingerprint()?;
        let choice = self.sampling.choose(folder)?;
        let experts = folder.config().decoder.experts.as_ref();
        let experts = experts.map(|experts| ExpertCounts::new(experts.n_experts, experts.n_chosen));
        let mut info = TraceInfo::new(&model, n_layers, policy)
            .context("--out")?
            .with_experts(experts)
            .with_lens(self.recording.lens_top(folder.config().decoder.vocab_size))
            .with_machine(&open.weights_name(), &self.model.device.to_string())
            .with_note("sampling", &choice.describe())
            .with_model(&fingerprint);
        if let Some(path) = &self.recording.lens_file {
            info = info.with_note("lens file", &path.display().to_string());
        }
        if let Some(interventions) = self.interventions.describe()? {
            info = info.with_note("interventions", &interventions);
        }
        if let Some(patch) = self.patch.describe() {
            info = info.with_note("patch", &patch);
        }
        if let Some(seed) = choice.seed() {
            info = info.with_seed(seed);
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
    fn record_many(
        &self,
        open: &OpenModel<'_>,
        tokenizer: &Tokenizer,
        prompts: Vec<Vec<u32>>,
        config: &GenerationConfig,
    ) -> Result<()> {
        let is_speculative = self.is_speculative();
        // Drafts are verified one text at a time.
        let batch_size = if is_speculative {
            1
        } else {
            self.recording.batch as usize
        };
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        let rows = self.rows(batch_size.min(prompts.len()), longest);
        let lower = "lower --batch or --max-new-tokens";
        let model = open.load(rows, lower)?;
        let policy = self.gate.policy(self.observed_policy(), open)?;
        let policy = self.interventions.around(policy, Vec::new(), &model)?;
        let mut policy = self.recording.observed(policy, &model)?;
        let policy = policy.as_mut();
        let is_greedy = config.sampling == Sampling::Greedy;
        let second = self.second_weights(open, rows.n_slots)?;
        let drafted = WithSecondWeights::new(&model, second.as_ref().map(|second| &second.model));
        let mut speculator = self.speculator(open, &model, second.as_ref(), is_greedy)?;
        let run = self.digest(&prompts, config)?;
        let writer = self.writer(open, policy, Some(tokenizer), Some(&run))?;
        let writer = writer.context("--prompts needs --out")?;
        let n_before = writer.n_sequences() as usize;
        if n_before > 0 {
            warn_user!("going on after {n_before} of {} prompts", prompts.len());
        }
        interrupt::listen("the prompts under way")?;
        let (mut policy, probe) = self.recording.probed(policy);
        let writer = match probe {
            Some(probe) => writer.with_probe(probe),
            None => writer,
        };
        let n_batches = prompts.len().div_ceil(batch_size);
        let bar = progress::generating(n_batches * (config.max_new_tokens + 1));
        let mut observer = (writer, (Usage::default(), Counter(&bar)));
        for (batch_idx, batch) in prompts.chunks(batch_size).enumerate() {
            let first = batch_idx * batch_size;
            if first < n_before {
                continue;
            }
            interrupt::check().with_context(|| self.recording.left_by_prompts())?;
            if let Some(speculator) = speculator.as_mut().filter(|_| !is_greedy) {
                // A drawn text must not depend on those before it.
                speculator.forget();
            }
            let run = TracedRun {
                model: &drafted,
                config,
                prompt_logits: PromptLogits::Drop,
            };
            let output = run
                .generate(
                    batch,
                    policy.as_policy(),
                    speculator.as_mut(),
                    &mut observer,
                    None,
                )
                .with_context(|| format!("prompts {} to {}", first + 1, first + batch.len()))?;
            note_unfed(&mut observer.0, first as u32, &output);
            observer.0.sequences_are_whole();
            bar.set_position(((batch_idx + 1) * (config.max_new_tokens + 1)) as u64);
        }
        bar.finish_and_clear();
        let (writer, (usage, _)) = observer;
        if n_before > 0 {
            print_line("of the remaining prompts:")?;
        }
        print_line(&self.recording.finish(writer, &usage)?)
    }

    /// Returns a hash of the settings that a run's tokens depend on and its trace does not name.
    fn digest(&self, prompts: &[Vec<u32>], config: &GenerationConfig) -> Result<String> {
        let parts = (
            prompts,
            config,
            self.recording.batch,
            (
                self.recording.measures().list().len(),
                &self.recording.hidden,
            ),
            (self.recording.lens, &self.recording.lens_file),
            self.gate.plan_digest()?,
            self.interventions.describe()?,
        );
        let digest = Sha256::digest(serde_json::to_vec(&parts)?);
        let hex = digest[..8].iter().map(|byte| format!("{byte:02x}"));
        Ok(hex.collect())
    }

    /// Returns the rows that are in memory side by side.
    fn rows(&self, batch: usize, longest: usize) -> Rows {
        Rows {
            batch,
            n_slots: longest.saturating_add(self.max_new_tokens),
        }
    }
}

/// A generation whose passes are traced.
struct TracedRun<'a> {
    model: &'a WithSecondWeights<'a, Decoder, Decoder>,
    config: &'a GenerationConfig,
    prompt_logits: PromptLogits,
}

impl TracedRun<'_> {
    /// Continues prompts under a policy, or one prompt by speculation.
    fn generate(
        &self,
        prompts: &[Vec<u32>],
        policy: &mut dyn LayerPolicy,
        speculator: Option<&mut Speculator>,
        observer: &mut dyn Observer,
        sink: Option<&mut dyn TokenSink>,
    ) -> lac_core::Result<GenerationOutput> {
        match speculator {
            None => {
                let mut args = GenerateArgs::new(policy)
                    .observer(observer)
                    .prompt_logits(self.prompt_logits);
                if let Some(sink) = sink {
                    args = args.sink(sink);
                }
                generate(self.model, prompts, self.config, args)
            }
            Some(speculator) => {
                let mut args = SpeculateArgs::new(speculator).observer(observer);
                if let Some(sink) = sink {
                    args = args.sink(sink);
                }
                let output = generate_speculative(self.model, prompts, self.config, args)?;
                Ok(output.generation)
            }
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

fn print_phases(
    recorder: &Recorder,
    pieces: impl Fn(&PhaseTrace) -> Vec<String>,
    usage: &Usage,
    text: Option<&str>,
) -> Result<()> {
    let phases = [
        ("prompt", &recorder.phases.prompt, &usage.prompt),
        ("response", &recorder.phases.response, &usage.response),
    ];
    for (name, trace, usage) in phases {
        print_line(&format!("{name}: {}", summary(usage)))?;
        if !trace.active.is_empty() {
            print_picture(&heat_map(trace, &pieces(trace), Style::Coloured))?;
        }
        if let Some(table) = layer_table(trace) {
            print_line(&table)?;
        }
    }
    match text {
        Some(text) => print_line(text),
        None => Ok(()),
    }
}
