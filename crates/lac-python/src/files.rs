//! Files of traces: read, written from columns, counted and reported.

use std::collections::HashMap;
use std::path::PathBuf;

use lac_core::lens::LensRecord;
use lac_core::measures::{MeasureRecord, Measures};
use lac_core::routing::RoutingRecord;
use lac_core::{Decision, GateRecord, Observer, Pass, PassRecord};
use lac_trace::file::TraceState;
use lac_trace::report::ReportConfig;
use lac_trace::{Statistics, TraceInfo, TraceReader, TraceReport, TraceWriter};
use numpy::{PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::columns::Columns;
use crate::error::{Failure, detached};

/// Reads a trace. Returns its columns, what it says of itself as JSON, and whether its run was interrupted.
#[pyfunction]
pub(crate) fn read_trace(
    py: Python<'_>,
    path: PathBuf,
) -> PyResult<(Bound<'_, PyDict>, String, bool)> {
    let (columns, info, interrupted) = detached(py, || {
        let reader = TraceReader::open(&path)?;
        let n_chosen = reader.info().experts.map_or(0, |experts| experts.n_chosen);
        let mut columns = Columns::default();
        reader.for_each(|token| columns.push_token(&token, n_chosen))?;
        let info = serde_json::to_string(reader.info())?;
        Ok((columns, info, reader.state() == TraceState::Interrupted))
    })?;
    Ok((columns.into_dict(py)?, info, interrupted))
}

/// Returns what a trace says of itself as JSON, its number of tokens, and whether its run was interrupted.
#[pyfunction]
pub(crate) fn trace_info(py: Python<'_>, path: PathBuf) -> PyResult<(String, u64, bool)> {
    detached(py, || {
        let reader = TraceReader::open(&path)?;
        let is_interrupted = reader.state() == TraceState::Interrupted;
        let info = serde_json::to_string(reader.info())?;
        Ok((info, reader.n_tokens(), is_interrupted))
    })
}

/// The columns of a trace as Python holds them, the tokens of a sequence one after another.
struct Written {
    n_layers: usize,
    sequences: Vec<u32>,
    responses: Vec<bool>,
    positions: Vec<u32>,
    token_ids: Vec<u32>,
    embedding_norms: Vec<f32>,
    norms: Vec<f32>,
    deltas: Vec<f32>,
    thresholds: Vec<f32>,
    active: Vec<bool>,
    executed: Vec<bool>,
    /// In the order of their measures.
    measures: Option<(Measures, Vec<Vec<f32>>)>,
    /// Number of tokens that are named, ids, log-probabilities, entropies, divergences.
    lens: Option<(usize, Vec<u32>, [Vec<f32>; 3])>,
    /// Number of choices, experts and weights `[token][layer][choice]`.
    routing: Option<(usize, Vec<i32>, Vec<f32>)>,
}

impl Written {
    fn new(columns: &Bound<'_, PyDict>) -> PyResult<Self> {
        fn item<'py>(columns: &Bound<'py, PyDict>, name: &str) -> PyResult<Bound<'py, PyAny>> {
            columns.as_any().get_item(name)
        }
        fn vector<T: numpy::Element + Copy>(
            columns: &Bound<'_, PyDict>,
            name: &str,
        ) -> PyResult<Vec<T>> {
            let array: PyReadonlyArray1<'_, T> = item(columns, name)?.extract()?;
            Ok(array.as_array().to_vec())
        }
        fn matrix<T: numpy::Element + Copy>(
            columns: &Bound<'_, PyDict>,
            name: &str,
        ) -> PyResult<(usize, Vec<T>)> {
            let array: PyReadonlyArray2<'_, T> = item(columns, name)?.extract()?;
            let array = array.as_array();
            Ok((array.ncols(), array.iter().copied().collect()))
        }
        fn tensor<T: numpy::Element + Copy>(
            columns: &Bound<'_, PyDict>,
            name: &str,
        ) -> PyResult<(usize, Vec<T>)> {
            let array: PyReadonlyArray3<'_, T> = item(columns, name)?.extract()?;
            let array = array.as_array();
            Ok((array.dim().2, array.iter().copied().collect()))
        }
        let (n_layers, norms) = matrix(columns, "norms")?;
        let measured = item(columns, "measures")?.cast_into::<PyDict>()?;
        let which = match measured.len() {
            0 => None,
            2 => Some(Measures::Layers),
            _ => Some(Measures::Sublayers),
        };
        let measures = which
            .map(|which| {
                let list = which.list().iter();
                let values = list.map(|measure| Ok(matrix(&measured, measure.name())?.1));
                Ok::<_, PyErr>((which, values.collect::<PyResult<_>>()?))
            })
            .transpose()?;
        let lens = if columns.contains("lens")? {
            let lens = item(columns, "lens")?.cast_into::<PyDict>()?;
            let (n_top, ids) = tensor(&lens, "ids")?;
            let logprobs = tensor(&lens, "logprobs")?.1;
            let (entropy, kl) = (matrix(&lens, "entropy")?.1, matrix(&lens, "kl")?.1);
            Some((n_top, ids, [logprobs, entropy, kl]))
        } else {
            None
        };
        let routing = if columns.contains("experts")? {
            let (n_chosen, experts) = tensor(columns, "experts")?;
            Some((n_chosen, experts, tensor(columns, "expert_weights")?.1))
        } else {
            None
        };
        Ok(Self {
            n_layers,
            sequences: vector(columns, "sequences")?,
            responses: vector(columns, "responses")?,
            positions: vector(columns, "positions")?,
            token_ids: vector(columns, "token_ids")?,
            embedding_norms: vector(columns, "embedding_norms")?,
            norms,
            deltas: matrix(columns, "deltas")?.1,
            thresholds: matrix(columns, "thresholds")?.1,
            active: matrix(columns, "active")?.1,
            executed: matrix(columns, "executed")?.1,
            measures,
            lens,
            routing,
        })
    }

    /// Refuses columns of different lengths.
    fn check(&self) -> Result<(), Failure> {
        let (n, cells) = (self.sequences.len(), self.sequences.len() * self.n_layers);
        let vectors = [
            self.responses.len(),
            self.positions.len(),
            self.token_ids.len(),
            self.embedding_norms.len(),
        ];
        let matrices = [
            self.norms.len(),
            self.deltas.len(),
            self.thresholds.len(),
            self.active.len(),
            self.executed.len(),
        ];
        let is_even = vectors.iter().all(|&len| len == n)
            && matrices.iter().all(|&len| len == cells)
            && self
                .routing
                .as_ref()
                .is_none_or(|(n_chosen, experts, weights)| {
                    experts.len() == cells * n_chosen && weights.len() == experts.len()
                });
        if is_even {
            Ok(())
        } else {
            Err(Failure::new("the trace's arrays are of different lengths"))
        }
    }

    /// Returns the layers that were run for a token.
    fn executed_of(&self, token: usize) -> &[bool] {
        &self.executed[token * self.n_layers..(token + 1) * self.n_layers]
    }

    /// Returns the end of the pass that begins at a token: of one sequence and phase, at positions that follow each other,
    /// with the same layers run.
    fn end_of_pass(&self, start: usize) -> usize {
        let mut end = start + 1;
        while end < self.sequences.len()
            && self.sequences[end] == self.sequences[start]
            && self.responses[end] == self.responses[start]
            && self.positions[end] == self.positions[end - 1] + 1
            && self.executed_of(end) == self.executed_of(start)
        {
            end += 1;
        }
        end
    }

    /// Returns the tokens from `start` to `end` as the layer loop reports a pass.
    fn record(&self, pass: Pass, start: usize, end: usize, n_experts: usize) -> PassRecord {
        fn by_layer<T: Copy>(values: &[T], n_layers: usize, start: usize, end: usize) -> Vec<T> {
            let layer = |layer| (start..end).map(move |token| values[token * n_layers + layer]);
            (0..n_layers).flat_map(layer).collect()
        }
        let n_layers = self.n_layers;
        let decision = |&is_run: &bool| {
            if is_run {
                Decision::Run
            } else {
                Decision::Skip
            }
        };
        let routing = self.routing.as_ref().map(|(n_chosen, experts, weights)| {
            let layer = |layer_idx: usize| {
                let mut record = RoutingRecord {
                    n_experts,
                    n_chosen: *n_chosen,
                    experts: Vec::new(),
                    weights: Vec::new(),
                };
                for token in start..end {
                    let first = (token * n_layers + layer_idx) * n_chosen;
                    for choice in first..first + n_chosen {
                        // A layer without experts has −1 for all of its tokens.
                        record.experts.push(u32::try_from(experts[choice]).ok()?);
                        record.weights.push(weights[choice]);
                    }
                }
                Some(record)
            };
            (0..n_layers).map(layer).collect()
        });
        PassRecord {
            pass,
            decisions: self.executed_of(start).iter().map(decision).collect(),
            gate: Some(GateRecord {
                embedding_norms: self.embedding_norms[start..end].to_vec(),
                norms: by_layer(&self.norms, n_layers, start, end),
                deltas: by_layer(&self.deltas, n_layers, start, end),
                thresholds: by_layer(&self.thresholds, n_layers, start, end),
                active: by_layer(&self.active, n_layers, start, end),
            }),
            routing: routing.unwrap_or_default(),
            measures: self.measures.as_ref().and_then(|(which, all)| {
                let values = all.iter();
                let values = values.map(|values| by_layer(values, n_layers, start, end));
                MeasureRecord::new(*which, values.collect())
            }),
            lens: self.lens_record(start, end),
        }
    }

    /// Returns what a lens saw of the tokens from `start` to `end`. Of the embedding nothing is known, nor written.
    fn lens_record(&self, start: usize, end: usize) -> Option<LensRecord> {
        let (n_top, ids, [logprobs, entropy, kl]) = self.lens.as_ref()?;
        let (n_top, n_slots) = (*n_top, end - start);
        let mut record = LensRecord::default();
        record.n_top = n_top;
        record.n_slots = n_slots;
        record.ids = vec![0; n_slots * n_top];
        record.logprobs = vec![0.0; n_slots * n_top];
        record.entropy = vec![0.0; n_slots];
        record.kl = vec![0.0; n_slots];
        for layer_idx in 0..self.n_layers {
            for token in start..end {
                let at = token * self.n_layers + layer_idx;
                let top = at * n_top..(at + 1) * n_top;
                record.ids.extend_from_slice(&ids[top.clone()]);
                record.logprobs.extend_from_slice(&logprobs[top]);
                record.entropy.push(entropy[at]);
                record.kl.push(kl[at]);
            }
        }
        Some(record)
    }

    fn write(
        &self,
        path: &std::path::Path,
        info: TraceInfo,
        pieces: &HashMap<u32, String>,
    ) -> Result<u64, Failure> {
        self.check()?;
        let n_experts = info.experts.map_or(0, |experts| experts.n_experts);
        let writer = TraceWriter::create(path, info)?;
        let mut writer = writer.with_pieces(|id| pieces.get(&id).cloned());
        let mut start = 0;
        let mut first: Option<Pass> = None;
        while start < self.sequences.len() {
            let end = self.end_of_pass(start);
            let ids = self.token_ids[start..end].to_vec();
            let is_new = start == 0 || self.sequences[start] != self.sequences[start - 1];
            let position = self.positions[start] as usize;
            let pass = match (&first, self.responses[start]) {
                (_, true) => Pass::response(position, ids),
                (Some(earlier), false) if !is_new => earlier.scored_after(&[0], &[ids], 0)?,
                _ => Pass::prompt(&[ids], 0)?,
            };
            let record = self.record(pass.clone(), start, end, n_experts);
            writer
                .pass(&record)
                .map_err(|error| Failure::new(error.to_string()))?;
            first = Some(pass);
            start = end;
        }
        Ok(writer.finish()?)
    }
}

