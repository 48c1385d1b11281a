//! The experts of a layer, their weights side by side.

use burn::module::Module;
use burn::tensor::activation::softmax;
use burn::tensor::{DType, IndexingUpdateOp, Int, Tensor, TensorData};
use lac_kernels::{Activation, RouterWeights};

use super::cast::cast;
use super::config::DecoderConfig;
use super::experts_config::ExpertsConfig;
use super::matrix::{DecoderMatrix, gated, project, tensors};
use super::mlp::activated;
use super::source::{ExpertsShape, TensorSource};

/// Tokens that go through all experts together, in tensor operations: what stands between two of them is this many times
/// as large as all experts' outputs for one token.
const MAX_TOKENS: usize = 64;

/// The gated MLPs of a layer's experts. The matrices of one kind lie below each other, one for each expert.
#[derive(Module, Debug)]
pub struct DecoderExperts {
    /// `[experts * intermediate, hidden]`.
    pub gate_proj: DecoderMatrix,
    /// `[experts * intermediate, hidden]`.
    pub up_proj: DecoderMatrix,
    /// `[experts * hidden, intermediate]`.
    pub down_proj: DecoderMatrix,
    n_experts: usize,
    #[module(skip)]
    activation: Activation,
}

/// The experts that tokens go through, and their weights: `[tokens, chosen]`.
#[derive(Clone, Debug)]
pub(super) struct TokenRouting {
    pub(super) experts: Tensor<2, Int>,
    /// In f32.
    pub(super) weights: Tensor<2>,
}

impl DecoderExperts {
    pub(super) fn load<S: TensorSource + ?Sized>(
        source: &mut S,
        name: &str,
        experts: &ExpertsConfig,
        config: &DecoderConfig,
    ) -> Result<Self, S::Error> {
        let shape = ExpertsShape {
            n_experts: experts.n_experts,
            intermediate: experts.intermediate_size,
            hidden: config.hidden_size,
        };
        let [gate_proj, up_proj, down_proj] = source.experts(name, shape)?;
        Ok(Self {
            gate_proj,
            up_proj,
            down_proj,
            n_experts: experts.n_experts,
            activation: config.activation,
        })
    }

    /// Returns the weighted sum of each token's experts, `[tokens, hidden]` of the same shape, and what was chosen by the
    /// logits `[tokens, experts]` of the router. Sums are taken in f32 and rounded once.
    ///
    /// The CPU kernels read the weights of the chosen experts alone. On other devices the choice stays on the device: for
    /// few tokens the weights of their experts are gathered there, each token's own, and for many all experts are computed
    /// and those that a token did not choose are left out of its sum.
    pub(super) fn forward(
        &self,
        input: Tensor<2>,
        logits: Tensor<2>,
        n_chosen: usize,
        weights: RouterWeights,
    ) -> (Tensor<2>, TokenRouting) {
        let matrices = [&self.gate_proj, &self.up_proj, &self.down_proj];
        if lac_kernels::has_cpu_kernel(&input)
            && matrices.iter().all(|matrix| matrix.is_of_kernels())
        {
            let device = input.device();
            let routing = lac_kernels::route(logits, n_chosen, weights);
            let output = match tensors(matrices) {
                Some(tensors) => {
                    let weights = tensors.map(Tensor::clone);
                    lac_kernels::experts(input, weights, &routing, self.activation)
                }
                None => self.forward_each(input, &routing),
            };
            return (output, TokenRouting::on_device(&routing, &device));
        }
        let [n_tokens, _] = input.dims();
        let n_experts = self.n_experts;
        let routing = TokenRouting::choose(logits, n_chosen, weights);
        // Gathered weights are read, written and read again.
        let output = if 3 * n_tokens * n_chosen <= n_experts {
            self.forward_gathered(input, &routing)
        } else {
            let blocks = (0..n_tokens).step_by(MAX_TOKENS).map(|start| {
                let n_rows = MAX_TOKENS.min(n_tokens - start);
                let routing = routing.narrow(start, n_rows);
                self.forward_all(input.clone().narrow(0, start, n_rows), &routing)
            });
            Tensor::cat(blocks.collect(), 0)
        };
        (output, routing)
    }

