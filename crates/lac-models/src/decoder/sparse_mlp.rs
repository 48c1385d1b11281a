//! A sparse MLP: a router sends every token through a few experts, and some families through a shared one as well.

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use lac_core::routing::LayerRouting;
use lac_kernels::RouterWeights;

use super::config::{DecoderConfig, ProjectionBias};
use super::experts::DecoderExperts;
use super::experts_config::ExpertsConfig;
use super::linear::DecoderLinear;
use super::mlp::DecoderMlp;
use super::source::TensorSource;

/// The sparse MLP of a layer.
#[derive(Module, Debug)]
pub struct DecoderSparseMlp {
    /// The router, `[experts, hidden]`.
    pub gate: DecoderLinear,
    /// The experts.
    pub experts: DecoderExperts,
    /// The expert that every token goes through.
    pub shared_expert: Option<DecoderMlp>,
    /// The shared expert's gate, `[1, hidden]`: the sigmoid of its output weights the shared expert.
    pub shared_expert_gate: Option<DecoderLinear>,
    n_chosen: usize,
    #[module(skip)]
    weights: RouterWeights,
}

impl DecoderSparseMlp {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        experts: &ExpertsConfig,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let hidden = config.hidden_size;
        let linear = |source: &mut S, part: &str, n_outs: usize| {
            let name = format!("{name}.{part}");
            DecoderLinear::load(source, &name, [n_outs, hidden], ProjectionBias::Absent)
        };
        let gate = linear(source, "gate", experts.n_experts)?;
        let name_of_experts = format!("{name}.experts");
        let loaded = DecoderExperts::load(source, &name_of_experts, experts, config)?;
        let (shared_expert, shared_expert_gate) = match experts.shared_intermediate_size {
            None => (None, None),
            Some(width) => {
                let name = format!("{name}.shared_expert");
                let shared = DecoderMlp::load_of_width(source, &name, width, config)?;
                (Some(shared), Some(linear(source, "shared_expert_gate", 1)?))
            }
        };
        Ok(Self {
            gate,
            experts: loaded,
            shared_expert,
            shared_expert_gate,
            n_chosen: experts.n_chosen,
            weights: experts.weights,
        })
    }

    /// Computes the MLP without its norm and residual connection, `[batch, seq, hidden]` to the same shape, and returns
    /// what the router of this layer chose.
    pub fn forward(&self, input: Tensor<3>, layer_idx: usize) -> (Tensor<3>, LayerRouting) {
        let [batch, seq, hidden] = input.dims();
        let logits = self.gate.forward(input.clone());
        let [_, _, n_experts] = logits.dims();
        let (output, routing) = self.experts.forward(
            input.clone().reshape([batch * seq, hidden]),
            logits.reshape([batch * seq, n_experts]),
            self.n_chosen,
            self.weights,
        );
        let output = output.reshape([batch, seq, hidden]);
        let output = match (&self.shared_expert, &self.shared_expert_gate) {
            (Some(shared), Some(gate)) => {
                let weight = sigmoid(gate.forward(input.clone()));
                output + shared.forward(input) * weight
            }
            _ => output,
        };
        let shape = [batch, seq, self.n_chosen];
        let routing = LayerRouting {
            layer_idx,
            n_experts,
            experts: routing.experts.reshape(shape),
            weights: routing.weights.reshape(shape),
        };
        (output, routing)
    }
}
