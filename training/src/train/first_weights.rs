//! The weights that training starts from.
//!
//! Attention starts with a bent (after "Mimetic Initialization of Self-Attention Layers", Trockman
//! and Kolter 2023), which shortens the long plateau before heads that look things up emerge.
//! Nothing of it is fixed: every weight is trained.
//!
//! - In layers 0 and 1, heads 0 and 1 attend one and two places back, through the biases of
//!   queries and keys alone.
//! - What these heads of layer 0 write can be read again. In turn, the keys of heads 2 and 3 of a
//!   layer are what a token is, what the token before it was, and what the one before that was;
//!   the queries of head 2 ask for what a token is, those of head 3 for what stood before it. So
//!   there are heads that find an earlier occurrence of a token, and heads that find what came
//!   after it (Olsson et al. 2022, "In-context Learning and Induction Heads").

use std::convert::Infallible;

use burn::tensor::{Device, Tensor, TensorData};
use lac_models::{
    Decoder, DecoderConfig,
    decoder::{DecoderMatrix, TensorSource},
};

use crate::random::Random;

/// The spread of the weights: about half of what keeps a signal's size through a matrix of 128
/// columns. The usual 0.02 suits far wider models.
const DEVIATION: f64 = 0.05;
/// How far back heads 0 and 1 of the first layers attend.
const OFFSETS: [f64; 2] = [1.0, 2.0];
/// How many layers have such heads.
const N_OFFSET_LAYERS: usize = 2;
/// How sharply they attend.
const SHARPNESS: f64 = 5.5;
/// How many of the fastest rotary frequencies tell neighbours apart.
const N_FREQUENCIES: usize = 5;
/// How many of the fastest rotary frequencies do not take part in looking up, so that an earlier
/// occurrence is found at any distance.
const N_BLIND: usize = 6;
/// The spread of queries and keys that look up.
const MATCHING: f64 = 0.14;

/// Returns a model that has learnt nothing yet.
pub fn untrained(config: &DecoderConfig, seed: u64, device: &Device) -> Decoder {
    match Decoder::load(config, &mut FirstWeights::new(config, seed, device)) {
        Ok(model) => model,
        Err(never) => match never {},
    }
}

/// Normal weights, narrower where a layer writes into the residual stream, so that all layers
/// together do not drown the embedding.
struct FirstWeights {
    random: Random,
    config: DecoderConfig,
    device: Device,
    /// What a token is, as heads 0 and 1 of layer 0 pass it on: `[head_dim, hidden]`.
    token: Vec<f32>,
    /// Where each of these heads writes it: `[hidden, head_dim]`.
    before: [Vec<f32>; 2],
}

impl FirstWeights {
    fn new(config: &DecoderConfig, seed: u64, device: &Device) -> Self {
        let mut random = Random::new(seed);
        let n = config.head_dim * config.hidden_size;
        let token = normal(&mut random, n, DEVIATION);
        let before = [(); 2].map(|()| normal(&mut random, n, narrow(config)));
        Self {
            random,
            config: config.clone(),
            device: device.clone(),
            token,
            before,
        }
    }

    /// Returns the layer that a tensor belongs to, from its name; `None` for the embedding.
    fn layer(name: &str) -> Option<usize> {
        name.split('.').nth(2)?.parse().ok()
    }

    /// Returns a bias whose rotated product with the key's bias peaks at an offset; the offset zero gives the key's
    /// bias.
    fn offset_bias(&self, offset: f64) -> Vec<f32> {
        let half = self.config.head_dim / 2;
        let mut bias = vec![0.0; 2 * half];
        for i in 0..N_FREQUENCIES.min(half) {
            let frequency = self.config.rope.theta.powf(-(i as f64) / half as f64);
            bias[i] = (SHARPNESS * (offset * frequency).cos()) as f32;
            bias[half + i] = (-SHARPNESS * (offset * frequency).sin()) as f32;
        }
        bias
    }

