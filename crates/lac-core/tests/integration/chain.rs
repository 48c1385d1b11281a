//! A model small enough to know every probability of.

use burn::tensor::{Device, Int, Tensor, TensorData};
use lac_core::{CausalLm, LayerStack, Pass};

/// Logits that depend on the last token: each layer adds its share, and every token leaves a
/// trace of itself on the first axis so that norms differ.
#[derive(Clone)]
pub(crate) struct Chain {
    /// `[layer][token][next token]`.
    pub(crate) layers: Vec<Vec<Vec<f32>>>,
    /// What passes over several tokens add to token 2's logit: noise, exaggerated.
    pub(crate) noise: f32,
    pub(crate) max_context: usize,
    device: Device,
}

/// The tokens of the pass, for layers that look their share up.
pub(crate) type Tokens = Option<Tensor<2, Int>>;

impl Chain {
    /// Shares that follow from a seed.
    pub(crate) fn new(n_layers: usize, vocab_size: usize, device: &Device) -> Self {
        let mut state = 12345u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 33) as f32 / (1u64 << 31) as f32
        };
        let mut row = || (0..vocab_size).map(|_| 3.0 * next()).collect::<Vec<f32>>();
        let mut table = || (0..vocab_size).map(|_| row()).collect::<Vec<_>>();
        Self {
            layers: (0..n_layers).map(|_| table()).collect(),
            noise: 0.0,
            max_context: 40,
            device: device.clone(),
        }
    }

    pub(crate) fn vocab(&self) -> usize {
        self.layers[0].len()
    }

    /// The full model's probabilities of what follows a token.
    pub(crate) fn probabilities(&self, token: usize, temperature: f32) -> Vec<f64> {
        let logits: Vec<f64> = (0..self.vocab())
            .map(|next| {
                let sum: f32 = self.layers.iter().map(|layer| layer[token][next]).sum();
                f64::from(sum / temperature)
            })
            .collect();
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        logits.iter().map(|logit| logit.exp() / total).collect()
    }
}

impl LayerStack for Chain {
    type Context = Tokens;

    fn n_layers(&self) -> usize {
        self.layers.len()
    }

    fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, tokens: &mut Tokens) -> Tensor<3> {
        let tokens = tokens.clone().unwrap();
        let [batch, seq] = tokens.dims();
        let table: Vec<f32> = self.layers[layer_idx].concat();
        let vocab = self.vocab();
        let table = Tensor::<2>::from_data(TensorData::new(table, [vocab, vocab]), &self.device);
        let rows = table.select(0, tokens.reshape([batch * seq]));
        hidden + rows.reshape([batch, seq, vocab])
    }

    fn skip_layer(&self, _: usize, _: &Tensor<3>, _: &mut Tokens) -> lac_core::Result<()> {
        Ok(())
    }
}

impl CausalLm for Chain {
    fn vocab_size(&self) -> usize {
        self.vocab()
    }

    fn max_context(&self) -> Option<usize> {
        Some(self.max_context)
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn new_context(&self, _batch: usize, _capacity: usize) -> Tokens {
        None
    }

    fn begin_pass(&self, pass: &Pass, tokens: &mut Tokens) {
        *tokens = Some(pass.token_tensor(&self.device));
    }

    fn embed(&self, token_ids: Tensor<2, Int>, _: &Tokens) -> Tensor<3> {
        let [batch, seq] = token_ids.dims();
        Tensor::zeros([batch, seq, self.vocab()], &self.device)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [_, seq, vocab] = hidden.dims();
        if seq == 1 {
            return hidden;
        }
        let noise: Vec<f32> = (0..vocab)
            .map(|id| if id == 2 { self.noise } else { 0.0 })
            .collect();
        hidden + Tensor::<1>::from_floats(noise.as_slice(), &self.device).unsqueeze()
    }
}