    /// Takes the experts one after the other, each with its tokens. Weights of experts that none goes through are not read.
    fn forward_each(&self, input: Tensor<2>, routing: &lac_kernels::Routing) -> Tensor<2> {
        let ([n_tokens, hidden], device) = (input.dims(), input.device());
        let [_, intermediate] = self.down_proj.dims();
        let mut sums = vec![0.0f32; n_tokens * hidden];
        for group in routing.by_expert() {
            let tokens: Vec<i32> = group.tokens.iter().map(|&(idx, _)| idx as i32).collect();
            let tokens = Tensor::<1, Int>::from_data(&*tokens, &device);
            let states = input.clone().select(0, tokens);
            let outs = |width: usize| group.expert * width..(group.expert + 1) * width;
            let [gate, up] =
                [&self.gate_proj, &self.up_proj].map(|matrix| matrix.part(outs(intermediate)));
            let inner = gated(&states, [&gate, &up], self.activation).unwrap_or_else(|| {
                let [gate, up] = project(states, [&gate, &up], [None, None]);
                activated(gate, self.activation) * up
            });
            let down = self.down_proj.part(outs(hidden));
            let [outputs] = project(inner, [&down], [None]);
            let outputs: Vec<f32> = outputs.into_data().iter::<f32>().collect();
            for (&(token, weight), outputs) in group.tokens.iter().zip(outputs.chunks(hidden)) {
                let sums = &mut sums[token * hidden..(token + 1) * hidden];
                for (sum, output) in sums.iter_mut().zip(outputs) {
                    *sum += weight * output;
                }
            }
        }
        let data = TensorData::new(sums, [n_tokens, hidden]);
        Tensor::from_data(data, (&device, input.dtype()))
    }

    /// Multiplies each token by copies of its experts' weights.
    fn forward_gathered(&self, input: Tensor<2>, routing: &TokenRouting) -> Tensor<2> {
        let [n_tokens, hidden] = input.dims();
        let [_, n_chosen] = routing.experts.dims();
        let n_pairs = n_tokens * n_chosen;
        let chosen = routing.experts.clone().reshape([n_pairs]);
        let states = input.clone().unsqueeze_dim::<3>(1);
        let states = states.repeat_dim(1, n_chosen).reshape([n_pairs, hidden, 1]);
        let weight = |matrix| self.each(matrix, &input).select(0, chosen.clone());
        let [gate, up] =
            [&self.gate_proj, &self.up_proj].map(|matrix| weight(matrix).matmul(states.clone()));
        let inner = activated(gate, self.activation) * up;
        let outputs = weight(&self.down_proj).matmul(inner);
        let weights = routing.weights.clone().unsqueeze_dim::<3>(2);
        weighted_sum(outputs.reshape([n_tokens, n_chosen, hidden]), weights, 1)
    }

    /// Computes all experts for every token.
    fn forward_all(&self, input: Tensor<2>, routing: &TokenRouting) -> Tensor<2> {
        let ([n_tokens, hidden], n_experts) = (input.dims(), self.n_experts);
        let states = input.clone().unsqueeze::<3>();
        let states = states.expand([n_experts, n_tokens, hidden]);
        let weight = |matrix| self.each(matrix, &input).swap_dims(1, 2);
        let [gate, up] =
            [&self.gate_proj, &self.up_proj].map(|matrix| states.clone().matmul(weight(matrix)));
        let inner = activated(gate, self.activation) * up;
        let outputs = inner.matmul(weight(&self.down_proj));
        let weights = routing.dense(n_experts).swap_dims(0, 1);
        weighted_sum(outputs, weights.unsqueeze_dim::<3>(2), 0)
    }

