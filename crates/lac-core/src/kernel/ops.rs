//! The operation as burn's backends see it.

#[cfg(feature = "cube")]
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, ExtensionType, backend_extension};
#[cfg(feature = "cube")]
use burn::tensor::DType;

use super::layout::Select;

/// What the selecting gate returns.
#[derive(ExtensionType)]
#[extension_type(fusion: cfg(feature = "cube"))]
pub(crate) struct GateSelected<B: Backend> {
    /// The numbers, `[states, N_FIELDS, batch, seq]`, f32.
    pub records: FloatTensor<B>,
    /// The selected states, `[batch, seq, hidden]`, of the states' data type.
    pub selected: FloatTensor<B>,
}

/// The gate as one operation. Shapes: `states` is `[states, batch, seq, hidden]` in f32, f16 or
/// bf16 with any strides, `before` is `[N_FIELDS, batch, seq]` in f32, the record that the first of
/// the states follows.
#[backend_extension(
    Cube: cfg(feature = "cube"),
    Fusion: cfg(feature = "cube"),
    Flex: cfg(feature = "flex")
)]
pub(crate) trait LacOps: Backend {
    /// Gates consecutive states: `[states, N_FIELDS, batch, seq]`, f32.
    #[fusion(meta = |states, _before, _alpha| records_spec(states))]
    fn lac_gate(
        states: FloatTensor<Self>,
        before: FloatTensor<Self>,
        alpha: f32,
    ) -> FloatTensor<Self>;

    /// The same, and per token the last active one of the states, or `fallback`
    /// `[batch, seq, hidden]` when none of them is active.
    #[fusion(meta = |states, _before, fallback, _alpha, _select| GateSelectedMetadata {
        records: records_spec(states),
        selected: fallback.clone(),
    })]
    fn lac_gate_select(
        states: FloatTensor<Self>,
        before: FloatTensor<Self>,
        fallback: FloatTensor<Self>,
        alpha: f32,
        #[fusion(scalar = select as u32)] select: Select,
    ) -> GateSelected<Self>;
}

#[cfg(feature = "cube")]
fn records_spec(states: &TensorSpec) -> TensorSpec {
    TensorSpec::new(super::layout::records_shape(&states.shape), DType::F32)
}
