//! What neither the gate nor measures look at: whole hidden states.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use burn::tensor::{FloatDType, Tensor, Transaction};
use lac_core::error::StateAt;
use lac_core::{BoxError, LayerPolicy, Pass, delegate};

use crate::error::{Error, Result};

/// What a probe reads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeConfig {
    /// Layers whose output is kept whole, by index.
    pub hidden_layers: Vec<usize>,
}

impl ProbeConfig {
    /// Returns whether there is anything to read.
    pub fn is_empty(&self) -> bool {
        self.hidden_layers.is_empty()
    }
}

/// A policy that does what another one does, and looks at the states that pass.
///
/// The states stay on the device until the recorder reads them, once per pass.
pub struct Probed<'a> {
    inner: &'a mut dyn LayerPolicy,
    probe: Probe,
}

impl fmt::Debug for Probed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probed")
            .field("policy", &self.inner.name())
            .field("probe", &self.probe)
            .finish()
    }
}

/// Hands what a [`Probed`] policy saw to the recorder.
#[derive(Clone, Debug)]
pub struct Probe(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    config: ProbeConfig,
    /// Slots of the pass, `batch * seq`.
    n_tokens: usize,
    /// For each layer of the pass its output, if it is kept, `[batch, seq, hidden]`.
    layers: Vec<Option<Tensor<3>>>,
}

/// What a probe saw of a pass, on the host. A token's place counts slots, row after row.
#[derive(Debug)]
pub(crate) struct ProbeReadings {
    pub n_tokens: usize,
    /// The layer, and `[tokens][hidden]`.
    pub hidden: Vec<(usize, Vec<f32>)>,
}

impl<'a> Probed<'a> {
    /// Wraps a policy. The probe goes to
    /// [`TraceWriter::with_probe`](crate::TraceWriter::with_probe).
    pub fn new(inner: &'a mut dyn LayerPolicy, config: ProbeConfig) -> (Self, Probe) {
        let state = State {
            config,
            ..State::default()
        };
        let probe = Probe(Rc::new(RefCell::new(state)));
        let policy = Self {
            inner,
            probe: probe.clone(),
        };
        (policy, probe)
    }
}

impl LayerPolicy for Probed<'_> {
    // A probe only looks: what the policy promises of its results holds with it as without.
    delegate! {
        self, self.inner;
        name gate_config fused_action measures lens effect is_per_token before skipped_keys runs_sublayers_apart
        after_sublayer after finish
    }

    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        let mut state = self.probe.0.borrow_mut();
        state.layers.clear();
        state.n_tokens = pass.batch() * pass.seq();
        drop(state);
        self.inner.begin(pass, embedding)
    }

    // Called for layers that are not run too: they pass their input on.
    fn change_state(
        &mut self,
        at: StateAt,
        state: &Tensor<3>,
    ) -> Result<Option<Tensor<3>>, BoxError> {
        let changed = self.inner.change_state(at, state)?;
        if let StateAt::Layer(layer_idx) = at {
            let state = changed.as_ref().unwrap_or(state);
            self.probe.0.borrow_mut().push(layer_idx, state);
        }
        Ok(changed)
    }
}

impl State {
    fn push(&mut self, layer_idx: usize, state: &Tensor<3>) {
        let is_chosen = self.config.hidden_layers.contains(&layer_idx);
        let state = is_chosen.then(|| state.clone().cast(FloatDType::F32));
        self.layers.push(state);
    }
}

impl Probe {
    /// Returns whether there is anything to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().config.is_empty()
    }

    /// Brings what was seen of the last pass to the host in one read.
    pub(crate) fn read(&self) -> Result<ProbeReadings> {
        let State {
            config,
            n_tokens,
            layers,
        } = &mut *self.0.borrow_mut();
        let (n_tokens, layers) = (*n_tokens, std::mem::take(layers));
        if let Some(&layer_idx) = config
            .hidden_layers
            .iter()
            .find(|&&idx| idx >= layers.len())
        {
            return Err(Error::UnknownLayer {
                layer_idx,
                n_layers: layers.len(),
            });
        }

        let mut transaction = Transaction::default();
        let mut hidden_layers = Vec::new();
        for (layer_idx, layer) in layers.iter().enumerate() {
            if let Some(hidden) = layer {
                hidden_layers.push(layer_idx);
                transaction = transaction.register(hidden.clone());
            }
        }
        let mut read = Vec::with_capacity(hidden_layers.len());
        if !hidden_layers.is_empty() {
            for data in transaction.try_execute().map_err(device_error)? {
                read.push(data.try_into_vec::<f32>().map_err(device_error)?);
            }
        }
        let hidden = hidden_layers.into_iter().zip(read).collect();
        Ok(ProbeReadings { n_tokens, hidden })
    }
}

fn device_error(error: impl std::fmt::Display) -> Error {
    Error::Device {
        reason: error.to_string(),
    }
}