    /// Returns a kind of matrices as `[experts, rows, columns]`, on the device of the states.
    fn each(&self, matrix: &DecoderMatrix, states: &Tensor<2>) -> Tensor<3> {
        let [n_rows, n_columns] = matrix.dims();
        let shape = [self.n_experts, n_rows / self.n_experts, n_columns];
        matrix.on(&states.device()).reshape(shape)
    }
}

/// Sums outputs along an axis, in f32, and rounds the sums to the outputs' data type. Outputs whose weight is 0 are left out,
/// whatever they are.
fn weighted_sum(outputs: Tensor<3>, weights: Tensor<3>, dim: usize) -> Tensor<2> {
    let dtype = outputs.dtype();
    let shape = outputs.dims();
    let weights = weights.expand(shape);
    let is_left_out = weights.clone().equal_elem(0.0);
    let weighted = (cast(outputs, DType::F32) * weights).mask_fill(is_left_out, 0.0);
    cast(weighted.sum_dim(dim).squeeze_dim::<2>(dim), dtype)
}

impl TokenRouting {
    fn on_device(routing: &lac_kernels::Routing, device: &burn::tensor::Device) -> Self {
        let n_chosen = routing.n_chosen();
        let n_tokens = routing.experts().len() / n_chosen;
        let experts: Vec<i32> = routing.experts().iter().map(|&idx| idx as i32).collect();
        let shape = [n_tokens, n_chosen];
        Self {
            experts: Tensor::<1, Int>::from_data(&*experts, device).reshape(shape),
            weights: Tensor::<1>::from_data(routing.weights(), (device, DType::F32)).reshape(shape),
        }
    }

    /// Chooses by the router's logits `[tokens, experts]`, as [`lac_kernels::Routing::choose`] does, on the device.
    fn choose(logits: Tensor<2>, n_chosen: usize, weights_are: RouterWeights) -> Self {
        let mut left = softmax(cast(logits, DType::F32), 1);
        let [n_tokens, n_experts] = left.dims();
        let numbers = Tensor::<1, Int>::arange(0..n_experts as i64, &left.device());
        let numbers = numbers.unsqueeze::<2>().expand([n_tokens, n_experts]);
        let (mut experts, mut weights) = (Vec::new(), Vec::new());
        for _ in 0..n_chosen {
            let (weight, expert) = left.clone().max_dim_with_indices(1);
            let is_chosen = numbers
                .clone()
                .equal(expert.clone().expand([n_tokens, n_experts]));
            // Below every probability.
            left = left.mask_fill(is_chosen, -1.0);
            experts.push(expert);
            weights.push(weight);
        }
        let weights = Tensor::cat(weights, 1);
        Self {
            experts: Tensor::cat(experts, 1),
            weights: match weights_are {
                RouterWeights::Renormalised => weights.clone() / weights.sum_dim(1),
                _ => weights,
            },
        }
    }

    fn narrow(&self, start: usize, n_tokens: usize) -> Self {
        Self {
            experts: self.experts.clone().narrow(0, start, n_tokens),
            weights: self.weights.clone().narrow(0, start, n_tokens),
        }
    }

    /// The weights of all experts, `[tokens, experts]`: 0 for those that were not chosen.
    fn dense(&self, n_experts: usize) -> Tensor<2> {
        let [n_tokens, _] = self.weights.dims();
        let device = self.weights.device();
        let zeros = Tensor::<2>::zeros([n_tokens, n_experts], (&device, DType::F32));
        let (experts, weights) = (self.experts.clone(), self.weights.clone());
        zeros.scatter(1, experts, weights, IndexingUpdateOp::Add)
    }
}

