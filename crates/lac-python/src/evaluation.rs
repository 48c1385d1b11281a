//! Benchmarks and perplexity.

use std::path::{Path, PathBuf};

use lac_core::Phase;
use lac_core::generation::Flow;
use lac_eval::data::{Content, Split};
use lac_eval::perplexity::{ComparedWith, PerplexityConfig, Windows};
use lac_eval::results::Record;
use lac_eval::settings::Passages;
use lac_eval::{
    Benchmark, DataSet, EvalReport, Evaluation, HarnessTask, ItemSelection, PolicyRun,
    PromptSettings, Protocol, ResultLog, Results, RunConfig, Settings, requests,
};
use numpy::PyReadonlyArray1;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde::Serialize;

use crate::collector::Progress;
use crate::compute::pairs;
use crate::error::{Failure, detached};
use crate::model::{Loaded, Model, notice_text};
use crate::policy::{PolicyArgs, PolicySpec};

/// What is asked, and how.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct EvaluationArgs {
    benchmark: String,
    data: PathBuf,
    validation: bool,
    subjects: Vec<String>,
    limit: Option<usize>,
    protocol: String,
    harness_task: Option<String>,
    few_shot: usize,
    chat: bool,
    seed: u64,
    max_new_tokens: Option<usize>,
    batch_size: usize,
    out: Option<PathBuf>,
}

impl EvaluationArgs {
    fn load(&self) -> Result<DataSet, Failure> {
        let benchmark: Benchmark = self.benchmark.parse()?;
        let split = if self.validation {
            Split::Validation
        } else {
            Split::Test
        };
        if self.data != Path::new("demo") {
            return Ok(DataSet::load(benchmark, &self.data, split)?);
        }
        let folder = tempfile::TempDir::new()?;
        lac_demo::unpack(lac_demo::set_files(), folder.path())?;
        Ok(DataSet::load(
            benchmark,
            &folder.path().join(benchmark.name()),
            split,
        )?)
    }

    fn selection(&self) -> ItemSelection {
        ItemSelection {
            subjects: self.subjects.clone(),
            limit: self.limit,
            shard: None,
        }
    }

    fn prompt(&self, data: &DataSet, loaded: &Loaded) -> Result<PromptSettings, Failure> {
        let protocol: Protocol = self.protocol.parse()?;
        let mut settings = match protocol {
            Protocol::Paper => PromptSettings::paper(self.seed),
            Protocol::Generative => PromptSettings::generative(),
            _ => {
                let task = match &self.harness_task {
                    Some(name) => harness_task(name)?,
                    None => HarnessTask::of(data.benchmark),
                };
                PromptSettings::lm_eval(task, self.few_shot)
            }
        };
        let is_harness = protocol == Protocol::LmEval;
        if !is_harness && (self.harness_task.is_some() || self.few_shot > 0 || self.chat) {
            return Err(Failure::new(
                "harness_task, few_shot and chat belong to protocol \"lm-eval\"",
            ));
        }
        if is_harness && self.max_new_tokens.is_some() {
            return Err(Failure::new(
                "max_new_tokens: nothing is generated under protocol \"lm-eval\"",
            ));
        }
        settings.chat |= self.chat;
        if self.max_new_tokens.is_some() {
            settings.max_new_tokens = self.max_new_tokens;
        }
        if let Some(sampling) = &mut settings.sampling {
            settings.quirks.reseed(sampling);
        }
        let has_titles = data
            .items
            .iter()
            .all(|item| matches!(&item.content, Content::YesNo { title: Some(_), .. }));
        if is_harness && has_titles {
            settings.passages = Passages::WithTitle;
        } else {
            settings.passages = Passages::AsInFile;
        }
        settings.validate(data.benchmark)?;
        if !is_harness {
            settings.processors = loaded.open.folder.generation_defaults()?.processors;
        }
        Ok(settings)
    }
}

fn harness_task(name: &str) -> Result<HarnessTask, Failure> {
    let mut all = HarnessTask::ALL.iter().copied();
    all.find(|task| task.flag() == name || task.name() == name)
        .ok_or_else(|| {
            let names: Vec<&str> = HarnessTask::ALL.iter().map(|task| task.flag()).collect();
            let names = names.join(", ");
            Failure::new(format!("unknown harness_task {name:?}: expected {names}"))
        })
}

