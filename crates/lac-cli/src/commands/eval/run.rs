//! The run itself.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lac_core::{
    GateConfig, LayerPolicy, Off,
    generation::Sampling,
    released_code::{FirstThreshold, GateRounding},
    speculation::WithSecondWeights,
};
use lac_eval::prompt::Feed;
use lac_eval::report::{ReportFormat, SubjectTables, render};
use lac_eval::results::HarnessLogComparison;
use lac_eval::{
    DataSet, EvalReport, Evaluation, ModelId, PolicyRun, PolicySettings, PromptSettings, Protocol,
    Request, ResultLog, Results, RunConfig, Settings, evaluate, requests,
};
use lac_models::{Decoder, Tokenizer};

use super::questions::{DataArgs, PromptArgs};
use super::results::explain_format;
use crate::args::{PolicyArgs, PolicyName};
use crate::interrupt;
use crate::interventions::InterventionArgs;
use crate::memory::Rows;
use crate::model::{ModelArgs, OpenModel};
use crate::numbers::{number, whole};
use crate::one_of::one_of_explained;
use crate::out_file;
use crate::output::{note, print_line, warn_user};
use crate::progress::Answering;
use crate::sampling::warn_stop_tokens;
use crate::second_weights::SecondWeights;
use crate::speculation::{Gated, SpeculationArgs, Verifier};

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    /// What happens to void layers
    #[arg(long, value_enum, default_value_t = PolicyName::Off, help_heading = "Gate and policy")]
    policy: PolicyName,
    #[command(flatten)]
    gate: PolicyArgs,
    #[command(flatten)]
    interventions: InterventionArgs,
    /// Several α in one run, from one pass where the policy allows it: 0.2,0.4,0.8
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        conflicts_with = "alpha",
        help_heading = "Gate and policy",
        value_parser = number::<f32>
    )]
    alphas: Vec<f32>,
    #[command(flatten)]
    speculation: SpeculationArgs,
    /// Run the full model beside the policy, so that the table has both
    #[arg(long, help_heading = "Gate and policy")]
    with_full: bool,
    /// Questions that go through the model side by side
    #[arg(
        long,
        value_name = "N",
        default_value_t = 16,
        help_heading = "Run",
        value_parser = whole(0..=usize::MAX)
    )]
    batch_size: usize,
    /// Results, a JSON line per question and variant; a file that exists already is continued
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    out: Option<PathBuf>,
    /// Form of the report that is printed at the end
    #[arg(
        long,
        value_parser = one_of_explained(ReportFormat::ALL, ReportFormat::name, explain_format),
        default_value = ReportFormat::Markdown.name(),
        help_heading = "Run",
    )]
    format: ReportFormat,
    /// Print the first prompt with its tokens, and end
    #[arg(long, help_heading = "Run")]
    show_prompt: bool,
}

