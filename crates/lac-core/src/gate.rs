//! The gate: which layers do something for a token that the L2 norm can see.
//!
//! Source: arXiv 2505.14467, section 3. With `n_l` the norm after layer `l`, `Δ_l = n_l − n_{l−1}`
//! and `λ_l = α (max_{j<l} Δ_j − min_{j<l} Δ_j)`, layer `l` is active for the token iff
//! `Δ_l ≥ λ_l`, and a void otherwise. `λ_0 = λ_1 = 0`.

#[cfg(not(any(feature = "flex", feature = "cube")))]
#[path = "gate/absent.rs"]
mod fused;
#[cfg(any(feature = "flex", feature = "cube"))]
mod fused;
pub(crate) mod portable;

use burn::tensor::{Bool, DType, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use self::fused::FusedGate;
pub(crate) use self::fused::{GatedAtOnce, WaitingGate};
use self::portable::PortableGate;
use crate::error::{Error, Result};
use crate::kernel::{Row, Select};

/// How the gate's numbers are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateRounding {
    /// Accumulated, kept and compared in f32, whatever the model's data type is.
    #[default]
    F32,
    /// Rounded to bf16 at every step, as the released code does for a bf16 model: the norm, the
    /// delta, the range, and α times the range. For comparisons with its results only.
    Bf16,
}

/// What the first layer's delta is held against. No layer comes before it, so there is no range of earlier deltas.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstThreshold {
    /// Zero, per token as all other thresholds.
    #[default]
    Zero,
    /// α times the range of the first layer's own deltas over the rows of the batch, position by position and with
    /// padding, as in the released code: a token's flag then depends on the prompts beside it. For comparisons with
    /// its results only. Zero in a batch of one.
    BatchRange,
}

impl FirstThreshold {
    fn is_zero(&self) -> bool {
        *self == FirstThreshold::Zero
    }
}

/// The gate's settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GateConfig {
    /// α: the share of the range of earlier deltas that a layer's delta has to reach.
    pub alpha: f32,
    /// How the gate's numbers are rounded.
    #[serde(default)]
    pub rounding: GateRounding,
    /// What the first layer's delta is held against.
    #[serde(default, skip_serializing_if = "FirstThreshold::is_zero")]
    pub first_threshold: FirstThreshold,
}

/// α of the paper's runs.
pub const DEFAULT_ALPHA: f32 = 0.8;

impl Default for GateConfig {
    fn default() -> Self {
        Self::new(DEFAULT_ALPHA)
    }
}

impl GateConfig {
    /// A gate with the given α that computes in f32.
    pub fn new(alpha: f32) -> Self {
        Self {
            alpha,
            rounding: GateRounding::F32,
            first_threshold: FirstThreshold::Zero,
        }
    }

    /// The same gate with another α.
    pub fn with_alpha(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    /// The same gate with another rounding.
    pub fn with_rounding(self, rounding: GateRounding) -> Self {
        Self { rounding, ..self }
    }

    /// The same gate with another threshold for the first layer.
    pub fn with_first_threshold(self, first_threshold: FirstThreshold) -> Self {
        Self {
            first_threshold,
            ..self
        }
    }

    /// Whether the gate is that of the paper, which is what the kernels compute. The released code's own ways are
    /// for comparisons only.
    fn has_kernels(&self) -> bool {
        self.rounding == GateRounding::F32 && self.first_threshold.is_zero()
    }

    /// Whether what the gate says of a token follows from the token's own states, whatever stands beside it in the
    /// batch. For [`LayerPolicy::is_per_token`](crate::LayerPolicy::is_per_token).
    pub fn is_per_token(&self) -> bool {
        self.first_threshold.is_zero()
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when α is negative or not finite.
    pub fn validate(&self) -> Result<()> {
        if self.alpha.is_finite() && self.alpha >= 0.0 {
            return Ok(());
        }
        Err(Error::InvalidConfig {
            field: "alpha",
            value: self.alpha.to_string(),
            expected: "a finite number that is not negative",
        })
    }
}

/// What the gate says of one layer; every tensor is `[batch, seq]` and stays on the device.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GateReading {
    /// `n_l`, f32.
    pub norm: Tensor<2>,
    /// `Δ_l`, f32.
    pub delta: Tensor<2>,
    /// `λ_l`, f32.
    pub threshold: Tensor<2>,
    /// `Δ_l ≥ λ_l`.
    pub active: Tensor<2, Bool>,
}

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
/// // Deltas 1, 2, 0.5; the third is held against 0.8 × (2 − 1).
/// assert_eq!(active, [true, true, false]);
/// # Ok::<(), lac_core::Error>(())
/// ```
///
/// On a backend whose kernel was compiled in (the features of this crate) every measurement is
/// one launch that reads the state once; elsewhere it is a handful of tensor operations.
#[derive(Clone, Debug)]
pub struct Gate {
    embedding: Verdict,
    engine: Engine,
}

/// Who does the arithmetic.
#[derive(Clone, Debug)]
enum Engine {
    Fused(FusedGate),
    Portable(Box<PortableGate>),
}

/// What the gate says of one state, in the form its engine has it.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Record(Record),
    Reading(Box<GateReading>),
}

