//! Policies written in Python.

use burn::tensor::{Bool, FloatDType, Tensor, TensorData};
use lac_core::gate::GateReading;
use lac_core::{
    BoxError, Decision, GateConfig, LayerPolicy, LayerStep, NextState, Pass, Phase, SkippedKeys,
};
use numpy::{PyArray, PyArray1, PyArrayDyn, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;

use crate::error::{Failure, LacError};

/// A policy whose hooks are methods of a Python object. Each call of one attaches to the interpreter; what a hook looks at
/// is brought to the host then, and not before.
pub(crate) struct PythonPolicy {
    name: String,
    hooks: Py<PyAny>,
    gate: Option<GateConfig>,
    phase: Phase,
    /// What the gate saw of the layers that were run so far in this pass.
    seen: Vec<(usize, GateReading)>,
}

impl PythonPolicy {
    pub(crate) fn new(name: String, hooks: Py<PyAny>, gate: Option<GateConfig>) -> Self {
        Self {
            name,
            hooks,
            gate,
            phase: Phase::Prompt,
            seen: Vec::new(),
        }
    }

    /// Calls a hook with the layer, the phase and the readings.
    fn call<T>(
        &self,
        hook: &str,
        readings: Readings,
        read: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>,
    ) -> Result<T, BoxError> {
        let call = |py: Python<'_>| -> PyResult<T> {
            let (layer, phase) = (readings.layer, self.phase.name());
            let result = self
                .hooks
                .bind(py)
                .call_method1(hook, (layer, phase, readings))?;
            read(&result)
        };
        let ended = || LacError::new_err("the interpreter has ended");
        let result = Python::try_attach(call).unwrap_or_else(|| Err(ended()));
        Ok(result?)
    }

    fn attribute<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Bound<'_, PyAny>) -> Option<T>,
    ) -> Option<T> {
        Python::try_attach(|py| read(&self.hooks.bind(py).getattr(name).ok()?)).flatten()
    }
}

impl LayerPolicy for PythonPolicy {
    fn name(&self) -> &str {
        &self.name
    }

    fn gate_config(&self) -> Option<GateConfig> {
        self.gate
    }

    fn is_per_token(&self) -> bool {
        self.attribute("per_token", |value| value.extract().ok())
            .unwrap_or(false)
    }

    fn begin(&mut self, pass: &Pass, _embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.phase = pass.phase();
        self.seen.clear();
        let mut tokens = Vec::with_capacity(pass.batch() * pass.seq());
        for row in 0..pass.batch() {
            for slot in 0..pass.seq() {
                let id = pass.token_ids().get(row * pass.seq() + slot);
                tokens.push(match (pass.position(row, slot), id) {
                    (Some(_), Some(&id)) => i64::from(id),
                    _ => -1,
                });
            }
        }
        let shape = [pass.batch(), pass.seq()];
        let call = |py: Python<'_>| -> PyResult<()> {
            let tokens = PyArray1::from_vec(py, tokens).reshape(shape)?;
            let arguments = (self.phase.name(), tokens);
            self.hooks.bind(py).call_method1("begin", arguments)?;
            Ok(())
        };
        Ok(Python::try_attach(call).unwrap_or(Ok(()))?)
    }

    fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        let readings = Readings {
            layer: layer_idx,
            at: Box::new(LayerStates {
                seen: self.seen.clone(),
                input: hidden.clone(),
                output: None,
            }),
        };
        self.call("before", readings, |result| {
            if result.is_none() {
                return Ok(Decision::Run);
            }
            let word: String = result.extract().map_err(|_| unexpected("before", result))?;
            match word.as_str() {
                "run" => Ok(Decision::Run),
                "skip" => Ok(Decision::Skip),
                "skip-attention" => Ok(Decision::SkipAttention),
                "skip-mlp" => Ok(Decision::SkipMlp),
                _ => Err(unexpected("before", result)),
            }
        })
    }

    fn skipped_keys(&self) -> SkippedKeys {
        self.attribute("skipped_keys", |value| {
            value.extract::<String>().ok()?.parse().ok()
        })
        .unwrap_or_default()
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        if let Some(reading) = &step.reading {
            self.seen.push((step.layer_idx, (**reading).clone()));
        }
        let readings = Readings {
            layer: step.layer_idx,
            at: Box::new(LayerStates {
                seen: self.seen.clone(),
                input: step.input.clone(),
                output: Some(step.output.clone()),
            }),
        };
        let output = step.output;
        self.call("after", readings, |result| next_state(result, output))
    }
}

/// Reads what `after` has returned.
fn next_state(result: &Bound<'_, PyAny>, output: &Tensor<3>) -> PyResult<NextState> {
    if result.is_none() {
        return Ok(NextState::Output);
    }
    let (device, [batch, seq, hidden]) = (output.device(), output.dims());
    if let Ok(mask) = result.cast::<PyArrayDyn<bool>>() {
        if mask.shape() != [batch, seq] {
            return Err(shape(mask.shape(), &[batch, seq]));
        }
        let data = TensorData::new(mask.to_vec()?, [batch, seq]);
        return Ok(NextState::OutputWhere(Tensor::<2, Bool>::from_data(
            data, &device,
        )));
    }
    if let Ok(state) = result.call_method1("astype", ("float32",)) {
        let state = state.cast_into::<PyArrayDyn<f32>>()?;
        if state.shape() != [batch, seq, hidden] {
            return Err(shape(state.shape(), &[batch, seq, hidden]));
        }
        // A slice of a larger array is not contiguous; `astype` has copied it in its order.
        let contiguous = state.to_owned_array();
        let data = TensorData::new(contiguous.iter().copied().collect(), [batch, seq, hidden]);
        let state = Tensor::<3>::from_data(data, &device).cast(output.dtype());
        return Ok(NextState::State(state));
    }
    match result.extract::<String>().as_deref() {
        Ok("output") => Ok(NextState::Output),
        Ok("input") => {
            let nowhere = TensorData::new(vec![false; batch * seq], [batch, seq]);
            let mask = Tensor::<2, Bool>::from_data(nowhere, &device);
            Ok(NextState::OutputWhere(mask))
        }
        _ => Err(unexpected("after", result)),
    }
}

