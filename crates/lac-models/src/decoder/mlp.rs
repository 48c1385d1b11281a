//! The gated MLP (SwiGLU, Shazeer 2020, arXiv 2002.05202).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::{gelu_approximate, silu};
use lac_kernels::Activation;

use super::config::{DecoderConfig, ProjectionLayout};
use super::linear::DecoderLinear;
use super::matrix::gated;
use super::norm::DecoderNorm;
use super::residual::ResidualAdd;
use super::source::TensorSource;

/// The gated MLP: `down(activation(gate(x)) * up(x))`.
#[derive(Module, Debug)]
pub struct DecoderMlp {
    /// `[intermediate, hidden]`.
    pub gate_proj: DecoderLinear,
    /// `[intermediate, hidden]`.
    pub up_proj: DecoderLinear,
    /// `[hidden, intermediate]`.
    pub down_proj: DecoderLinear,
    #[module(skip)]
    activation: Activation,
}

impl DecoderMlp {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        Self::load_of_width(source, name, config.intermediate_size, config)
    }

    /// Loads an MLP of another width than the configuration's.
    pub(super) fn load_of_width<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        intermediate: usize,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let hidden = config.hidden_size;
        let bias = config.mlp_bias;
        let mut linear =
            |part: &str, shape| DecoderLinear::load(source, &format!("{name}.{part}"), shape, bias);
        let [gate_proj, up_proj] = match config.projections {
            ProjectionLayout::Separate => [
                linear("gate_proj", [intermediate, hidden])?,
                linear("up_proj", [intermediate, hidden])?,
            ],
            ProjectionLayout::Fused => {
                let name = format!("{name}.gate_up_proj");
                DecoderLinear::load_fused(source, &name, [intermediate; 2], hidden, bias)?
            }
        };
        let name = format!("{name}.down_proj");
        Ok(Self {
            gate_proj,
            up_proj,
            down_proj: DecoderLinear::load(source, &name, [hidden, intermediate], bias)?,
            activation: config.activation,
        })
    }

    /// Computes the MLP without its norm and residual connection, `[batch, seq, hidden]` to the same shape.
    pub fn forward(&self, input: Tensor<3>) -> Tensor<3> {
        let [batch, seq, hidden] = input.dims();
        let [intermediate, _] = self.gate_proj.weight.dims();
        let inner = match self.gated(input.clone().reshape([batch * seq, hidden])) {
            Some(inner) => inner.reshape([batch, seq, intermediate]),
            None => {
                let [gate, up] =
                    DecoderLinear::forward_together(input, [&self.gate_proj, &self.up_proj]);
                activated(gate, self.activation) * up
            }
        };
        self.down_proj.forward(inner)
    }

    /// Returns the gated product of `[rows, hidden]` with one kernel, `[rows, intermediate]`; `None` where there is none,
    /// as with biases.
    fn gated(&self, input: Tensor<2>) -> Option<Tensor<2>> {
        let has_biases = self.gate_proj.bias.is_some() || self.up_proj.bias.is_some();
        (!has_biases).then_some(())?;
        let weights = [&self.gate_proj.weight, &self.up_proj.weight];
        gated(&input, weights, self.activation)
    }

    /// Adds the MLP's outputs for the normed residual stream to the residual stream `[batch, seq, hidden]`.
    pub(super) fn forward_residual(
        &self,
        hidden: Tensor<3>,
        norm: Option<&DecoderNorm>,
        residual: ResidualAdd<'_>,
    ) -> Tensor<3> {
        if DecoderLinear::fuse_tokens(&hidden, self.linears())
            && let Some(mlp) = self.as_kernel(norm, residual)
            && let Some(sum) = lac_kernels::add_mlp(&hidden, &mlp)
        {
            return sum;
        }
        let normed = DecoderNorm::forward_optional(norm, hidden.clone());
        residual.add(hidden, self.forward(normed))
    }

    /// Describes norm and MLP to the kernels; `None` with biases, for which there is no kernel.
    pub(super) fn as_kernel(
        &self,
        norm: Option<&DecoderNorm>,
        residual: ResidualAdd<'_>,
    ) -> Option<lac_kernels::GatedMlp> {
        let linears = self.linears();
        if linears.iter().any(|linear| linear.bias.is_some()) {
            return None;
        }
        let weights = DecoderLinear::tensors(linears)?.map(Tensor::clone);
        let norm = DecoderNorm::optional_kernel(norm)?;
        lac_kernels::GatedMlp::new(norm, weights, self.activation, residual.as_kernel()?)
    }

    /// Returns gate, up and down.
    pub(super) fn linears(&self) -> [&DecoderLinear; 3] {
        [&self.gate_proj, &self.up_proj, &self.down_proj]
    }
}

/// Applies the function that gates an MLP.
pub(super) fn activated<const D: usize>(gate: Tensor<D>, activation: Activation) -> Tensor<D> {
    match activation {
        Activation::GeluTanh => gelu_approximate(gate),
        _ => silu(gate),
    }
}
