//! Single passes: hidden states, logits, log-likelihoods.

use burn::tensor::{FloatDType, Tensor};
use lac_core::generation::{Flow, prompt_pass};
use lac_core::text_model::AddSpecialTokens;
use lac_core::{BoxError, CausalLm, LayerPolicy, LayerStep, NextState, Pass, PolicyEffect};
use lac_eval::PolicyRun;
use lac_eval::score_texts::{ScoredOption, log_likelihoods};
use numpy::{PyArray, PyArray1, PyArray2, PyArray3, PyArrayMethods, PyReadonlyArray1};
use pyo3::prelude::*;

use crate::collector::Progress;
use crate::error::{Failure, LacError, detached};
use crate::model::Model;
use crate::policy::{PolicyArgs, PolicySpec};
use crate::signals::{Interruptible, Signals};

/// Runs the full model and keeps the states that are wanted: the embedding first, then each layer's output.
struct KeepStates {
    is_wanted: Vec<bool>,
    kept: std::sync::mpsc::Sender<Tensor<3>>,
}

impl KeepStates {
    fn keep(&self, state_idx: usize, state: &Tensor<3>) {
        if self.is_wanted[state_idx] {
            // The receiver lives as long as the pass.
            let _ = self.kept.send(state.clone());
        }
    }
}

impl LayerPolicy for KeepStates {
    fn name(&self) -> &str {
        "off"
    }

    fn effect(&self) -> PolicyEffect {
        PolicyEffect::FullModel
    }

    fn begin(&mut self, _pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.keep(0, embedding);
        Ok(())
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        self.keep(step.layer_idx + 1, step.output);
        Ok(NextState::Output)
    }
}

/// Returns the states of the residual stream, `[state, token, hidden]`: state 0 is the embedding, state l + 1 what layer l
/// gives. `states` names those that are wanted, in their order.
#[pyfunction]
pub(crate) fn hidden_states<'py>(
    py: Python<'py>,
    model: &Model,
    ids: PyReadonlyArray1<'py, u32>,
    states: Option<Vec<usize>>,
) -> PyResult<Bound<'py, PyArray3<f32>>> {
    let loaded = model.loaded()?;
    let ids = ids.as_array().to_vec();
    let config = loaded.decoder.config();
    let n_states = config.n_layers + 1;
    let mut is_wanted = vec![states.is_none(); n_states];
    for state in states.into_iter().flatten() {
        match is_wanted.get_mut(state) {
            Some(is_wanted) => *is_wanted = true,
            None => {
                return Err(LacError::new_err(format!(
                    "there is no state {state}: 0 is the embedding, {} the last layer's output",
                    n_states - 1
                )));
            }
        }
    }
    let n_wanted = is_wanted.iter().filter(|&&is_wanted| is_wanted).count();
    let shape = [n_wanted, ids.len(), config.hidden_size];
    let values = detached(py, || {
        loaded.check_memory(1, ids.len())?;
        let (kept, states) = std::sync::mpsc::channel();
        let keep = KeepStates { is_wanted, kept };
        let mut policy = Interruptible::new(Box::new(keep));
        prompt_pass(&loaded.decoder, std::slice::from_ref(&ids), 0, &mut policy)?;
        drop(policy);
        let mut values = Vec::with_capacity(shape.iter().product());
        for state in states {
            values.extend(read(state)?);
        }
        Ok(values)
    })?;
    PyArray::from_vec(py, values).reshape(shape)
}

/// The largest number of logits that are computed at once: 256 MB in f32.
const MAX_LOGITS: usize = 1 << 26;

