//! What a step's batches give: a loss and its gradients, worked out side by side and clipped.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use lac_core::{CausalLm, LayerStack, Pass};
use lac_models::Decoder;

use crate::batches::Batch;

/// Sums of the answers' negative log-likelihood, and their number, by kind of document; what
/// marks cost stands apart.
pub type ByKind = BTreeMap<String, (f64, usize)>;

/// What one step's batches give: the weighted mean loss and its gradients.
pub struct StepGradients {
    /// Weighted mean of the negative log-likelihood.
    pub loss: f32,
    /// The gradients of that mean.
    pub grads: GradientsParams,
    /// What the answers alone cost.
    pub by_kind: ByKind,
}

/// Threads that share the batches of a step, each with a graph and a pool of its own.
///
/// The matrices are too small for two cores to share one product well; two halves of a step
/// side by side use both fully. The gradients are added in the order of the workers, so the
/// result depends on their number and not on their timing.
pub struct Workers {
    pools: Vec<rayon::ThreadPool>,
}

impl Workers {
    /// Starts `n` workers of one thread each.
    ///
    /// # Errors
    /// Fails if the system has no threads left.
    pub fn new(n: usize) -> Result<Self> {
        let pools = (0..n)
            .map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build())
            .collect::<Result<_, _>>()?;
        Ok(Self { pools })
    }

    /// Returns the weighted mean of the negative log-likelihood over the batches of a step, and its gradients.
    ///
    /// # Errors
    /// Fails if a tensor cannot be read back.
    pub fn gradients(&self, model: &Decoder, batches: &[Batch]) -> Result<StepGradients> {
        let total: f32 = batches.iter().map(Batch::total_weight).sum();
        let n_workers = self.pools.len();
        let parts: Vec<Result<StepGradients>> = std::thread::scope(|scope| {
            let handles: Vec<_> = self
                .pools
                .iter()
                .enumerate()
                .map(|(worker, pool)| {
                    let own = batches.iter().skip(worker).step_by(n_workers);
                    // Leaves of its own: graphs that share a leaf share a lock.
                    let replica = model.valid().train();
                    scope.spawn(move || pool.install(|| accumulate(&replica, own, total)))
                })
                .collect();
            handles
                .into_iter()
                .map(|handle| match handle.join() {
                    Ok(part) => part,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
                .collect()
        });
        let mut parts = parts.into_iter();
        let mut sum = parts.next().unwrap_or_else(|| bail!("no workers"))?;
        for part in parts {
            let part = part?;
            sum.loss += part.loss;
            add_costs(&mut sum.by_kind, part.by_kind);
            model.visit(&mut Add {
                sum: &mut sum.grads,
                part: part.grads,
            });
        }
        Ok(sum)
    }
}

/// Adds costs by kind to others.
pub fn add_costs(sum: &mut ByKind, part: ByKind) {
    for (kind, (cost, n)) in part {
        let entry = sum.entry(kind).or_default();
        entry.0 += cost;
        entry.1 += n;
    }
}

/// Computes the gradients of some of a step's batches, one batch at a time so that one graph is held.
fn accumulate<'a>(
    model: &Decoder,
    batches: impl Iterator<Item = &'a Batch>,
    total: f32,
) -> Result<StepGradients> {
    let mut sum = StepGradients {
        loss: 0.0,
        grads: GradientsParams::new(),
        by_kind: ByKind::new(),
    };
    for batch in batches {
        let loss = loss(model, batch, &mut sum.by_kind)? / total.max(f32::MIN_POSITIVE);
        sum.loss += loss.clone().into_scalar::<f32>();
        let part = GradientsParams::from_grads(loss.backward(), model);
        model.visit(&mut Add {
            sum: &mut sum.grads,
            part,
        });
    }
    Ok(sum)
}

/// Returns the weighted sum of the negative log-likelihood of a batch.
fn loss(model: &Decoder, batch: &Batch, by_kind: &mut ByKind) -> Result<Tensor<1>> {
    let len = batch.len - 1;
    let (mut inputs, mut places, mut targets, mut weights) = (vec![], vec![], vec![], vec![]);
    for row in 0..batch.rows {
        let start = row * batch.len;
        inputs.extend(batch.ids[start..start + len].iter().map(|&id| id as i32));
        for slot in 0..len {
            let weight = batch.weights[start + slot + 1];
            if weight > 0.0 {
                places.push((row * len + slot) as i32);
                targets.push(batch.targets[start + slot + 1] as i32);
                weights.push(weight);
            }
        }
    }
    let n = places.len();
    let device = model.device();
    let ints =
        |values: Vec<i32>| Tensor::<1, Int>::from_data(TensorData::new(values, [n]), &device);
    let hidden = states(model, inputs, batch.rows, len);
    let hidden_size = hidden.dims()[2];
    // Only the places that count go through the head.
    let hidden = hidden
        .reshape([batch.rows * len, hidden_size])
        .select(0, ints(places.clone()))
        .unsqueeze();
    let logits = model.logits(hidden).reshape([n, model.vocab_size()]);
    let likelihood = log_softmax(logits, 1)
        .gather(1, ints(targets).reshape([n, 1]))
        .reshape([n]);
    let values = likelihood.clone().into_data().try_to_vec::<f32>()?;
    for (i, value) in values.iter().enumerate().filter(|(i, _)| weights[*i] > 0.2) {
        let label = &batch.labels[places[i] as usize / len];
        let label = if weights[i] > 0.5 {
            label.clone()
        } else {
            format!("mark {label}")
        };
        let entry = by_kind.entry(label).or_default();
        entry.0 -= f64::from(*value);
        entry.1 += 1;
    }
    let weights = Tensor::<1>::from_data(TensorData::new(weights, [n]), &device);
    Ok((likelihood * weights).sum().neg())
}

/// Computes the last hidden states `[rows, len, hidden]` of token ids, row by row.
fn states(model: &Decoder, ids: Vec<i32>, rows: usize, len: usize) -> Tensor<3> {
    let device = model.device();
    let mut context = model.uncached_context(len);
    model.begin_pass(&Pass::states(rows, len), &mut context);
    let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [rows, len]), &device);
    let mut hidden = model.embed(ids, &context);
    for layer_idx in 0..model.n_layers() {
        hidden = model.forward_layer(layer_idx, hidden, &mut context);
    }
    hidden
}

/// Adds a part's gradients to a sum.
struct Add<'a> {
    sum: &'a mut GradientsParams,
    part: GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(part) = self.part.remove::<D>(param.id) else {
            return;
        };
        let sum = match self.sum.remove::<D>(param.id) {
            Some(sum) => sum + part,
            None => part,
        };
        self.sum.register(param.id, sum);
    }
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
