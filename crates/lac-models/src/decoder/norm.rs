//! The norms before and after sublayers, of queries and keys, and before the head.

use burn::module::{Module, Param};
use burn::tensor::{DType, Tensor};
use lac_kernels::NormForm;

use super::cast::cast;
use super::config::DecoderConfig;
use super::source::TensorSource;

/// Root-mean-square norm (Zhang and Sennrich 2019, arXiv 1910.07467), computed in f32 for every data type.
#[derive(Module, Debug)]
pub struct DecoderNorm {
    /// `[hidden]`, or the width of what is normed.
    pub weight: Param<Tensor<1>>,
    epsilon: f64,
    #[module(skip)]
    form: NormForm,
}

impl DecoderNorm {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        width: usize,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        Ok(Self {
            weight: Param::from_tensor(source.norm(
                &format!("{name}.weight"),
                width,
                config.norm_form,
            )?),
            epsilon: config.rms_norm_eps,
            form: config.norm_form,
        })
    }

    /// Norms every state, `[batch, seq, hidden]` to the same shape.
    pub fn forward(&self, hidden: Tensor<3>) -> Tensor<3> {
        let weight = self.weight.val();
        if lac_kernels::has_cpu_kernel(&hidden) && lac_kernels::has_cpu_kernel(&weight) {
            return lac_kernels::rms_norm(hidden, weight, self.epsilon, self.form);
        }
        let dtype = hidden.dtype();
        let hidden = cast(hidden, DType::F32);
        let mean_square = hidden.clone().square().mean_dim(2);
        let normed = hidden * (mean_square + self.epsilon).sqrt().recip();
        let in_f32 = |weight: Tensor<1>| cast(weight, DType::F32).unsqueeze::<3>();
        match self.form {
            NormForm::WeightInF32 => cast(normed * in_f32(weight), dtype),
            NormForm::OnePlusWeight => cast(normed * (in_f32(weight) + 1.0), dtype),
            _ => cast(normed, dtype) * weight.unsqueeze(),
        }
    }

    /// Norms every state; without a norm, they stay as they are.
    pub(super) fn forward_optional(norm: Option<&Self>, hidden: Tensor<3>) -> Tensor<3> {
        match norm {
            None => hidden,
            Some(norm) => norm.forward(hidden),
        }
    }

    /// Describes a norm, if there is one, to the kernels. The outer `None` says that they do not take it.
    pub(super) fn optional_kernel(norm: Option<&Self>) -> Option<Option<lac_kernels::Norm>> {
        match norm {
            None => Some(None),
            Some(norm) => norm.as_kernel().map(Some),
        }
    }

    /// Norms heads that lie side by side, `[batch, seq, heads * head_dim]`: each of them, or all together, as wide as the
    /// weight is.
    pub(super) fn forward_heads(&self, heads: Tensor<3>) -> Tensor<3> {
        let [batch, seq, n_outs] = heads.dims();
        let [width] = self.weight.dims();
        let normed = self.forward(heads.reshape([batch, seq * n_outs / width, width]));
        normed.reshape([batch, seq, n_outs])
    }

    pub(super) fn as_kernel(&self) -> Option<lac_kernels::Norm> {
        lac_kernels::Norm::new(self.weight.val(), self.epsilon, self.form)
    }
}