/// A report, and the result of every question.
#[derive(Serialize)]
struct EvaluationJson<'a> {
    report: EvalReport,
    settings: Vec<(String, String)>,
    records: Vec<RecordJson<'a>>,
}

#[derive(Serialize)]
struct RecordJson<'a> {
    is_right: bool,
    #[serde(flatten)]
    record: &'a Record,
}

fn evaluation_json(results: &Results, report: EvalReport) -> Result<String, Failure> {
    let json = EvaluationJson {
        report,
        settings: results
            .settings
            .iter()
            .map(|settings| (settings.hash(), settings.policy.label()))
            .collect(),
        records: results
            .records
            .iter()
            .map(|record| RecordJson {
                is_right: record.is_right(),
                record,
            })
            .collect(),
    };
    Ok(serde_json::to_string(&json)?)
}

/// Answers the questions of a benchmark under some policies. Returns a report and all results as JSON, and what the user
/// should hear of.
#[pyfunction]
pub(crate) fn evaluate(
    py: Python<'_>,
    model: &Model,
    policies: Vec<PolicyArgs>,
    args: EvaluationArgs,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, Vec<(bool, String)>)> {
    let loaded = model.loaded()?;
    let policies = policies
        .into_iter()
        .map(PolicySpec::new)
        .collect::<Result<Vec<_>, _>>()?;
    let progress = Progress::new(progress);
    if args.batch_size == 0 {
        return Err(Failure::new("batch_size is 0, expected at least 1").into());
    }
    detached(py, || run(&loaded, &policies, &args, &progress))
}

fn run(
    loaded: &Loaded,
    policies: &[PolicySpec],
    args: &EvaluationArgs,
    progress: &Progress,
) -> Result<(String, Vec<(bool, String)>), Failure> {
    let mut notices = Vec::new();
    let data = args.load()?;
    let mut prompt = args.prompt(&data, loaded)?;
    let tokenizer = loaded.tokenizer()?;
    if !prompt.protocol.compares_likelihoods() {
        notices.extend(lac_session::stop_tokens_notice(tokenizer).map(notice_text));
    }
    if prompt.chat && !tokenizer.has_chat_template() {
        let text = "the model has no chat template and gets plain text";
        notices.push((true, text.to_owned()));
    }
    let max_context = Some(loaded.open.max_context());
    let requests = requests(&data, &args.selection(), &prompt, tokenizer, max_context)?;
    if requests.is_empty() {
        return Err(Failure::new(
            "no question is left to ask: see limit and subjects",
        ));
    }
    let stop_tokens = tokenizer
        .stop_ids()
        .iter()
        .map(|&id| (id, tokenizer.id_to_piece(id).unwrap_or_default()));
    prompt = prompt
        .with_batch_members(&requests, args.batch_size)
        .with_stop_tokens(stop_tokens);
    let mut runs = Vec::new();
    for policy in policies {
        let run = PolicyRun::new(policy.make(|| loaded.fingerprint())?);
        runs.push(match policy.plan_digest()? {
            Some(digest) => run.with_details(&digest),
            None => run,
        });
    }
    let longest = requests.iter().map(lac_eval::Request::n_tokens).max();
    loaded.check_memory(args.batch_size.min(requests.len()), longest.unwrap_or(0))?;
    let settings = Settings::of_runs(&data, &prompt, &loaded.id()?, &runs);
    let mut log = match &args.out {
        Some(path) => ResultLog::open(path, settings)?,
        None => ResultLog::in_memory(settings),
    };
    let evaluation = Evaluation {
        requests: &requests,
        prompt: &prompt,
        text: tokenizer,
        config: RunConfig {
            batch_size: args.batch_size,
            texts: data.benchmark.stored_texts(),
        },
    };
    let mut failed = None;
    let mut n_pending = None;
    lac_eval::evaluate(
        &loaded.decoder,
        &evaluation,
        &mut runs,
        &mut log,
        &mut |so_far| {
            n_pending.get_or_insert(so_far.n_total - so_far.n_done);
            match progress.report(so_far.n_done as u64, so_far.n_total as u64) {
                Ok(()) => Flow::Continue,
                Err(exception) => {
                    failed = Some(exception);
                    Flow::Stop
                }
            }
        },
    )?;
    if let Some(exception) = failed {
        return Err(Failure::Python(exception));
    }
    let results = log.into_results();
    let report = EvalReport::new(std::slice::from_ref(&results));
    let report = report.with_n_asked(n_pending.unwrap_or(0));
    Ok((evaluation_json(&results, report)?, notices))
}

