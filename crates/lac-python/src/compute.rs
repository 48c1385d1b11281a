//! Texts continued and traced.

use std::path::PathBuf;

use lac_core::generation::{GenerationOutput, StopReason, TextSink, TokenSink};
use lac_core::{GenerateArgs, GenerationConfig, LayerPolicy, Observer, Usage, generate};
use lac_models::DecodedSpecialTokens;
use lac_trace::routing::ExpertCounts;
use lac_trace::{TraceInfo, TraceWriter};
use numpy::{PyArray1, PyReadonlyArray1};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use sha2::{Digest, Sha256};

use crate::collector::{Collector, Progress};
use crate::error::{Failure, detached};
use crate::looking::LookingArgs;
use crate::model::{Loaded, Model, notice_text};
use crate::policy::{PolicyArgs, PolicySpec};
use crate::sampling::sampling_request;

/// How prompts are continued.
pub(crate) struct Continuation {
    pub(crate) prompts: Vec<Vec<u32>>,
    pub(crate) policy: PolicySpec,
    pub(crate) looking: LookingArgs,
    pub(crate) config: GenerationConfig,
    pub(crate) stop: Vec<String>,
    pub(crate) batch_size: usize,
    /// How tokens are chosen, in words, and the seed of draws.
    pub(crate) sampling: (String, Option<u64>),
    pub(crate) notices: Vec<(bool, String)>,
}

/// A text that was continued.
#[derive(Clone)]
pub(crate) struct Continued {
    pub(crate) ids: Vec<u32>,
    pub(crate) text: Option<String>,
    pub(crate) stop_reason: StopReason,
}

/// What is measured of the texts of a batch together.
#[derive(Clone)]
pub(crate) struct Measured {
    usage: Usage,
    prefill_seconds: f64,
    decode_seconds: f64,
    n_decode_passes: usize,
}

impl Continuation {
    pub(crate) fn new(
        loaded: &Loaded,
        prompts: Vec<PyReadonlyArray1<'_, u32>>,
        policy: PolicyArgs,
        settings: &Bound<'_, PyDict>,
    ) -> PyResult<Self> {
        let field = |name: &str| {
            let value = settings.get_item(name)?;
            Ok::<_, PyErr>(value.unwrap_or_else(|| settings.py().None().into_bound(settings.py())))
        };
        let request = sampling_request(settings)?;
        let choice = request.choose(&loaded.open.folder).map_err(Failure::from)?;
        let max_new_tokens: usize = field("max_new_tokens")?.extract()?;
        let batch_size: usize = field("batch_size")?.extract()?;
        if batch_size == 0 {
            return Err(Failure::new("batch_size is 0, expected at least 1").into());
        }
        let stop: Vec<String> = field("stop")?.extract()?;
        let notices = choice.notices(loaded.tokenizer.as_ref());
        let prompts: Vec<Vec<u32>> = prompts.iter().map(|ids| ids.as_array().to_vec()).collect();
        Ok(Self {
            policy: PolicySpec::new(policy)?,
            looking: settings.extract()?,
            config: choice.generation(max_new_tokens, loaded.stop_ids()),
            sampling: (choice.describe(), choice.seed()),
            notices: notices.into_iter().map(notice_text).collect(),
            prompts,
            stop,
            batch_size,
        })
    }

    /// Continues the prompts, some at a time. `on_text` receives a prompt's index and a new piece of its text, `after_batch`
    /// the index of a batch's first prompt and what came of the batch.
    pub(crate) fn run<O: Observer>(
        &self,
        loaded: &Loaded,
        observer: &mut O,
        on_text: &mut dyn FnMut(usize, &str),
        progress: &Progress,
        after_batch: &mut dyn FnMut(&mut O, usize, &GenerationOutput),
        first_prompt: usize,
    ) -> Result<Vec<(Continued, Measured)>, Failure> {
        let longest = self.prompts.iter().map(Vec::len).max().unwrap_or(0);
        let batch_size = self.batch_size.min(self.prompts.len().max(1));
        let n_slots = longest.saturating_add(self.config.max_new_tokens);
        loaded.check_memory(batch_size, n_slots)?;
        if !self.stop.is_empty() {
            loaded.tokenizer()?;
        }
        let mut policy = self.observed_policy(loaded)?;
        let mut continued = Vec::with_capacity(self.prompts.len());
        let n_prompts = self.prompts.len() as u64;
        for (batch_idx, batch) in self.prompts.chunks(batch_size).enumerate() {
            let first = batch_idx * batch_size;
            if first < first_prompt {
                continue;
            }
            progress.report(first as u64, n_prompts)?;
            let mut usage = Usage::default();
            let mut sink = loaded.tokenizer.as_ref().map(|tokenizer| {
                let streams = batch
                    .iter()
                    .map(|_| tokenizer.stream(DecodedSpecialTokens::Skip));
                TextSink::new(streams.collect(), &self.stop, |row, text: &str| {
                    on_text(first + row, text);
                })
            });
            let mut observers = (&mut *observer, &mut usage);
            let mut args = GenerateArgs::new(policy.as_mut()).observer(&mut observers);
            if let Some(sink) = &mut sink {
                args = args.sink(sink as &mut dyn TokenSink);
            }
            let output = generate(&loaded.decoder, batch, &self.config, args)
                .map_err(|error| self.at_prompts(error.into(), first, batch.len()))?;
            let texts = sink.map(TextSink::into_texts);
            after_batch(observer, first, &output);
            let measured = Measured {
                usage,
                prefill_seconds: output.prefill_time.as_secs_f64(),
                decode_seconds: output.decode_time.as_secs_f64(),
                n_decode_passes: output.n_decode_passes,
            };
            for (row, generated) in output.rows.into_iter().enumerate() {
                let text = texts.as_ref().map(|texts| texts[row].clone());
                let row = Continued {
                    ids: generated.ids,
                    text,
                    stop_reason: generated.stop_reason,
                };
                continued.push((row, measured.clone()));
            }
        }
        progress.report(n_prompts, n_prompts)?;
        Ok(continued)
    }

