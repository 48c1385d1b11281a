//! A language model and a policy of one's own, made as the guide describes it, under everything that lac does with them.

use std::collections::HashSet;

use burn::nn::{Embedding, EmbeddingConfig, Gelu, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Int, Tensor};
use lac_core::plan::PhasePlan;
use lac_core::speculation::{DraftLength, SpeculationConfig, Speculator, verify_speculation};
use lac_core::{
    BoxError, CausalLm, Decision, GateConfig, GenerateArgs, GenerationConfig, Halt, LayerPolicy,
    LayerStack, LayerStep, NextState, Off, Pass, Phase, Result, Trace, Usage, generate,
};

/// A model whose layers see, beside a token's own state, the mean of all states up to it.
struct Mixer {
    tokens: Embedding,
    layers: Vec<Linear>,
    head: Linear,
}

struct Context {
    /// For each layer the states of all tokens so far, `[batch, tokens, hidden]`.
    seen: Vec<Option<Tensor<3>>>,
    /// Where a state is masked for a token, `[batch, seq, tokens]`.
    mask: Tensor<3, Bool>,
}

impl Context {
    fn append(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Tensor<3> {
        let old = self.seen[layer_idx].take().into_iter();
        let seen = Tensor::cat(old.chain([hidden.clone()]).collect(), 1);
        self.seen[layer_idx].insert(seen).clone()
    }
}

impl LayerStack for Mixer {
    type Context = Context;

    fn n_layers(&self) -> usize {
        self.layers.len()
    }

    fn forward_layer(&self, layer_idx: usize, hidden: Tensor<3>, ctx: &mut Context) -> Tensor<3> {
        let seen = ctx.append(layer_idx, &hidden);
        let visible = ctx.mask.clone().bool_not().float();
        let mean = visible.clone().matmul(seen) / visible.sum_dim(2).clamp_min(1.0);
        let layer = &self.layers[layer_idx];
        hidden.clone() + Gelu::new().forward(layer.forward(hidden + mean))
    }

    fn skip_layer(&self, layer_idx: usize, hidden: &Tensor<3>, ctx: &mut Context) -> Result<()> {
        ctx.append(layer_idx, hidden);
        Ok(())
    }
}

impl CausalLm for Mixer {
    fn vocab_size(&self) -> usize {
        self.head.weight.dims()[1]
    }

    fn max_context(&self) -> Option<usize> {
        None
    }

    fn device(&self) -> Device {
        self.head.weight.device()
    }

    fn new_context(&self, batch: usize, _capacity: usize) -> Context {
        let mask = Tensor::zeros([batch, 1, 1], &self.device());
        let seen = vec![None; self.n_layers()];
        Context { seen, mask }
    }

    fn begin_pass(&self, pass: &Pass, ctx: &mut Context) {
        ctx.mask = pass.key_mask(&self.device());
        for seen in ctx.seen.iter_mut().flatten() {
            *seen = seen.clone().narrow(1, 0, pass.past());
        }
    }

    fn embed(&self, token_ids: Tensor<2, Int>, _ctx: &Context) -> Tensor<3> {
        self.tokens.forward(token_ids)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.head.forward(hidden)
    }
}

/// Rests a layer for one token of the response after it was void for the one before.
#[derive(Default)]
struct RestAfterVoid {
    voids: HashSet<usize>,
}

impl LayerPolicy for RestAfterVoid {
    fn name(&self) -> &str {
        "rest-after-void"
    }

    fn gate_config(&self) -> Option<GateConfig> {
        Some(GateConfig::new(0.8))
    }

    fn begin(&mut self, pass: &Pass, _embedding: &Tensor<3>) -> Result<(), BoxError> {
        if pass.phase() == Phase::Prompt {
            self.voids.clear();
        }
        Ok(())
    }

    fn before(&mut self, layer_idx: usize, _hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        let rests = self.voids.remove(&layer_idx);
        Ok(if rests { Decision::Skip } else { Decision::Run })
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        if let Some(reading) = step.reading {
            let active = reading.active.clone().int().try_to_vec_as::<i32>()?;
            if active.last() == Some(&0) {
                self.voids.insert(step.layer_idx);
            }
        }
        Ok(NextState::Output)
    }
}

fn mixer() -> Mixer {
    let device = Device::flex();
    device.seed(3);
    let linear = |n_in, n_out| LinearConfig::new(n_in, n_out).init(&device);
    Mixer {
        tokens: EmbeddingConfig::new(32, 16).init(&device),
        layers: (0..6).map(|_| linear(16, 16)).collect(),
        head: linear(16, 32),
    }
}

/// The tokens of each row, and the usage.
fn continued(prompts: &[Vec<u32>], policy: &mut dyn LayerPolicy) -> (Vec<Vec<u32>>, Usage) {
    let mut usage = Usage::default();
    let args = GenerateArgs::new(policy).observer(&mut usage);
    let output = generate(&mixer(), prompts, &GenerationConfig::greedy(10), args).unwrap();
    let rows = output.rows.into_iter().map(|row| row.ids);
    (rows.collect(), usage)
}

#[test]
fn a_row_of_a_batch_gives_what_it_gives_alone() {
    let prompts = [vec![3, 1, 4, 1, 5], vec![9, 2], vec![6, 5, 3]];
    for policy in [&mut Off as &mut dyn LayerPolicy, &mut Halt::default()] {
        let (together, _) = continued(&prompts, policy);
        for (prompt, together) in prompts.iter().zip(together) {
            let (alone, _) = continued(std::slice::from_ref(prompt), policy);
            assert_eq!(alone, [together], "{}", policy.name());
        }
    }
}

#[test]
fn ones_own_policy_skips_and_the_counts_say_so() {
    let prompts = [vec![3, 1, 4, 1, 5]];
    let (full, traced) = continued(&prompts, &mut Trace::new(GateConfig::new(0.8)));
    let (skipped, usage) = continued(&prompts, &mut RestAfterVoid::default());
    assert_eq!(skipped[0].len(), full[0].len());
    assert_eq!(usage.prompt, traced.prompt, "the prompt is run whole");
    assert_eq!(traced.response.executed_per_pass(), Some(6.0));
    let executed = usage.response.executed_per_pass().unwrap();
    // A layer rests for one token of two at most.
    assert!((3.0..6.0).contains(&executed), "{executed}");
}

#[test]
fn drafts_of_ones_own_model_change_no_token() {
    let plan = PhasePlan::keeping(&[true, true, true, false, true, false]);
    let config = SpeculationConfig::default().with_draft_length(DraftLength::Fixed(3));
    let mut speculator = Speculator::new(plan, config).unwrap();
    let config = GenerationConfig::greedy(20);
    let prompts = [vec![3, 1, 4, 1, 5]];
    let verified = verify_speculation(&mixer(), &prompts, &config, &mut speculator).unwrap();
    assert_eq!(verified.divergence, None);
    assert_eq!(verified.n_equal, 20);
    assert!(verified.stats.n_drafted > 0);
}
