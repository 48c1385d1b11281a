//! The gate of one pass, layer by layer.

use burn::tensor::{Bool, Tensor};

use super::config::GateConfig;
use super::portable;
use super::record::{GateReading, Record};
use super::select::{l2_norm, select_tokens};
use crate::error::Result;
use crate::kernel::{Field, Kernel, Select};

/// The gate's running state over the layers of one pass, per token, on the device.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use lac_core::{Gate, GateConfig};
///
/// let device = Device::flex();
/// let state = |norm: f32| Tensor::<3>::from_floats([[[norm, 0.0]]], &device);
/// let mut gate = Gate::start(GateConfig::new(0.8), &state(1.0))?;
/// let active: Vec<bool> = [2.0, 4.0, 4.5]
///     .iter()
///     .map(|&norm| gate.measure(&state(norm)).active.into_scalar::<bool>())
///     .collect();
/// // Deltas 1, 2, 0.5; the third is compared with 0.8 × (2 − 1).
/// assert_eq!(active, [true, true, false]);
/// # Ok::<(), lac_core::Error>(())
/// ```
///
/// On a backend whose kernel was compiled in (the features of this crate), every measurement is one launch that reads the
/// state once; elsewhere it is a handful of tensor operations. [`run_layers`](crate::run_layers) drives a gate by itself:
/// use this type for loops over layers of your own.
#[derive(Clone, Debug)]
pub struct Gate {
    config: GateConfig,
    arithmetic: Arithmetic,
    /// The record of the embedding.
    embedding: Record,
    /// The record of the last state.
    last: Record,
    /// Number of layers judged so far.
    n_layers: usize,
}

/// How the gate's numbers are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Arithmetic {
    /// By a kernel.
    Kernel,
    /// By tensor operations, to the end of the pass.
    TensorOps,
}

impl Gate {
    /// Starts a pass from its embedding output `[batch, seq, hidden]`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`](crate::Error::InvalidConfig) for an impossible α;
    /// [`Error::UnsupportedDtype`](crate::Error::UnsupportedDtype) for
    /// [`GateRounding::Bf16`](crate::released_code::GateRounding::Bf16) on a device without bf16.
    pub fn start(config: GateConfig, embedding: &Tensor<3>) -> Result<Self> {
        config.check(embedding)?;
        let Some(kernel) = config.kernel_for(&[embedding]) else {
            return Ok(Self::portable(config, embedding));
        };
        let before = Record::before(embedding);
        let record = gate_one(kernel, embedding, &before, config.alpha);
        Ok(Self::new(config, Arithmetic::Kernel, record))
    }

    /// Starts a pass that is gated in tensor operations alone, on any backend. The kernels are tested and measured against
    /// it.
    ///
    /// # Errors
    /// As [`Gate::start`].
    pub fn start_portable(config: GateConfig, embedding: &Tensor<3>) -> Result<Self> {
        config.check(embedding)?;
        Ok(Self::portable(config, embedding))
    }

    fn portable(config: GateConfig, embedding: &Tensor<3>) -> Self {
        let record = portable::embedding(&config, embedding);
        Self::new(config, Arithmetic::TensorOps, record)
    }

    fn new(config: GateConfig, arithmetic: Arithmetic, embedding: Record) -> Self {
        Self {
            config,
            arithmetic,
            last: embedding.clone(),
            embedding,
            n_layers: 0,
        }
    }

    /// Returns whether a kernel does the work. Once the gate is given a state that the kernel cannot take, such as one that
    /// autodiff follows, tensor operations do the rest of the pass.
    pub fn is_fused(&self) -> bool {
        self.arithmetic == Arithmetic::Kernel
    }

    /// Returns the norm of the embedding, `[batch, seq]`, f32.
    pub fn embedding_norm(&self) -> Tensor<2> {
        self.embedding.row(Field::Norm)
    }

    /// Returns the record of the last state.
    pub(crate) fn last(&self) -> &Record {
        &self.last
    }

    /// Returns the norm of the state that the next layer receives, `[batch, seq]`, f32.
    pub fn previous_norm(&self) -> Tensor<2> {
        self.last.row(Field::Carried)
    }

    /// Returns the threshold that the next layer's delta is compared with, `[batch, seq]`, f32. Before the first layer it
    /// is zero, even under [`FirstThreshold::BatchRange`](crate::released_code::FirstThreshold::BatchRange), which needs
    /// that layer's own deltas.
    pub fn next_threshold(&self) -> Tensor<2> {
        portable::next_threshold(&self.config, &self.last)
    }

