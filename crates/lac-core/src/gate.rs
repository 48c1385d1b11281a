//! The gate: which layers do something for a token that the L2 norm can see.
//!
//! Source: arXiv 2505.14467, section 3. With `n_l` the norm after layer `l`, `Δ_l = n_l − n_{l−1}`
//! and `λ_l = α (max_{j<l} Δ_j − min_{j<l} Δ_j)`, layer `l` is active for the token iff
//! `Δ_l ≥ λ_l`, and a void otherwise. `λ_0 = λ_1 = 0`.

use burn::tensor::{Bool, DType, FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

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

/// The gate's settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateConfig {
    /// α: the share of the range of earlier deltas that a layer's delta has to reach.
    pub alpha: f32,
    /// How the gate's numbers are rounded.
    #[serde(default)]
    pub rounding: GateRounding,
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
        }
    }

    /// The same gate with another rounding.
    pub fn with_rounding(self, rounding: GateRounding) -> Self {
        Self { rounding, ..self }
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
#[derive(Clone, Debug)]
pub struct Gate {
    config: GateConfig,
    embedding_norm: Tensor<2>,
    previous_norm: Tensor<2>,
    delta_range: Option<DeltaRange>,
}

/// The largest and the smallest delta so far, `[batch, seq]` each.
#[derive(Clone, Debug)]
struct DeltaRange {
    max: Tensor<2>,
    min: Tensor<2>,
}

impl Gate {
    /// Starts a pass from its embedding output `[batch, seq, hidden]`.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for an impossible α, [`Error::UnsupportedDtype`] when
    /// [`GateRounding::Bf16`] is asked of a device without bf16.
    pub fn start(config: GateConfig, embedding: &Tensor<3>) -> Result<Self> {
        config.validate()?;
        if config.rounding == GateRounding::Bf16 && !embedding.device().supports_dtype(DType::BF16)
        {
            return Err(Error::UnsupportedDtype {
                dtype: "bf16",
                needed_by: "the gate's bf16 rounding",
            });
        }
        let norm = round(l2_norm(embedding), config.rounding);
        Ok(Self {
            config,
            embedding_norm: norm.clone(),
            previous_norm: norm,
            delta_range: None,
        })
    }

    /// Norm of the embedding output, `[batch, seq]`, f32.
    pub fn embedding_norm(&self) -> &Tensor<2> {
        &self.embedding_norm
    }

    /// Norm of the state that the next layer receives, `[batch, seq]`, f32.
    pub fn previous_norm(&self) -> &Tensor<2> {
        &self.previous_norm
    }

    /// Judges a layer by its output `[batch, seq, hidden]` and takes its delta into the range.
    ///
    /// The output is taken to be what the next layer receives: its norm is the next delta's base.
    pub fn measure(&mut self, output: &Tensor<3>) -> GateReading {
        let rounding = self.config.rounding;
        let norm = round(l2_norm(output), rounding);
        let delta = round(norm.clone() - self.previous_norm.clone(), rounding);
        let threshold = self.next_threshold();
        self.delta_range = Some(match self.delta_range.take() {
            None => DeltaRange {
                max: delta.clone(),
                min: delta.clone(),
            },
            Some(DeltaRange { max, min }) => DeltaRange {
                max: max.max_pair(delta.clone()),
                min: min.min_pair(delta.clone()),
            },
        });
        self.previous_norm = norm.clone();
        GateReading {
            active: delta.clone().greater_equal(threshold.clone()),
            norm,
            delta,
            threshold,
        }
    }

    /// The threshold that the next layer's delta would be held against, `[batch, seq]`, f32.
    pub fn next_threshold(&self) -> Tensor<2> {
        match &self.delta_range {
            None => self.previous_norm.zeros_like(),
            Some(DeltaRange { max, min }) => {
                let range = round(max.clone() - min.clone(), self.config.rounding);
                round(range * self.config.alpha, self.config.rounding)
            }
        }
    }

    /// Says that the next layer receives the measured output only where `output_kept` holds, and
    /// the layer's own input elsewhere. `input_norm` is the norm of that input.
    pub(crate) fn kept(&mut self, output_kept: Tensor<2, Bool>, input_norm: Tensor<2>) {
        let measured = self.previous_norm.clone();
        self.previous_norm = input_norm.mask_where(output_kept, measured);
    }

    /// Says that the next layer receives another state than the one measured.
    pub(crate) fn replaced(&mut self, state: &Tensor<3>) {
        self.previous_norm = round(l2_norm(state), self.config.rounding);
    }
}

/// The L2 norm over the hidden axis: `[batch, seq, hidden]` to `[batch, seq]`, accumulated in
/// f32 whatever the input's data type is.
pub fn l2_norm(hidden: &Tensor<3>) -> Tensor<2> {
    let hidden = hidden.clone().cast(FloatDType::F32);
    hidden.square().sum_dim(2).sqrt().squeeze_dim::<2>(2)
}

fn round(values: Tensor<2>, rounding: GateRounding) -> Tensor<2> {
    match rounding {
        GateRounding::F32 => values,
        GateRounding::Bf16 => values.cast(FloatDType::BF16).cast(FloatDType::F32),
    }
}