impl Run {
    pub fn run(&self) -> Result<()> {
        if self.batch_size == 0 {
            bail!("--batch-size is 0, expected at least 1");
        }
        if let Some(out) = &self.out {
            let inputs = [Some(self.data.place()), self.gate.file()].into_iter();
            let inputs: Vec<_> = inputs.chain(self.interventions.files().map(Some)).collect();
            out_file::check_results(("--out", out), &inputs)?;
        }
        let data = self.data.load()?;
        describe(&data);
        let mut prompt = self.prompt.settings(&data)?;
        let open = self.model.open()?;
        let folder = &open.folder;
        let tokenizer = folder.tokenizer()?;
        if !prompt.protocol.compares_likelihoods() {
            prompt.processors = folder.generation_defaults()?.processors;
            warn_stop_tokens(&tokenizer);
        }
        if prompt.chat && !tokenizer.has_chat_template() {
            warn_user!("the model has no chat template and gets plain text");
        }
        let max_context = open.max_context();
        let selection = self.data.selection();
        let requests = requests(&data, &selection, &prompt, &tokenizer, Some(max_context))?;
        let Some(first) = requests.first() else {
            bail!("no question is left to ask: see --limit, --subjects and --shard");
        };
        if self.show_prompt {
            return show(first, &tokenizer);
        }

        let stop_tokens = tokenizer.stop_ids().iter().map(|&id| {
            let text = tokenizer.id_to_piece(id).unwrap_or_default();
            (id, text)
        });
        let prompt = prompt
            .with_batch_members(&requests, self.batch_size)
            .with_stop_tokens(stop_tokens);
        self.gate.check(self.policy)?;
        for &alpha in &self.alphas {
            let gate = GateConfig::new(alpha);
            gate.validate().context("--alphas")?;
        }
        self.interventions.check(folder.config().decoder.n_layers)?;
        if self.policy == PolicyName::Speculative {
            ensure!(
                self.interventions.is_empty(),
                "--policy speculative gives the full model's answers: leave it out with --ablate and --add"
            );
            self.speculation.check()?;
        }
        let rows = Rows {
            batch: self.batch_size.min(requests.len()),
            n_slots: requests.iter().map(Request::n_tokens).max().unwrap_or(0),
        };
        let model = open.load(rows, "lower --batch-size")?;
        let second = if self.policy == PolicyName::Speculative {
            let n_slots = rows
                .n_slots
                .saturating_add(prompt.max_new_tokens.unwrap_or(0));
            let load = |quantization, asked| open.load_second(quantization, asked, n_slots);
            self.speculation.second_weights(load)?
        } else {
            None
        };
        let drafted = WithSecondWeights::new(&model, second.as_ref().map(|second| &second.model));
        let mut runs = self.policy_runs(&prompt, &open, &model, second.as_ref())?;
        let settings = self.settings(&data, &prompt, &open, &runs)?;
        let mut log = match &self.out {
            Some(path) => ResultLog::open(path, settings)?,
            None => ResultLog::in_memory(settings),
        };
        interrupt::listen("the batch under way")?;
        let labels = runs
            .iter()
            .flat_map(PolicyRun::variants)
            .map(PolicySettings::label)
            .collect();
        let mut bar = Answering::new(labels);
        let evaluation = Evaluation {
            requests: &requests,
            prompt: &prompt,
            text: &tokenizer,
            config: RunConfig {
                batch_size: self.batch_size,
                texts: self.prompt.stored_texts(data.benchmark),
            },
        };
        let (mut is_through, mut n_pending) = (false, None);
        let outcome = evaluate(
            &drafted,
            &evaluation,
            &mut runs,
            &mut log,
            &mut |progress| {
                bar.show(progress);
                is_through = progress.n_done == progress.n_total;
                n_pending.get_or_insert(progress.n_total - progress.n_done);
                interrupt::flow()
            },
        );
        bar.finish();
        outcome?;
        if !is_through {
            return interrupt::check().context(match &self.out {
                Some(path) => format!(
                    "{} holds the answers so far: the same command goes on from there",
                    path.display()
                ),
                None => "the answers so far are lost: --out keeps them".to_owned(),
            });
        }
        let n_asked = n_pending.unwrap_or(0);
        if n_asked == 0
            && let Some(path) = &self.out
        {
            warn_user!(
                "nothing was asked: {} has the answers to all {} questions, under these settings and of this model",
                path.display(),
                requests.len()
            );
        }
        let results = log.into_results();
        compare_with_logged(&data, &results);
        let report = EvalReport::new(&[results]).with_n_asked(n_asked);
        let text = render(&report, self.format, SubjectTables::Together)?;
        print_line(text.trim_end())
    }

    /// Makes the policies. Several α share a pass if one trace has all that they need.
    fn policy_runs(
        &self,
        prompt: &PromptSettings,
        open: &OpenModel<'_>,
        model: &Decoder,
        second: Option<&SecondWeights>,
    ) -> Result<Vec<PolicyRun>> {
        let is_plain = self.gate.gate_rounding == GateRounding::F32
            && prompt.quirks.first_threshold() == FirstThreshold::Zero;
        let alphas = &self.alphas[..];
        if self.policy != PolicyName::Speculative {
            for &alpha in alphas {
                self.policy_at(alpha, prompt, open, model)?;
            }
        }
        let details = self.details()?;
        let run_at = |alpha| -> Result<PolicyRun> {
            let run = PolicyRun::new(self.policy_at(alpha, prompt, open, model)?);
            Ok(match &details {
                Some(details) => run.with_details(details),
                None => run,
            })
        };
        // What variants have in common is the full model's pass.
        let is_plain = is_plain && self.interventions.is_empty();
        let mut runs = match self.policy {
            PolicyName::Speculative => vec![self.speculative(prompt, open, model, second)?],
            _ if alphas.len() < 2 => {
                let alpha = alphas.first().copied().unwrap_or(self.gate.alpha);
                vec![run_at(alpha)?]
            }
            PolicyName::Off => bail!("--alphas: the policy off has no gate; choose --policy trace"),
            PolicyName::Planned => {
                bail!("--alphas: the policy planned has no gate: its plan decides")
            }
            PolicyName::Trace if is_plain => vec![PolicyRun::traced(alphas)],
            PolicyName::LastActive if is_plain && prompt.protocol == Protocol::LmEval => {
                vec![PolicyRun::last_active(alphas)]
            }
            _ => alphas
                .iter()
                .map(|&alpha| run_at(alpha))
                .collect::<Result<_>>()?,
        };
        let is_full = runs[0].variants()[0].is_full_model();
        if self.with_full && !is_full {
            runs.insert(0, PolicyRun::new(Box::new(Off)));
        }
        Ok(runs)
    }