/// Returns the logits of the next token, `[token, vocab]`: after every token, or after the last one alone.
#[pyfunction]
pub(crate) fn logits<'py>(
    py: Python<'py>,
    model: &Model,
    ids: PyReadonlyArray1<'py, u32>,
    last_only: bool,
    policy: PolicyArgs,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let loaded = model.loaded()?;
    let policy = PolicySpec::new(policy)?;
    let ids = ids.as_array().to_vec();
    let vocab_size = loaded.decoder.vocab_size();
    let n_wanted = if last_only { 1 } else { ids.len() };
    let values = detached(py, || {
        loaded.check_memory(1, ids.len())?;
        let mut policy = policy.make(|| loaded.fingerprint())?;
        let model = &loaded.decoder;
        let (hidden, _) = prompt_pass(model, std::slice::from_ref(&ids), 0, policy.as_mut())?;
        let mut values = Vec::with_capacity(n_wanted * vocab_size);
        let per_chunk = (MAX_LOGITS / vocab_size.max(1)).max(1);
        let mut signals = Signals::new();
        let mut start = ids.len() - n_wanted;
        while start < ids.len() {
            signals.check()?;
            let n = per_chunk.min(ids.len() - start);
            values.extend(read(model.logits(hidden.clone().narrow(1, start, n)))?);
            start += n;
        }
        Ok(values)
    })?;
    PyArray::from_vec(py, values).reshape([n_wanted, vocab_size])
}

/// Reads a state, or logits, to the host.
fn read(state: Tensor<3>) -> Result<Vec<f32>, Failure> {
    Ok(state.cast(FloatDType::F32).try_into_vec_as::<f32>()?)
}

type Ids<'py> = Bound<'py, PyArray1<u32>>;
type Scores<'py> = (Bound<'py, PyArray1<f64>>, Bound<'py, PyArray1<bool>>);

/// Tokenises a context and its continuation as lm-evaluation-harness does.
#[pyfunction]
pub(crate) fn encode_pair<'py>(
    py: Python<'py>,
    model: &Model,
    context: &str,
    continuation: &str,
) -> PyResult<(Ids<'py>, Ids<'py>)> {
    let loaded = model.loaded()?;
    let pair = detached(py, || {
        let (special, text) = (AddSpecialTokens::Once, loaded.tokenizer()?);
        let max_context = loaded.open.max_context();
        let pair = ScoredOption::of_texts(context, continuation, special, text, max_context);
        Ok(pair?)
    })?;
    Ok((
        PyArray1::from_vec(py, pair.context),
        PyArray1::from_vec(py, pair.continuation),
    ))
}

/// Returns, for each pair of a context and its continuation, the continuation's log-likelihood, and whether each of its
/// tokens is the most probable one.
#[pyfunction]
pub(crate) fn loglikelihoods<'py>(
    py: Python<'py>,
    model: &Model,
    pairs: Vec<(PyReadonlyArray1<'py, u32>, PyReadonlyArray1<'py, u32>)>,
    policy: PolicyArgs,
    batch_size: usize,
    progress: Option<Py<PyAny>>,
) -> PyResult<Scores<'py>> {
    let loaded = model.loaded()?;
    let policy = PolicySpec::new(policy)?;
    if batch_size == 0 {
        return Err(LacError::new_err("batch_size is 0, expected at least 1"));
    }
    let max_context = loaded.open.max_context();
    let options = pairs
        .iter()
        .enumerate()
        .map(|(idx, (context, continuation))| {
            let (context, continuation) = (context.as_array(), continuation.as_array());
            let pair = ScoredOption::of_ids(context.to_vec(), continuation.to_vec(), max_context);
            pair.map_err(|error| Failure::from(error).context(&format!("pair {idx}")).into())
        })
        .collect::<PyResult<Vec<_>>>()?;
    let progress = Progress::new(progress);
    let (values, greedy) =
        detached(py, || {
            let mut run = PolicyRun::new(policy.make(|| loaded.fingerprint())?);
            let (n_options, mut failed) = (options.len() as u64, None);
            let model = &loaded.decoder;
            let scores = log_likelihoods(model, &options, batch_size, &mut run, &mut |n_scored| {
                match progress.report(n_scored as u64, n_options) {
                    Ok(()) => Flow::Continue,
                    Err(exception) => {
                        failed = Some(exception);
                        Flow::Stop
                    }
                }
            })?;
            if let Some(exception) = failed {
                return Err(Failure::Python(exception));
            }
            let scores = scores.into_iter().flatten();
            Ok(scores
                .map(|score| (score.value, score.is_greedy))
                .unzip::<_, _, Vec<f64>, Vec<bool>>())
        })?;
    Ok((
        PyArray1::from_vec(py, values),
        PyArray1::from_vec(py, greedy),
    ))
}
