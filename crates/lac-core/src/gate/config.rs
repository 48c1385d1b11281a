//! The gate's settings.

use burn::tensor::{DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernel::Kernel;
use crate::released_code::{FirstThreshold, GateRounding};

/// The gate's settings.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GateConfig {
    /// α: the share of the range of earlier deltas that a layer's delta has to reach.
    pub alpha: f32,
    /// How the gate's numbers are rounded.
    #[serde(default)]
    pub rounding: GateRounding,
    /// What the first layer's delta is compared with.
    #[serde(default, skip_serializing_if = "FirstThreshold::is_zero")]
    pub first_threshold: FirstThreshold,
}

/// The α of the paper's runs.
pub const DEFAULT_ALPHA: f32 = 0.8;

impl Default for GateConfig {
    fn default() -> Self {
        Self::new(DEFAULT_ALPHA)
    }
}

impl GateConfig {
    /// Makes the settings of a gate with this α that computes in f32.
    pub fn new(alpha: f32) -> Self {
        Self {
            alpha,
            rounding: GateRounding::F32,
            first_threshold: FirstThreshold::Zero,
        }
    }

    /// Sets α.
    pub fn with_alpha(self, alpha: f32) -> Self {
        Self { alpha, ..self }
    }

    /// Sets how the gate's numbers are rounded.
    pub fn with_rounding(self, rounding: GateRounding) -> Self {
        Self { rounding, ..self }
    }

    /// Sets what the first layer's delta is compared with.
    pub fn with_first_threshold(self, first_threshold: FirstThreshold) -> Self {
        Self {
            first_threshold,
            ..self
        }
    }

    /// Returns the kernel that gates these states, which all have one data type. Kernels compute the paper's gate; the
    /// released code's variants run in tensor operations.
    pub(super) fn kernel_for(&self, states: &[&Tensor<3>]) -> Option<Kernel> {
        let is_the_papers = self.rounding == GateRounding::F32 && self.first_threshold.is_zero();
        if is_the_papers {
            Kernel::for_states(states)
        } else {
            None
        }
    }

    /// Checks the settings, and that the embedding's device can follow them.
    pub(super) fn check(&self, embedding: &Tensor<3>) -> Result<()> {
        self.validate()?;
        if self.rounding == GateRounding::Bf16 && !embedding.device().supports_dtype(DType::BF16) {
            return Err(Error::UnsupportedDtype {
                dtype: "bf16",
                needed_by: "the gate's bf16 rounding",
            });
        }
        Ok(())
    }

    /// Returns whether a token's reading follows from the token's own states, whatever the other rows of the batch hold:
    /// what a policy's [`is_per_token`](crate::LayerPolicy::is_per_token) needs to know of its gate.
    pub fn is_per_token(&self) -> bool {
        self.first_threshold.is_zero()
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if α is negative or not finite.
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
