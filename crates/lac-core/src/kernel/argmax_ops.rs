//! The choice of the most probable token as burn's backends see it.

use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;

/// The type of the ids on the device.
pub(super) const ID_DTYPE: DType = DType::I32;

/// The most probable token of each row.
#[backend_extension(Cube: cfg(feature = "cube"), Fusion: cfg(feature = "cube"))]
pub(crate) trait ArgmaxOps: Backend {
    /// `[batch]` of logits `[batch, vocab]` in f32, f16 or bf16: the index of the largest finite one, or −1.
    #[fusion(meta = |logits| TensorSpec::new([logits.shape[0]].into(), ID_DTYPE))]
    fn lac_argmax(logits: FloatTensor<Self>) -> IntTensor<Self>;
}