    /// Returns rows `[head_dim, hidden]` that read what a token is.
    fn reads_token(&self) -> Vec<f32> {
        let scale = (MATCHING / DEVIATION) as f32;
        self.blinded(|row, column| self.token[row * self.config.hidden_size + column] * scale)
    }

    /// Returns rows `[head_dim, hidden]` that read what stood before a token, as a head of layer 0 wrote it.
    fn reads_before(&self, head: usize) -> Vec<f32> {
        let scale = (MATCHING / narrow(&self.config)) as f32;
        self.blinded(|row, column| self.before[head][column * self.config.head_dim + row] * scale)
    }

    fn blinded(&self, value: impl Fn(usize, usize) -> f32) -> Vec<f32> {
        let (dim, hidden) = (self.config.head_dim, self.config.hidden_size);
        (0..dim * hidden)
            .map(|i| (i / hidden, i % hidden))
            .map(|(row, column)| {
                if row % (dim / 2) < N_BLIND {
                    0.0
                } else {
                    value(row, column)
                }
            })
            .collect()
    }
}

fn normal(random: &mut Random, n: usize, deviation: f64) -> Vec<f32> {
    (0..n)
        .map(|_| (random.normal() * deviation) as f32)
        .collect()
}

/// Returns the spread of weights that write into the residual stream.
fn narrow(config: &DecoderConfig) -> f64 {
    DEVIATION / (2.0 * config.n_layers as f64).sqrt()
}

impl TensorSource for FirstWeights {
    type Error = Infallible;

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<DecoderMatrix, Infallible> {
        let writes = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
        let deviation = if writes {
            narrow(&self.config)
        } else {
            DEVIATION
        };
        let [n_rows, n_columns] = shape;
        let mut values = normal(&mut self.random, n_rows * n_columns, deviation);
        if let Some(layer_idx) = Self::layer(name) {
            let dim = self.config.head_dim;
            let block = dim * self.config.hidden_size;
            let keys = match layer_idx % 3 {
                0 => self.reads_token(),
                turn => self.reads_before(turn - 1),
            };
            // Heads 0 and 1 share the first keys and values, heads 2 and 3 the second.
            if name.ends_with("q_proj.weight") {
                values[2 * block..3 * block].copy_from_slice(&self.reads_token());
                values[3 * block..4 * block].copy_from_slice(&self.reads_before(0));
            } else if name.ends_with("k_proj.weight") {
                values[block..2 * block].copy_from_slice(&keys);
            } else if layer_idx == 0 && name.ends_with("v_proj.weight") {
                values[..block].copy_from_slice(&self.token);
            } else if layer_idx == 0 && name.ends_with("o_proj.weight") {
                for (column, row) in values.chunks_mut(n_columns).enumerate() {
                    for (head, written) in self.before.iter().enumerate() {
                        let written = &written[column * dim..(column + 1) * dim];
                        row[head * dim..(head + 1) * dim].copy_from_slice(written);
                    }
                }
            }
        }
        let tensor = Tensor::<2>::from_data(TensorData::new(values, shape), &self.device);
        Ok(tensor.into())
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, Infallible> {
        let value = if name.ends_with("bias") { 0.0f32 } else { 1.0 };
        let mut values = vec![value; len];
        if Self::layer(name).is_some_and(|layer_idx| layer_idx < N_OFFSET_LAYERS) {
            let dim = self.config.head_dim;
            if name.ends_with("q_proj.bias") {
                for (head, offset) in OFFSETS.into_iter().enumerate() {
                    values[head * dim..(head + 1) * dim].copy_from_slice(&self.offset_bias(offset));
                }
            } else if name.ends_with("k_proj.bias") {
                values[..dim].copy_from_slice(&self.offset_bias(0.0));
            }
        }
        Ok(Tensor::from_data(
            TensorData::new(values, [len]),
            &self.device,
        ))
    }
}