    fn speculative(
        &self,
        prompt: &PromptSettings,
        open: &OpenModel<'_>,
        model: &Decoder,
        second: Option<&SecondWeights>,
    ) -> Result<PolicyRun> {
        if !self.alphas.is_empty() {
            bail!(
                "--alphas: the full model verifies whatever α is; --alpha sets the gate for the usage in the table"
            );
        }
        if prompt.protocol.compares_likelihoods() {
            bail!(
                "--policy speculative needs --protocol paper or generative: {} compares log-likelihoods, in which \
                 nothing can be drafted",
                prompt.protocol
            );
        }
        let is_greedy = !matches!(prompt.sampling, Some(Sampling::Random(_)));
        let verifier = Verifier::new(model, open.load_config.dtype, is_greedy);
        let speculator =
            self.speculation
                .speculator(&self.gate, Gated::Always, verifier, second, || {
                    open.fingerprint()
                })?;
        let run = PolicyRun::speculative(speculator);
        Ok(match self.speculation.details(&self.gate, verifier)? {
            Some(details) => run.with_details(&details),
            None => run,
        })
    }

    fn policy_at(
        &self,
        alpha: f32,
        prompt: &PromptSettings,
        open: &OpenModel<'_>,
        model: &Decoder,
    ) -> Result<Box<dyn LayerPolicy>> {
        let mut gate = self.gate.clone();
        gate.alpha = alpha;
        gate.first_threshold = prompt.quirks.first_threshold();
        let policy = gate.policy(self.policy, open)?;
        self.interventions.around(policy, Vec::new(), model)
    }

    /// Returns what results depend on beside the policy and its gate.
    fn details(&self) -> Result<Option<String>> {
        let plan = match self.policy {
            PolicyName::Planned => self.gate.plan_digest()?,
            _ => None,
        };
        let parts: Vec<String> = plan
            .into_iter()
            .chain(self.interventions.describe()?)
            .collect();
        Ok((!parts.is_empty()).then(|| parts.join(", ")))
    }

    fn settings(
        &self,
        data: &DataSet,
        prompt: &PromptSettings,
        open: &OpenModel<'_>,
        runs: &[PolicyRun],
    ) -> Result<Vec<Settings>> {
        let fingerprint = open.fingerprint()?.to_string();
        // The name of a folder or a file says enough; a hub id is one already.
        let name = open.short_name().context("--model")?;
        let model = ModelId {
            name,
            fingerprint,
            dtype: open.weights_name(),
        };
        Ok(Settings::of_runs(data, prompt, &model, runs))
    }
}

/// Says how far the harness's own numbers agree, where the prompts came with them.
fn compare_with_logged(data: &DataSet, results: &Results) {
    for settings in &results.settings {
        if let Some(seen) = HarnessLogComparison::new(data, results.of(settings)) {
            note!(
                "{}: largest difference from {} logged questions {:.1e}; the same option chosen for \
                 {}; right: {} logged, {} here",
                settings.policy.label(),
                seen.n,
                seen.largest_difference,
                seen.n_same_choice,
                seen.n_right_logged,
                seen.n_right
            );
            if seen.n_other_score > 0 {
                note!(
                    "{}: the harness's score is another for {} of them: it scores the task by a measure of its own, \
                     and the table by the right options",
                    settings.policy.label(),
                    seen.n_other_score
                );
            }
        }
    }
}

fn describe(data: &DataSet) {
    let n_files = data.files.len();
    for file in data.files.iter().take(3) {
        note!("{}: {} rows", file.path.display(), file.n_rows);
    }
    if n_files > 3 {
        note!("… {} more files", n_files - 3);
    }
    let id = data.id();
    let n_subjects = data.subjects().len();
    note!(
        "{}: {} questions in {n_subjects} subject(s), hash {}",
        data.benchmark,
        id.n_items,
        id.hash
    );
}

/// Prints a prompt as the model sees it: doubled or missing special tokens show here.
fn show(request: &Request, tokenizer: &Tokenizer) -> Result<()> {
    print_line(&format!(
        "item {} ({})\n{}",
        request.id, request.subject, request.text
    ))?;
    let pieces = |ids: &[u32]| -> String {
        let pieces = tokenizer.pieces(ids);
        ids.iter()
            .zip(pieces)
            .map(|(id, piece)| format!(" {id}={piece:?}"))
            .collect()
    };
    let ids = request.prompt_ids();
    print_line(&format!("\n{} tokens:{}", ids.len(), pieces(ids)))?;
    if let Feed::Score(options) = &request.feed {
        for option in options {
            print_line(&format!("option:{}", pieces(&option.continuation)))?;
        }
    }
    let right: Vec<String> = std::iter::once(&request.answer)
        .chain(&request.also_right)
        .map(ToString::to_string)
        .collect();
    print_line(&format!("right: option {}", right.join(", ")))
}
