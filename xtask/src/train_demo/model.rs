//! The model's side of training: first weights, loss, clipping, and the file.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;

use anyhow::{Context, Result};
use burn::module::{Module, ModuleVisitor, Param, ParamId};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use half::bf16;
use lac_core::{CausalLm, LayerStack, Pass};
use lac_demo::batches::Batch;
use lac_demo::random::Random;
use lac_models::{Decoder, DecoderConfig, TensorSource};
use safetensors::tensor::{Dtype, TensorView};

/// The spread of the first weights: about half of what keeps a signal's size
/// through a matrix of 128 columns. The usual 0.02 suits far wider models.
const DEVIATION: f64 = 0.05;

/// The base of the rotary frequencies, as the configuration has it.
const ROPE_THETA: f64 = 10_000.0;
/// The offsets that two heads of each of the first layers attend to at first.
const OFFSETS: [f64; 2] = [1.0, 2.0];
/// How many layers have such heads.
const N_OFFSET_LAYERS: usize = 3;
/// How sharply they attend.
const SHARPNESS: f64 = 4.6;
/// How many of the fastest rotary frequencies tell neighbours apart.
const N_FREQUENCIES: usize = 5;
/// The spread of queries and keys that look for equal tokens.
const MATCHING: f64 = 0.1;
/// How many of the fastest rotary frequencies do not take part in that, so that
/// an earlier occurrence is found at any distance.
const N_BLIND: usize = 6;

/// First weights: normal, narrower where a layer writes into the residual
/// stream, so that twelve layers together do not drown the embedding.
///
/// Attention starts with a bent (after "Mimetic Initialization of Self-Attention
/// Layers", Trockman and Kolter 2023), which shortens the long plateau before
/// heads that look things up emerge by an order of magnitude: in the first
/// layers the first two heads attend one and two places back, through the
/// biases of queries and keys alone; in all layers the third head's queries
/// equal its keys, so that a token attends to its own earlier occurrences.
struct FirstWeights {
    random: Random,
    config: DecoderConfig,
    device: Device,
    /// The shared rows of the current layer's queries and keys.
    shared: Vec<f32>,
}

impl FirstWeights {
    fn layer(name: &str) -> usize {
        name.split('.')
            .nth(2)
            .and_then(|l| l.parse().ok())
            .unwrap_or(usize::MAX)
    }

    /// A bias whose rotated product with the key's bias peaks at an offset;
    /// the offset zero gives the key's bias.
    fn offset_bias(&self, offset: f64) -> Vec<f32> {
        let half = self.config.head_dim / 2;
        let mut bias = vec![0.0; 2 * half];
        for i in 0..N_FREQUENCIES.min(half) {
            let frequency = ROPE_THETA.powf(-(i as f64) / half as f64);
            bias[i] = (SHARPNESS * (offset * frequency).cos()) as f32;
            bias[half + i] = (-SHARPNESS * (offset * frequency).sin()) as f32;
        }
        bias
    }
}

impl TensorSource for FirstWeights {
    type Error = Infallible;

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, Infallible> {
        let writes = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
        let deviation = if writes {
            DEVIATION / (2.0 * self.config.n_layers as f64).sqrt()
        } else {
            DEVIATION
        };
        let mut values: Vec<f32> = (0..shape[0] * shape[1])
            .map(|_| (self.random.normal() * deviation) as f32)
            .collect();
        // Heads 0 and 1 share the first keys, heads 2 and 3 the second.
        let rows = self.config.head_dim * shape[1];
        if name.ends_with("q_proj.weight") {
            let (dim, half) = (self.config.head_dim, self.config.head_dim / 2);
            self.shared = (0..dim)
                .flat_map(|row| std::iter::repeat_n(row % half, shape[1]))
                .map(|frequency| {
                    let value = self.random.normal() * MATCHING;
                    if frequency < N_BLIND {
                        0.0
                    } else {
                        value as f32
                    }
                })
                .collect();
            values[2 * rows..3 * rows].copy_from_slice(&self.shared);
        } else if name.ends_with("k_proj.weight") {
            values[rows..2 * rows].copy_from_slice(&self.shared);
        }
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            &self.device,
        ))
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, Infallible> {
        let value = if name.ends_with("bias") { 0.0f32 } else { 1.0 };
        let mut values = vec![value; len];
        if Self::layer(name) < N_OFFSET_LAYERS {
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

/// A model that has learnt nothing yet.
pub fn untrained(config: &DecoderConfig, seed: u64, device: &Device) -> Decoder {
    let mut source = FirstWeights {
        random: Random::new(seed),
        config: config.clone(),
        device: device.clone(),
        shared: Vec::new(),
    };
    match Decoder::load(config, &mut source) {
        Ok(model) => model,
        Err(never) => match never {},
    }
}

/// Logits `[rows * len, vocab]` of token ids, row by row.
pub fn logits(model: &Decoder, ids: Vec<i32>, rows: usize, len: usize) -> Tensor<2> {
    let device = model.device();
    let mut context = model.uncached_context(len);
    model.begin_pass(&Pass::states(rows, len), &mut context);
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, len]), &device);
    let mut hidden = model.embed(ids);
    for layer_idx in 0..model.n_layers() {
        hidden = model.forward_layer(layer_idx, hidden, &mut context);
    }
    let vocab = model.vocab_size();
    model.logits(hidden).reshape([rows * len, vocab])
}