    fn observed_policy(&self, loaded: &Loaded) -> Result<Box<dyn LayerPolicy>, Failure> {
        let policy = self.policy.make(|| loaded.fingerprint())?;
        self.looking.observed(policy, &loaded.decoder)
    }

    /// Names the prompts of a batch that failed, where there are several.
    fn at_prompts(&self, failure: Failure, first: usize, n_prompts: usize) -> Failure {
        match (self.prompts.len(), n_prompts) {
            (1, _) => failure,
            (_, 1) => failure.context(&format!("prompt {first}")),
            _ => failure.context(&format!("prompts {first} to {}", first + n_prompts - 1)),
        }
    }

    /// Describes the run for a trace.
    fn info(&self, loaded: &Loaded) -> Result<TraceInfo, Failure> {
        let policy = self.observed_policy(loaded)?;
        let config = loaded.decoder.config();
        let model = loaded.open.request.model.display().to_string();
        let experts = config.experts.as_ref();
        let experts = experts.map(|experts| ExpertCounts::new(experts.n_experts, experts.n_chosen));
        let (sampling, seed) = &self.sampling;
        let info = TraceInfo::new(&model, config.n_layers, policy.as_ref())?
            .with_experts(experts)
            .with_lens(self.looking.lens_top(config.vocab_size))
            .with_machine(
                &loaded.open.weights_name(),
                &loaded.open.request.device.to_string(),
            )
            .with_note("sampling", sampling);
        let info = match self.looking.lens_file() {
            Some(file) => info.with_note("lens file", &file),
            None => info,
        };
        Ok(match seed {
            Some(seed) => info.with_seed(*seed),
            None => info,
        })
    }

    /// Returns a hash of the settings that a run's tokens depend on and its trace does not name.
    fn digest(&self) -> Result<String, Failure> {
        let parts = (
            &self.prompts,
            &self.config,
            self.batch_size,
            &self.stop,
            self.policy.plan_digest()?,
            self.looking.measures()?.list().len(),
        );
        let digest = Sha256::digest(serde_json::to_vec(&parts)?);
        let hex = digest[..8].iter().map(|byte| format!("{byte:02x}"));
        Ok(hex.collect())
    }
}

fn stop_reason(reason: StopReason) -> &'static str {
    match reason {
        StopReason::StopToken => "stop_token",
        StopReason::Sink => "stop_string",
        StopReason::MaxNewTokens => "max_new_tokens",
        StopReason::ContextFull => "context_full",
        _ => "other",
    }
}

impl Continued {
    /// Returns the text as a dict, with what was measured as JSON.
    pub(crate) fn into_dict<'py>(
        self,
        py: Python<'py>,
        measured: &Measured,
    ) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(py);
        dict.set_item("ids", PyArray1::from_vec(py, self.ids))?;
        dict.set_item("text", self.text)?;
        dict.set_item("stop_reason", stop_reason(self.stop_reason))?;
        let (active, executed) = pairs(&measured.usage);
        dict.set_item("active", active)?;
        dict.set_item("executed", executed)?;
        dict.set_item("prefill_seconds", measured.prefill_seconds)?;
        dict.set_item("decode_seconds", measured.decode_seconds)?;
        dict.set_item("decode_passes", measured.n_decode_passes)?;
        Ok(dict)
    }
}

/// Numbers of the prompt and of the response.
pub(crate) type Pair = (Option<f64>, Option<f64>);