/// Reads a file of results. Returns a report and all results as JSON.
#[pyfunction]
pub(crate) fn read_results(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    detached(py, || {
        let results = Results::read(&path)?;
        let report = EvalReport::new(std::slice::from_ref(&results));
        evaluation_json(&results, report)
    })
}

/// How a text is cut, and the phase that it counts as.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct WindowArgs {
    context: usize,
    windows: Option<usize>,
    phase: String,
}

/// Scores a text of ids, window by window. Returns a dict of numbers.
#[pyfunction]
pub(crate) fn perplexity<'py>(
    py: Python<'py>,
    model: &Model,
    ids: PyReadonlyArray1<'py, u32>,
    policy: PolicyArgs,
    args: WindowArgs,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyDict>> {
    let loaded = model.loaded()?;
    let policy = PolicySpec::new(policy)?;
    let WindowArgs {
        context, windows, ..
    } = args;
    let mut phases = Phase::ALL.into_iter();
    let phase = phases.find(|known| known.name() == args.phase);
    let phase = phase.ok_or_else(|| {
        let found = args.phase;
        Failure::new(format!("phase is {found:?}, expected prompt or response"))
    })?;
    let ids = ids.as_array().to_vec();
    let progress = Progress::new(progress);
    let (result, n_tokens) = detached(py, || {
        let tokenizer = loaded.tokenizer.as_ref();
        // The token that every text begins with, if any.
        let begin =
            tokenizer.map(|tokenizer| tokenizer.encode("", lac_models::AddSpecialTokens::Once));
        let begin = begin.transpose()?.and_then(|ids| ids.first().copied());
        let config = PerplexityConfig {
            windows: Windows {
                length: context,
                first_token: begin.filter(|begin| ids.first() == Some(begin)),
            },
            phase,
            compared_with: if policy.is_off() {
                ComparedWith::Nothing
            } else {
                ComparedWith::FullModel
            },
        };
        config.check(ids.len(), Some(loaded.open.max_context()))?;
        loaded.check_memory(1, context)?;
        let n_windows = ids.len() / context;
        let n_read = windows.map_or(n_windows, |most| most.min(n_windows));
        let mut policy = policy.make(|| loaded.fingerprint())?;
        let (mut n_done, mut failed) = (0, None);
        let read = &ids[..n_read * context];
        let result = lac_eval::perplexity::perplexity(
            &loaded.decoder,
            read,
            &config,
            policy.as_mut(),
            &mut |_| {
                n_done += 1;
                match progress.report(n_done, n_read as u64) {
                    Ok(()) => Flow::Continue,
                    Err(exception) => {
                        failed = Some(exception);
                        Flow::Stop
                    }
                }
            },
        )?;
        match failed {
            Some(exception) => Err(Failure::Python(exception)),
            None => Ok((result, ids.len())),
        }
    })?;
    let dict = PyDict::new(py);
    dict.set_item("tokens", n_tokens)?;
    dict.set_item("scored", result.n_scored)?;
    dict.set_item("windows", result.n_windows)?;
    dict.set_item("perplexity", result.perplexity)?;
    dict.set_item("standard_error", result.standard_error)?;
    if let Some(full) = &result.full {
        dict.set_item("full_perplexity", full.perplexity)?;
        dict.set_item("kl", full.kl)?;
        dict.set_item("kl_standard_error", full.kl_standard_error)?;
        dict.set_item("kl_max", full.kl_max)?;
        dict.set_item("top1_agreement", full.top1_agreement)?;
    }
    let (active, executed) = pairs(&result.usage);
    dict.set_item("active", active)?;
    dict.set_item("executed", executed)?;
    Ok(dict)
}