fn shape(found: &[usize], expected: &[usize]) -> PyErr {
    PyValueError::new_err(format!(
        "after returned an array of the shape {found:?}, expected {expected:?}"
    ))
}

fn unexpected(hook: &str, found: &Bound<'_, PyAny>) -> PyErr {
    let expected = match hook {
        "before" => r#"None, "run", "skip", "skip-attention" or "skip-mlp""#,
        _ => {
            r#"None, "output", "input", a bool array [row, token] or a state [row, token, hidden]"#
        }
    };
    let found = match found.repr() {
        Ok(text) => text.to_string(),
        Err(error) => return error,
    };
    PyTypeError::new_err(format!("{hook} returned {found}, expected {expected}"))
}

/// What a hook of a policy may look at. An array is brought to the host when it is asked for.
#[pyclass(frozen, module = "lac")]
pub(crate) struct Readings {
    /// Index of the layer, from 0.
    #[pyo3(get)]
    layer: usize,
    /// Boxed: tensors are aligned more strictly than what Python allocates.
    at: Box<LayerStates>,
}

/// What is known at a layer, on the device.
struct LayerStates {
    seen: Vec<(usize, GateReading)>,
    input: Tensor<3>,
    output: Option<Tensor<3>>,
}

type Array<'py, T> = Bound<'py, PyArrayDyn<T>>;

#[pymethods]
impl Readings {
    /// The layers that were run so far, those of the first axis of the arrays below.
    #[getter]
    fn layers(&self) -> Vec<usize> {
        self.at.seen.iter().map(|(layer, _)| *layer).collect()
    }

    /// Norms after these layers, `[layer, row, token]`.
    #[getter]
    fn norms<'py>(&self, py: Python<'py>) -> PyResult<Array<'py, f32>> {
        self.stacked(py, |reading| reading.norm.clone())
    }

    /// What these layers changed of the norm, `[layer, row, token]`.
    #[getter]
    fn deltas<'py>(&self, py: Python<'py>) -> PyResult<Array<'py, f32>> {
        self.stacked(py, |reading| reading.delta.clone())
    }

    /// The thresholds that the deltas were held against, `[layer, row, token]`.
    #[getter]
    fn thresholds<'py>(&self, py: Python<'py>) -> PyResult<Array<'py, f32>> {
        self.stacked(py, |reading| reading.threshold.clone())
    }

    /// Whether these layers were active, `[layer, row, token]`.
    #[getter]
    fn active<'py>(&self, py: Python<'py>) -> PyResult<Array<'py, bool>> {
        let mut values = Vec::new();
        for (_, reading) in &self.at.seen {
            let data = reading.active.clone().try_into_data();
            let data = data.map_err(Failure::from)?;
            values.extend(data.iter::<bool>());
        }
        let [batch, seq, _] = self.at.input.dims();
        Ok(PyArray::from_vec(py, values)
            .reshape([self.at.seen.len(), batch, seq])?
            .to_dyn()
            .clone())
    }

    /// The state that goes into the layer, `[row, token, hidden]`.
    #[getter]
    fn input<'py>(&self, py: Python<'py>) -> PyResult<Array<'py, f32>> {
        state(py, &self.at.input)
    }

    /// The state that has come out of the layer, `[row, token, hidden]`; None before the layer is run.
    #[getter]
    fn output<'py>(&self, py: Python<'py>) -> PyResult<Option<Array<'py, f32>>> {
        let output = self.at.output.as_ref();
        output.map(|output| state(py, output)).transpose()
    }

    fn __repr__(&self) -> String {
        let [batch, seq, _] = self.at.input.dims();
        format!(
            "<lac.Readings of layer {}: {batch} x {seq} tokens, {} layers seen>",
            self.layer,
            self.at.seen.len()
        )
    }
}

impl Readings {
    fn stacked<'py>(
        &self,
        py: Python<'py>,
        of: impl Fn(&GateReading) -> Tensor<2>,
    ) -> PyResult<Array<'py, f32>> {
        let mut values = Vec::new();
        for (_, reading) in &self.at.seen {
            values.extend(
                of(reading)
                    .try_into_vec_as::<f32>()
                    .map_err(Failure::from)?,
            );
        }
        let [batch, seq, _] = self.at.input.dims();
        Ok(PyArray::from_vec(py, values)
            .reshape([self.at.seen.len(), batch, seq])?
            .to_dyn()
            .clone())
    }
}

fn state<'py>(py: Python<'py>, state: &Tensor<3>) -> PyResult<Array<'py, f32>> {
    let dims = state.dims();
    let values = state.clone().cast(FloatDType::F32);
    let values = values.try_into_vec_as::<f32>().map_err(Failure::from)?;
    Ok(PyArray::from_vec(py, values)
        .reshape(dims)?
        .to_dyn()
        .clone())
}
