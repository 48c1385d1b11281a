//! The MLP of a layer, dense or sparse.

use burn::module::Module;
use burn::tensor::Tensor;

use super::config::DecoderConfig;
use super::context::DecoderContext;
use super::mlp::DecoderMlp;
use super::norm::DecoderNorm;
use super::residual::ResidualAdd;
use super::source::TensorSource;
use super::sparse_mlp::DecoderSparseMlp;

/// The MLP of a layer.
// burn has no modules in boxes, and there is one of these for each layer.
#[allow(clippy::large_enum_variant)]
#[derive(Module, Debug)]
pub enum LayerMlp {
    /// One MLP for all tokens.
    Dense(DecoderMlp),
    /// Experts, of which each token goes through a few.
    Sparse(DecoderSparseMlp),
}

impl LayerMlp {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        layer_idx: usize,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        Ok(match config.experts_of(layer_idx) {
            None => Self::Dense(DecoderMlp::load(source, name, config)?),
            Some(experts) => Self::Sparse(DecoderSparseMlp::load(source, name, experts, config)?),
        })
    }

    /// Returns the dense MLP; `None` for experts.
    pub fn dense(&self) -> Option<&DecoderMlp> {
        match self {
            Self::Dense(mlp) => Some(mlp),
            Self::Sparse(_) => None,
        }
    }

    /// Adds the MLP's outputs for the normed residual stream to the residual stream `[batch, seq, hidden]`. The context
    /// gets what a router chose.
    pub(super) fn forward_residual(
        &self,
        hidden: Tensor<3>,
        norm: Option<&DecoderNorm>,
        residual: ResidualAdd<'_>,
        layer_idx: usize,
        context: &mut DecoderContext,
    ) -> Tensor<3> {
        match self {
            Self::Dense(mlp) => mlp.forward_residual(hidden, norm, residual),
            Self::Sparse(mlp) => {
                let normed = DecoderNorm::forward_optional(norm, hidden.clone());
                let (outputs, routing) = mlp.forward(normed, layer_idx);
                context.keep_routing(routing);
                residual.add(hidden, outputs)
            }
        }
    }
}