    /// Judges a layer by its output `[batch, seq, hidden]`, and adds its delta to the range that later thresholds follow
    /// from. Call it once for each layer, in their order.
    ///
    /// The next layer is expected to receive the output: the next delta is taken from its norm.
    pub fn measure(&mut self, output: &Tensor<3>) -> GateReading {
        self.judge(output).to_reading()
    }

    /// As [`measure`](Self::measure), with the whole record.
    pub(crate) fn judge(&mut self, output: &Tensor<3>) -> &Record {
        let record = match self.kernel_for(&[output]) {
            Some(kernel) => gate_one(kernel, output, &self.last, self.config.alpha),
            None => self.judge_portably(output, Select::KeepOutput),
        };
        self.take(record)
    }

    /// Judges a layer by its output and returns the state for the next layer, both `[batch, seq, hidden]`: the output where
    /// the layer is active, its `input` elsewhere. The next delta is taken from the norm of this state. One launch with a
    /// kernel.
    pub fn measure_bypass(
        &mut self,
        output: Tensor<3>,
        input: Tensor<3>,
    ) -> (GateReading, Tensor<3>) {
        let state = self.judge_select(output, input, Select::KeepInput);
        (self.last.to_reading(), state)
    }

    /// Judges a layer by its output and returns `last_active` with the output in the places where the layer is active, all
    /// `[batch, seq, hidden]`. The next layer is expected to receive the output. One launch with a kernel.
    pub fn measure_last_active(
        &mut self,
        output: Tensor<3>,
        last_active: Tensor<3>,
    ) -> (GateReading, Tensor<3>) {
        let state = self.judge_select(output, last_active, Select::KeepOutput);
        (self.last.to_reading(), state)
    }

    /// Judges a layer and returns its output where it is active and `fallback` elsewhere; [`last`](Self::last) is the
    /// record.
    pub(crate) fn judge_select(
        &mut self,
        output: Tensor<3>,
        fallback: Tensor<3>,
        select: Select,
    ) -> Tensor<3> {
        let Some(kernel) = self.kernel_for(&[&output, &fallback]) else {
            let record = self.judge_portably(&output, select);
            let active = record.active();
            self.take(record);
            return select_tokens(active, output, fallback);
        };
        let states = output.unsqueeze_dim::<4>(0);
        let before = self.last.rows();
        let out = kernel.gate_select(states, before, fallback, self.config.alpha, select);
        self.take(Record::new(out.records.squeeze_dim::<3>(0)));
        out.selected
    }

    fn judge_portably(&self, output: &Tensor<3>, select: Select) -> Record {
        portable::layer(&self.config, &self.last, self.n_layers, output, select)
    }

    fn take(&mut self, record: Record) -> &Record {
        self.last = record;
        self.n_layers += 1;
        &self.last
    }

    /// Returns the kernel for the states that come next. From the first states on that it cannot take, tensor
    /// operations do the rest: a model may go over to another data type between layers, and autodiff begins where the
    /// first weight that it follows is.
    fn kernel_for(&mut self, states: &[&Tensor<3>]) -> Option<Kernel> {
        if self.arithmetic == Arithmetic::TensorOps {
            return None;
        }
        // The record is a tensor of another kind once a policy has put one of its own in.
        let kernel =
            Kernel::for_states(&[&self.last.rows()]).and_then(|_| self.config.kernel_for(states));
        if kernel.is_none() {
            self.arithmetic = Arithmetic::TensorOps;
        }
        kernel
    }

    /// Records a layer that was not run.
    pub(crate) fn skipped(&mut self) -> &Record {
        self.last = self.last.of_skipped_layer(self.next_threshold());
        &self.last
    }

    /// Records that the next layer receives the measured output where `output_kept` holds, and the layer's own input
    /// elsewhere. `input_norm` is the norm of that input.
    pub(crate) fn kept(&mut self, output_kept: Tensor<2, Bool>, input_norm: Tensor<2>) {
        let norm = input_norm.mask_where(output_kept, self.previous_norm());
        self.last = self.last.with_carried(norm);
    }

    /// Records that the next layer receives another state than the one measured.
    pub(crate) fn replaced(&mut self, state: &Tensor<3>) {
        let norm = self.config.rounding.round(l2_norm(state));
        self.last = self.last.with_carried(norm);
    }
}

/// The record of one state, by a kernel.
fn gate_one(kernel: Kernel, state: &Tensor<3>, before: &Record, alpha: f32) -> Record {
    let states = state.clone().unsqueeze_dim::<4>(0);
    let records = kernel.gate(states, before.rows(), alpha);
    Record::new(records.squeeze_dim::<3>(0))
}
