//! Linear maps, several of one input at a time.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use super::config::ProjectionBias;
use super::source::TensorSource;

/// A linear map with its weight in checkpoint layout, `[out, in]`.
#[derive(Module, Debug)]
pub struct DecoderLinear {
    /// `[out, in]`.
    pub weight: Param<Tensor<2>>,
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
            weight: Param::from_tensor(
                source.matrix(&format!("{name}.weight"), [out_features, in_features])?,
            ),
            bias: match bias {
                ProjectionBias::Absent => None,
                ProjectionBias::Present => Some(Param::from_tensor(
                    source.vector(&format!("{name}.bias"), out_features)?,
                )),
            },
        })
    }

    /// Maps `[batch, seq, in]` to `[batch, seq, out]`.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let [output] = Self::forward_together(input, [self]);
        output
    }

    /// Adds the map of `[batch, seq, in]` to the residual stream `[batch, seq, out]`.
    pub(super) fn forward_residual(&self, hidden: Tensor<3>, input: Tensor<3>) -> Tensor<3> {
        if lac_kernels::fuses_tokens(&hidden, &[&*self.weight])
            && let Some(map) = self.as_kernel()
            && let Some(sum) = lac_kernels::add_linear(&hidden, &input, &map)
        {
            return sum;
        }
        hidden + self.forward(input)
    }

    pub(super) fn as_kernel(&self) -> Option<lac_kernels::LinearMap> {
        lac_kernels::LinearMap::new(self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// Applies several maps to one input `[batch, seq, in]`; returns `[batch, seq, out]` for each.
    pub(super) fn forward_together<const N: usize>(
        input: Tensor<3>,
        linears: [&Self; N],
    ) -> [Tensor<3>; N] {
        let [batch, seq, in_features] = input.dims();
        let input = input.reshape([batch * seq, in_features]);
        let weights = linears.map(|linear| linear.weight.val());
        let biases = linears.map(|linear| linear.bias.as_ref().map(Param::val));
        project(input, weights, biases).map(|output| {
            let [_, out_features] = output.dims();
            output.reshape([batch, seq, out_features])
        })
    }
}

/// Multiplies `[rows, in]` by weights `[out, in]` and adds their biases: `[rows, out]` each.
pub(super) fn project<const N: usize>(
    input: Tensor<2>,
    weights: [Tensor<2>; N],
    biases: [Option<Tensor<1>>; N],
) -> [Tensor<2>; N] {
    if lac_kernels::has_cpu_kernel(&input) && weights.iter().all(lac_kernels::has_cpu_kernel) {
        return lac_kernels::linear(input, weights, biases);
    }
    let mut biases = biases.into_iter();
    weights.map(|weight| {
        // Rank 2 and a transposed view: no backend copies the weight for that.
        let output = input.clone().matmul(weight.transpose());
        match biases.next().flatten() {
            Some(bias) => output + bias.unsqueeze(),
            None => output,
        }
    })
}