/// Returns the share of active layers and the number of executed ones.
pub(crate) fn pairs(usage: &Usage) -> (Pair, Pair) {
    let Usage { prompt, response } = usage;
    (
        (prompt.mean(), response.mean()),
        (prompt.executed_per_pass(), response.executed_per_pass()),
    )
}

type Notices = Vec<(bool, String)>;

/// What [`trace`] returns.
type Traced<'py> = (Bound<'py, PyDict>, String, Vec<Bound<'py, PyDict>>, Notices);

/// Continues prompts. Returns a dict for each, and what the user should hear of.
#[pyfunction]
#[pyo3(name = "generate")]
pub(crate) fn generate_texts<'py>(
    py: Python<'py>,
    model: &Model,
    prompts: Vec<PyReadonlyArray1<'py, u32>>,
    policy: PolicyArgs,
    settings: &Bound<'py, PyDict>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Vec<Bound<'py, PyDict>>, Notices)> {
    let loaded = model.loaded()?;
    let continuation = Continuation::new(&loaded, prompts, policy, settings)?;
    let progress = Progress::new(progress);
    let continued = detached(py, || {
        continuation.run(
            &loaded,
            &mut (),
            &mut |_, _| {},
            &progress,
            &mut |_, _, _| {},
            0,
        )
    })?;
    let dicts = continued
        .into_iter()
        .map(|(row, measured)| row.into_dict(py, &measured))
        .collect::<PyResult<_>>()?;
    Ok((dicts, continuation.notices))
}

/// Traces prompts and their responses. Returns the columns, what the trace says of itself as JSON, a dict for each text,
/// and what the user should hear of.
#[pyfunction]
pub(crate) fn trace<'py>(
    py: Python<'py>,
    model: &Model,
    prompts: Vec<PyReadonlyArray1<'py, u32>>,
    policy: PolicyArgs,
    settings: &Bound<'py, PyDict>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Traced<'py>> {
    let loaded = model.loaded()?;
    let continuation = Continuation::new(&loaded, prompts, policy, settings)?;
    let progress = Progress::new(progress);
    let (columns, info, continued) = detached(py, || {
        let mut info = continuation.info(&loaded)?;
        let mut collector = Collector::default();
        collector.columns.n_layers = loaded.decoder.config().n_layers;
        let continued = continuation.run(
            &loaded,
            &mut collector,
            &mut |_, _| {},
            &progress,
            &mut |_, first, output| {
                for (row, generated) in output.rows.iter().enumerate() {
                    if let Some(&id) = generated.ids.last() {
                        info.unfed.insert((first + row) as u32, id);
                    }
                }
            },
            0,
        )?;
        Ok((collector.columns, serde_json::to_string(&info)?, continued))
    })?;
    let dicts = continued
        .into_iter()
        .map(|(row, measured)| row.into_dict(py, &measured))
        .collect::<PyResult<_>>()?;
    Ok((columns.into_dict(py)?, info, dicts, continuation.notices))
}

/// Traces prompts into a Parquet file, within bounded memory. An interrupted run with the same settings is continued.
/// Returns the number of tokens, and what the user should hear of.
#[pyfunction]
pub(crate) fn trace_to_file<'py>(
    py: Python<'py>,
    model: &Model,
    prompts: Vec<PyReadonlyArray1<'py, u32>>,
    policy: PolicyArgs,
    settings: &Bound<'py, PyDict>,
    path: PathBuf,
    progress: Option<Py<PyAny>>,
) -> PyResult<(u64, Notices)> {
    let loaded = model.loaded()?;
    let continuation = Continuation::new(&loaded, prompts, policy, settings)?;
    let progress = Progress::new(progress);
    let n_tokens = detached(py, || {
        let fingerprint = loaded.fingerprint()?;
        let info = continuation.info(&loaded)?.with_model(&fingerprint);
        let info = info.with_note("run", &continuation.digest()?);
        let recording = || format!("cannot record to {}", path.display());
        let mut writer = TraceWriter::resume(&path, info)
            .map_err(|error| Failure::from(error).context(&recording()))?;
        if let Some(tokenizer) = &loaded.tokenizer {
            writer = writer.with_pieces(|id| tokenizer.id_to_piece(id));
        }
        let n_before = writer.n_sequences() as usize;
        continuation.run(
            &loaded,
            &mut writer,
            &mut |_, _| {},
            &progress,
            &mut |writer, first, output| {
                for (row, generated) in output.rows.iter().enumerate() {
                    if let Some(&id) = generated.ids.last() {
                        writer.unfed((first + row) as u32, id);
                    }
                }
                writer.sequences_are_whole();
            },
            n_before,
        )?;
        Ok(writer.finish()?)
    })?;
    Ok((n_tokens, continuation.notices))
}