/// Sums of the answers' negative log-likelihood, and their number, by kind.
pub type ByKind = BTreeMap<String, (f64, usize)>;

/// The weighted mean of the negative log-likelihood over the batches of a step;
/// what the answers alone cost is added to `by_kind`.
pub fn loss(model: &Decoder, batches: &[Batch], by_kind: &mut ByKind) -> Result<Tensor<1>> {
    let mut total = 0.0f32;
    let mut sum: Option<Tensor<1>> = None;
    for batch in batches {
        let len = batch.len - 1;
        let n = batch.rows * len;
        let (mut inputs, mut targets, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        for row in 0..batch.rows {
            let ids = &batch.ids[row * batch.len..(row + 1) * batch.len];
            inputs.extend(ids[..len].iter().map(|&id| id as i32));
            let after = &batch.targets[row * batch.len + 1..(row + 1) * batch.len];
            targets.extend(after.iter().map(|&id| id as i32));
            weights.extend_from_slice(&batch.weights[row * batch.len + 1..(row + 1) * batch.len]);
        }
        total += weights.iter().sum::<f32>();
        let logits = logits(model, inputs, batch.rows, len);
        let device = logits.device();
        let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [n, 1]), &device);
        let likelihood = log_softmax(logits, 1).gather(1, targets).reshape([n]);
        let values = likelihood.clone().into_data().try_to_vec::<f32>()?;
        for (i, value) in values.iter().enumerate().filter(|(i, _)| weights[*i] > 0.5) {
            let entry = by_kind
                .entry(format!("{:?}", batch.kinds[i / len]))
                .or_default();
            entry.0 -= f64::from(*value);
            entry.1 += 1;
        }
        let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), &device);
        let part = (likelihood * weights).sum().neg();
        sum = Some(match sum {
            Some(sum) => sum + part,
            None => part,
        });
    }
    Ok(match sum {
        Some(sum) => sum / total.max(f32::MIN_POSITIVE),
        None => Tensor::zeros([1], &model.device()),
    })
}

/// Scales all gradients so that their common norm is at most `limit`.
pub fn clip(model: &Decoder, grads: &mut GradientsParams, limit: f32) -> f32 {
    let mut squares = Squares { grads, sum: 0.0 };
    model.visit(&mut squares);
    let norm = squares.sum.sqrt();
    if norm > limit {
        model.visit(&mut Scale {
            grads,
            factor: limit / norm,
        });
    }
    norm
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    sum: f32,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.sum += grad.square().sum().into_scalar::<f32>();
        }
    }
}

struct Scale<'a> {
    grads: &'a mut GradientsParams,
    factor: f32,
}

impl ModuleVisitor for Scale<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.factor);
        }
    }
}

/// Writes the weights in bf16 under their checkpoint names.
pub fn save_bf16(model: &Decoder, file: &Path) -> Result<()> {
    let mut named = Named::default();
    model.visit(&mut named);
    let views = named
        .tensors
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::BF16, shape.clone(), bytes)?;
            Ok((name.clone(), view))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    // Readers of the transformers library insist on this entry.
    let metadata = [("format".to_string(), "pt".to_string())].into();
    safetensors::serialize_to_file(views, Some(metadata), file)
        .with_context(|| format!("cannot write {}", file.display()))
}

#[derive(Default)]
struct Named {
    path: Vec<String>,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
    failed: Option<ParamId>,
}

impl ModuleVisitor for Named {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        match tensor.into_data().try_to_vec::<f32>() {
            Ok(values) => {
                let bytes = values
                    .iter()
                    .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                    .collect();
                let mut name = self.path.join(".");
                // The embedding is a bare parameter here, a module there.
                if name.ends_with("embed_tokens") {
                    name.push_str(".weight");
                }
                self.tensors.push((name, shape, bytes));
            }
            Err(_) => self.failed = Some(param.id),
        }
    }
}
