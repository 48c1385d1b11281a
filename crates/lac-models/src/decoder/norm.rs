//! The norm before every sublayer and before the head.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};

use super::cast::cast;
use super::config::DecoderConfig;
use super::source::TensorSource;

/// Root-mean-square norm (Zhang and Sennrich 2019, arXiv 1910.07467), computed in f32 for every data type.
#[derive(Module, Debug)]
pub struct DecoderNorm {
    /// `[hidden]`.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
}

impl DecoderNorm {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        Ok(Self {
            weight: Param::from_tensor(
                source.vector(&format!("{name}.weight"), config.hidden_size)?,
            ),
            epsilon: config.rms_norm_eps,
        })
    }

    /// Norms every state, `[batch, seq, hidden]` to the same shape.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val();
        if lac_kernels::has_cpu_kernel(&hidden) && lac_kernels::has_cpu_kernel(&weight) {
            return lac_kernels::rms_norm(hidden, weight, self.epsilon);
        }
        let dtype = hidden.dtype();
        let hidden = cast(hidden, DType::F32);
        let mean_square = hidden.clone().square().mean_dim(2);
        let normed = hidden * (mean_square + self.epsilon).sqrt().recip();
        cast(normed, dtype) * weight.unsqueeze()
    }

    pub(super) fn as_kernel(&self) -> Option<lac_kernels::Norm> {
        lac_kernels::Norm::new(self.weight.val(), self.epsilon)
    }
}
