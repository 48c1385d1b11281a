//! What the paper's released code does and its text does not say, kept to reproduce its results.
//!
//! Nothing here is for new work. The defaults of [`GateConfig`](crate::GateConfig) and
//! [`GenerationConfig`](crate::generation::GenerationConfig) use none of it, and no kernel computes it: a gate with
//! one of these settings runs in tensor operations.
//!
//! - [`GateRounding::Bf16`] rounds the gate's numbers at every step, as arithmetic on a bf16 model's tensors does.
//! - [`FirstThreshold::BatchRange`] takes the first layer's threshold from the whole batch.
//! - [`PromptPadding::AsTokens`] lets the padding of shorter prompts be read as if it were text.

use burn::tensor::{FloatDType, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::pass::Pass;

/// How the gate's numbers are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateRounding {
    /// They are accumulated, kept and compared in f32, whatever the model's data type is.
    #[default]
    F32,
    /// They are rounded to bf16 at every step, as the released code does for a bf16 model: the norm, the delta, the range,
    /// and α times the range. For comparisons with its results only.
    Bf16,
}

impl GateRounding {
    /// Rounds values `[batch, seq]`.
    pub(crate) fn round(self, values: Tensor<2>) -> Tensor<2> {
        match self {
            GateRounding::F32 => values,
            GateRounding::Bf16 => values.cast(FloatDType::BF16).cast(FloatDType::F32),
        }
    }
}

/// What the first layer's delta is compared with. No layer comes before it, so there is no range of earlier deltas.
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
    pub(crate) fn is_zero(&self) -> bool {
        *self == FirstThreshold::Zero
    }

    /// The range of the first layer's deltas `[batch, seq]`, in the same shape: zero, or over the rows of the batch.
    pub(crate) fn range(self, delta: &Tensor<2>) -> Tensor<2> {
        // An empty batch has no range to take.
        if self.is_zero() || delta.dims().contains(&0) {
            return delta.zeros_like();
        }
        let range = delta.clone().max_dim(0) - delta.clone().min_dim(0);
        range.expand(delta.dims())
    }
}

/// What happens to the slots that prompts shorter than the longest of their batch leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptPadding {
    /// They stand on the left, are never attended to and never count: a row gives what it gives alone.
    #[default]
    Masked,
    /// They stand on the right and are masked in the prompts' pass only: the first token is drawn from the last of
    /// them, and later tokens attend to all ([`Pass::prompt_with_padding_as_tokens`]). For comparisons with the
    /// released code's results only.
    AsTokens,
}

impl PromptPadding {
    /// Makes the pass over prompts, padded with `pad_id` to the longest.
    pub(crate) fn pass<R: AsRef<[u32]>>(self, rows: &[R], pad_id: u32) -> Result<Pass> {
        match self {
            PromptPadding::Masked => Pass::prompt(rows, pad_id),
            PromptPadding::AsTokens => Pass::prompt_with_padding_as_tokens(rows, pad_id),
        }
    }
}

impl Pass {
    /// Makes a pass over prompts as the released code feeds them, for comparisons with its results only: rows
    /// that are shorter than the longest go on with `pad_id`, as if the prompt did. This pass masks the keys of
    /// these slots ([`masked_tail`](Self::masked_tail)); later passes attend to them, they have positions, and they
    /// count.
    ///
    /// # Errors
    /// [`Error::EmptyPrompt`](crate::Error::EmptyPrompt) when there is no row or a row without a token.
    pub fn prompt_with_padding_as_tokens<R: AsRef<[u32]>>(rows: &[R], pad_id: u32) -> Result<Self> {
        Ok(Self::scored(rows, pad_id)?.with_trailing_as_masked_tail())
    }
}