/// Writes columns as a trace. Returns the number of tokens.
#[pyfunction]
pub(crate) fn write_trace(
    py: Python<'_>,
    path: PathBuf,
    columns: &Bound<'_, PyDict>,
    info: &str,
    pieces: HashMap<u32, String>,
) -> PyResult<u64> {
    let written = Written::new(columns)?;
    let info: TraceInfo = serde_json::from_str(info).map_err(Failure::from)?;
    detached(py, || written.write(&path, info, &pieces))
}

/// Returns the statistics of a trace as JSON.
#[pyfunction]
pub(crate) fn statistics(py: Python<'_>, path: PathBuf) -> PyResult<String> {
    detached(py, || {
        let statistics = Statistics::of(&TraceReader::open(&path)?)?;
        Ok(serde_json::to_string(&statistics.summary())?)
    })
}

/// Writes the report of traces into a folder. Returns the files.
#[pyfunction]
pub(crate) fn report(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    folder: PathBuf,
    max_tokens: usize,
) -> PyResult<Vec<PathBuf>> {
    detached(py, || {
        let traces = paths
            .iter()
            .map(|path| TraceReader::open(path))
            .collect::<Result<Vec<_>, _>>()?;
        let report = TraceReport::read(&traces, &ReportConfig { max_tokens })?;
        Ok(report.write(&folder)?)
    })
}