/// The rows of [`Row`] of one state, `[ROWS, batch, seq]`. Boxed, because a tensor's handle is
/// large.
#[derive(Clone, Debug)]
pub(crate) struct Record(Box<Tensor<3>>);

impl Gate {
    /// Starts a pass from its embedding output `[batch, seq, hidden]`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for an impossible α, [`Error::UnsupportedDtype`] when
    /// [`GateRounding::Bf16`] is asked of a device without bf16.
    pub fn start(config: GateConfig, embedding: &Tensor<3>) -> Result<Self> {
        check(config, embedding)?;
        let fused = match config.has_kernels() {
            true => FusedGate::start(config.alpha, embedding),
            false => None,
        };
        Ok(match fused {
            Some(gate) => Self {
                embedding: Verdict::Record(gate.record().clone()),
                engine: Engine::Fused(gate),
            },
            None => Self::portable(config, embedding),
        })
    }

    /// The same without a kernel, in tensor operations alone, on whatever backend: what the
    /// kernels are tested against and measured by.
    ///
    /// # Errors
    /// As [`Gate::start`].
    pub fn start_portable(config: GateConfig, embedding: &Tensor<3>) -> Result<Self> {
        check(config, embedding)?;
        Ok(Self::portable(config, embedding))
    }

    fn portable(config: GateConfig, embedding: &Tensor<3>) -> Self {
        let gate = PortableGate::start(config, embedding);
        let norm = gate.previous_norm().clone();
        Self {
            embedding: Verdict::from(GateReading {
                delta: norm.zeros_like(),
                threshold: norm.zeros_like(),
                active: norm.clone().lower_elem(0.0),
                norm,
            }),
            engine: Engine::Portable(Box::new(gate)),
        }
    }

    /// Whether a kernel does the work. One that is given states it cannot take, such as those that
    /// autodiff follows, leaves the rest of the pass to tensor operations.
    pub fn is_fused(&self) -> bool {
        matches!(self.engine, Engine::Fused(_))
    }

    /// Norm of the embedding output, `[batch, seq]`, f32.
    pub fn embedding_norm(&self) -> Tensor<2> {
        self.embedding.norm()
    }

    /// What is known of the embedding.
    pub(crate) fn embedding(&self) -> &Verdict {
        &self.embedding
    }

    /// Norm of the state that the next layer receives, `[batch, seq]`, f32.
    pub fn previous_norm(&self) -> Tensor<2> {
        match &self.engine {
            Engine::Fused(gate) => gate.record().row(Row::Carried),
            Engine::Portable(gate) => gate.previous_norm().clone(),
        }
    }

    /// Judges a layer by its output `[batch, seq, hidden]` and takes its delta into the range.
    ///
    /// The output is taken to be what the next layer receives: its norm is the next delta's base.
    pub fn measure(&mut self, output: &Tensor<3>) -> GateReading {
        self.judge(output).into_reading()
    }

    /// [`measure`](Self::measure) without taking the answer apart.
    pub(crate) fn judge(&mut self, output: &Tensor<3>) -> Verdict {
        self.settle(&[output]);
        match &mut self.engine {
            Engine::Fused(gate) => Verdict::Record(gate.measure(output)),
            Engine::Portable(gate) => Verdict::from(gate.measure(output)),
        }
    }

    /// Judges a layer by its output and returns the state that goes on, both
    /// `[batch, seq, hidden]`: the output where the layer is active, its `input` elsewhere. The
    /// next layer is held against the norms of the states so chosen. One launch with a kernel.
    pub fn measure_bypass(
        &mut self,
        output: Tensor<3>,
        input: Tensor<3>,
    ) -> (GateReading, Tensor<3>) {
        let (verdict, state) = self.judge_select(output, input, Select::KeepInput);
        (verdict.into_reading(), state)
    }

    /// Judges a layer by its output and returns `last_active` with the output written to it where
    /// the layer is active, all `[batch, seq, hidden]`. The next layer is expected to receive the
    /// output. One launch with a kernel.
    pub fn measure_last_active(
        &mut self,
        output: Tensor<3>,
        last_active: Tensor<3>,
    ) -> (GateReading, Tensor<3>) {
        let (verdict, state) = self.judge_select(output, last_active, Select::KeepOutput);
        (verdict.into_reading(), state)
    }