#[cfg(all(test, feature = "flex"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::Device;
    use lac_kernels::quantized::{Activations, BlockFormat, QuantizedMatrix};

    use super::super::matrix::QuantizedWeight;
    use super::super::source::DummyWeights;
    use super::*;

    const N_EXPERTS: usize = 16;
    const N_CHOSEN: usize = 2;
    const HIDDEN: usize = 64;
    const INTERMEDIATE: usize = 32;

    /// The same experts in blocks, and as the tensors that the blocks hold.
    fn experts(device: &Device) -> [DecoderExperts; 2] {
        let mut source = DummyWeights::new(7, DType::F32, device);
        let mut matrix = |n_rows: usize, width: usize| {
            let mut values = source.values([n_rows, width]);
            values.iter_mut().for_each(|value| *value *= 10.0);
            QuantizedMatrix::quantize(BlockFormat::Q8_0, [n_rows, width], &values).unwrap()
        };
        let gate = matrix(N_EXPERTS * INTERMEDIATE, HIDDEN);
        let up = matrix(N_EXPERTS * INTERMEDIATE, HIDDEN);
        let down = matrix(N_EXPERTS * HIDDEN, INTERMEDIATE);
        let of = |make: &dyn Fn(&QuantizedMatrix) -> DecoderMatrix| DecoderExperts {
            gate_proj: make(&gate),
            up_proj: make(&up),
            down_proj: make(&down),
            n_experts: N_EXPERTS,
            activation: Activation::Silu,
        };
        let in_blocks = |matrix: &QuantizedMatrix| {
            DecoderMatrix::Quantized(QuantizedWeight {
                matrix: matrix.clone(),
                activations: Activations::Exact,
            })
        };
        let as_tensors = |matrix: &QuantizedMatrix| {
            let shape @ [n_rows, _] = matrix.dims();
            let data = TensorData::new(matrix.dequantize_rows(0..n_rows), shape);
            Tensor::from_data(data, (device, DType::F32)).into()
        };
        [of(&in_blocks), of(&as_tensors)]
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    fn assert_close(found: &[f32], expected: &[f32], what: &str) {
        for (found, expected) in found.iter().zip(expected) {
            let error = (found - expected).abs();
            assert!(error <= 1e-5, "{what}: {found} instead of {expected}");
        }
    }

    /// The kernels, blocks, gathered weights and all experts give the same outputs and choices.
    #[test]
    fn every_way_through_the_experts_gives_the_same() {
        let cpu = Device::flex();
        // Under autodiff no kernel runs.
        let plain = Device::flex().autodiff();
        let mut source = DummyWeights::new(9, DType::F32, &cpu);
        for n_tokens in [1, 2, 3, 70] {
            let scaled = |values: Vec<f32>| -> Vec<f32> {
                values.into_iter().map(|value| 40.0 * value).collect()
            };
            let states = scaled(source.values([n_tokens, HIDDEN]));
            let logits = scaled(source.values([n_tokens, N_EXPERTS]));
            let run = |experts: &DecoderExperts, device: &Device, weights| {
                let states = TensorData::new(states.clone(), [n_tokens, HIDDEN]);
                let logits = TensorData::new(logits.clone(), [n_tokens, N_EXPERTS]);
                let [states, logits] =
                    [states, logits].map(|data| Tensor::<2>::from_data(data, (device, DType::F32)));
                let (output, routing) = experts.forward(states, logits, N_CHOSEN, weights);
                let chosen: Vec<i64> = routing.experts.into_data().iter::<i64>().collect();
                (values(output), values(routing.weights), chosen)
            };
            for weights in [RouterWeights::Renormalised, RouterWeights::Probabilities] {
                let [in_blocks, as_tensors] = experts(&cpu);
                let [_, on_plain] = experts(&plain);
                let (output, router, chosen) = run(&as_tensors, &cpu, weights);
                let size = output
                    .iter()
                    .fold(0.0f32, |size, value| size.max(value.abs()));
                assert!(size > 0.1, "{size}");
                for (what, experts, device) in [
                    ("blocks", &in_blocks, &cpu),
                    ("operations", &on_plain, &plain),
                    ("operations on blocks", &in_blocks, &plain),
                ] {
                    let what = format!("{what}, {n_tokens} tokens, {weights:?}");
                    let found = run(experts, device, weights);
                    assert_close(&found.0, &output, &what);
                    assert_close(&found.1, &router, &what);
                    assert_eq!(found.2, chosen, "{what}");
                }
            }
        }
    }
}
