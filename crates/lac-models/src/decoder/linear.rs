//! Linear maps, several of one input at a time.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::config::ProjectionBias;
use super::matrix::{DecoderMatrix, copied, project, tensors};
use super::residual::ResidualAdd;
use super::source::TensorSource;

/// A linear map with its weight in checkpoint layout, `[out, in]`.
#[derive(Module, Debug)]
pub struct DecoderLinear {
    /// `[out, in]`.
    pub weight: DecoderMatrix,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl DecoderLinear {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        [out_features, in_features]: [usize; 2],
        bias: ProjectionBias,
    ) -> Result<Self, S::Error> {
        Ok(Self {
            weight: source.matrix(&format!("{name}.weight"), [out_features, in_features])?,
            bias: match bias {
                ProjectionBias::Absent => None,
                ProjectionBias::Present => Some(Param::from_tensor(
                    source.vector(&format!("{name}.bias"), out_features)?,
                )),
            },
        })
    }

    /// Loads several maps of one input, which a checkpoint stores as one tensor, row under row.
    pub(super) fn load_fused<const N: usize, S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        out_features: [usize; N],
        in_features: usize,
        bias: ProjectionBias,
    ) -> Result<[Self; N], S::Error> {
        let n_outs = out_features.iter().sum();
        let fused = Self::load(source, name, [n_outs, in_features], bias)?;
        let mut first = 0;
        Ok(out_features.map(|n_outs| {
            let rows = first..first + n_outs;
            first = rows.end;
            let bias = |bias: &Param<Tensor<1>>| copied(bias.val().slice([rows.clone()]));
            Self {
                weight: fused.weight.rows(rows.clone()),
                bias: fused.bias.as_ref().map(bias).map(Param::from_tensor),
            }
        }))
    }

    /// Maps `[batch, seq, in]` to `[batch, seq, out]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let [output] = Self::forward_together(input, [self]);
        output
    }

    /// Adds the map of `[batch, seq, in]` to the residual stream `[batch, seq, out]`.
    pub(super) fn forward_residual(
        &self,
        hidden: Tensor<3>,
        input: Tensor<3>,
        residual: ResidualAdd<'_>,
    ) -> Tensor<3> {
        if Self::fuse_tokens(&hidden, [self])
            && let Some(map) = self.as_kernel(residual)
            && let Some(sum) = lac_kernels::add_linear(&hidden, &input, &map)
        {
            return sum;
        }
        residual.add(hidden, self.forward(input))
    }

    pub(super) fn as_kernel(&self, residual: ResidualAdd<'_>) -> Option<lac_kernels::LinearMap> {
        let weight = self.weight.tensor()?.clone();
        let bias = self.bias.as_ref().map(Param::val);
        lac_kernels::LinearMap::new(weight, bias, residual.as_kernel()?)
    }

    /// Returns the weights as tensors, where all of them are tensors.
    pub(super) fn tensors<const N: usize>(linears: [&Self; N]) -> Option<[&Tensor<2>; N]> {
        tensors(linears.map(|linear| &linear.weight))
    }

    /// Returns whether one pass over the tokens of `[batch, seq, hidden]` goes through all of these maps.
    pub(super) fn fuse_tokens<const N: usize>(hidden: &Tensor<3>, linears: [&Self; N]) -> bool {
        Self::tensors(linears).is_some_and(|weights| lac_kernels::fuses_tokens(hidden, &weights))
    }

    /// Applies several maps to one input `[batch, seq, in]`; returns `[batch, seq, out]` for each.
    pub(super) fn forward_together<const N: usize>(
        input: Tensor<3>,
        linears: [&Self; N],
    ) -> [Tensor<3>; N] {
        let [batch, seq, in_features] = input.dims();
        let input = input.reshape([batch * seq, in_features]);
        let weights = linears.map(|linear| &linear.weight);
        let biases = linears.map(|linear| linear.bias.as_ref().map(Param::val));
        project(input, weights, biases).map(|output| {
            let [_, out_features] = output.dims();
            output.reshape([batch, seq, out_features])
        })
    }
}