    pub(crate) fn judge_select(
        &mut self,
        output: Tensor<3>,
        fallback: Tensor<3>,
        select: Select,
    ) -> (Verdict, Tensor<3>) {
        self.settle(&[&output, &fallback]);
        match &mut self.engine {
            Engine::Fused(gate) => {
                let (record, selected) = gate.measure_select(output, fallback, select);
                (Verdict::Record(record), selected)
            }
            Engine::Portable(gate) => {
                let (reading, selected) = gate.measure_select(&output, fallback, select);
                (Verdict::from(reading), selected)
            }
        }
    }

    /// Hands over to tensor operations where the kernel cannot take the states that come next: a
    /// model may go over to another data type between layers, and autodiff begins where the first
    /// weight that it follows is.
    fn settle(&mut self, states: &[&Tensor<3>]) {
        if let Engine::Fused(gate) = &self.engine
            && !gate.takes(states)
        {
            self.engine = Engine::Portable(Box::new(gate.to_portable()));
        }
    }

    /// Starts a pass whose layers run on unchanged states and are gated in one launch at its
    /// end; `None` where no kernel can do it.
    ///
    /// # Errors
    /// As [`Gate::start`].
    pub(crate) fn start_waiting(
        config: GateConfig,
        embedding: &Tensor<3>,
    ) -> Result<Option<WaitingGate>> {
        check(config, embedding)?;
        Ok(match config.has_kernels() {
            true => WaitingGate::start(config.alpha, embedding),
            false => None,
        })
    }

    /// The threshold that the next layer's delta would be held against, `[batch, seq]`, f32; zero before the first
    /// layer, even under [`FirstThreshold::BatchRange`], which needs that layer's own deltas.
    pub fn next_threshold(&self) -> Tensor<2> {
        match &self.engine {
            Engine::Fused(gate) => gate.next_threshold(),
            Engine::Portable(gate) => gate.next_threshold(),
        }
    }

    /// Says that the next layer receives the measured output only where `output_kept` holds, and
    /// the layer's own input elsewhere. `input_norm` is the norm of that input.
    pub(crate) fn kept(&mut self, output_kept: Tensor<2, Bool>, input_norm: Tensor<2>) {
        match &mut self.engine {
            Engine::Fused(gate) => gate.kept(output_kept, input_norm),
            Engine::Portable(gate) => gate.kept(output_kept, input_norm),
        }
    }

    /// Says that the next layer receives another state than the one measured.
    pub(crate) fn replaced(&mut self, state: &Tensor<3>) {
        match &mut self.engine {
            Engine::Fused(gate) => gate.replaced(state),
            Engine::Portable(gate) => gate.replaced(state),
        }
    }
}

impl From<GateReading> for Verdict {
    fn from(reading: GateReading) -> Self {
        Verdict::Reading(Box::new(reading))
    }
}

impl Verdict {
    pub(crate) fn into_reading(self) -> GateReading {
        match self {
            Verdict::Record(record) => GateReading {
                norm: record.row(Row::Norm),
                delta: record.row(Row::Delta),
                threshold: record.row(Row::Threshold),
                active: record.row(Row::Active).greater_elem(0.5),
            },
            Verdict::Reading(reading) => *reading,
        }
    }

    fn norm(&self) -> Tensor<2> {
        match self {
            Verdict::Record(record) => record.row(Row::Norm),
            Verdict::Reading(reading) => reading.norm.clone(),
        }
    }
}

impl Record {
    #[cfg_attr(not(any(feature = "flex", feature = "cube")), allow(dead_code))]
    pub(crate) fn new(rows: Tensor<3>) -> Self {
        Self(Box::new(rows))
    }

    /// All rows, `[ROWS, batch, seq]`.
    pub(crate) fn rows(&self) -> Tensor<3> {
        (*self.0).clone()
    }

    /// One of the rows, `[batch, seq]`.
    pub(crate) fn row(&self, row: Row) -> Tensor<2> {
        self.rows().narrow(0, row as usize, 1).squeeze_dim::<2>(0)
    }
}

/// The L2 norm over the hidden axis: `[batch, seq, hidden]` to `[batch, seq]`, accumulated in
/// f32 whatever the input's data type is.
pub fn l2_norm(hidden: &Tensor<3>) -> Tensor<2> {
    let hidden = hidden.clone().cast(FloatDType::F32);
    hidden.square().sum_dim(2).sqrt().squeeze_dim::<2>(2)
}

fn check(config: GateConfig, embedding: &Tensor<3>) -> Result<()> {
    config.validate()?;
    if config.rounding == GateRounding::Bf16 && !embedding.device().supports_dtype(DType::BF16) {
        return Err(Error::UnsupportedDtype {
            dtype: "bf16",
            needed_by: "the gate's bf16 rounding",
        });
    }
    Ok(())
}
