//! A model with cheaper weights beside it.

use burn::tensor::{Device, Int, Tensor};

use crate::error::Result;
use crate::pass::Pass;
use crate::routing::LayerRouting;
use crate::stack::{CausalLm, LayerStack, Sublayers};

/// A model, and a cheaper one with the same layers and the same kind of context, which drafts for it: usually the same
/// weights quantised. It is the first model in everything but [`CausalLm::second_weights`].
#[derive(Debug)]
pub struct WithSecondWeights<'a, M: ?Sized, D: ?Sized> {
    model: &'a M,
    second: Option<&'a D>,
}

impl<'a, M: CausalLm + ?Sized, D: CausalLm<Context = M::Context>> WithSecondWeights<'a, M, D> {
    /// Adds second weights to a model, or none. The passes of both run on the first model's contexts.
    pub fn new(model: &'a M, second: impl Into<Option<&'a D>>) -> Self {
        let second = second.into();
        Self { model, second }
    }
}

impl<M: CausalLm + ?Sized, D: CausalLm<Context = M::Context>> LayerStack
    for WithSecondWeights<'_, M, D>
{
    type Context = M::Context;

    fn n_layers(&self) -> usize {
        self.model.n_layers()
    }

    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        context: &mut M::Context,
    ) -> Tensor<3> {
        self.model.forward_layer(layer_idx, hidden, context)
    }

    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut M::Context,
    ) -> Result<()> {
        self.model.skip_layer(layer_idx, hidden, context)
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = M::Context>> {
        self.model.sublayers()
    }

    fn take_routing(&self, context: &mut M::Context) -> Vec<LayerRouting> {
        self.model.take_routing(context)
    }
}

impl<M: CausalLm + ?Sized, D: CausalLm<Context = M::Context>> CausalLm
    for WithSecondWeights<'_, M, D>
{
    fn vocab_size(&self) -> usize {
        self.model.vocab_size()
    }

    fn max_context(&self) -> Option<usize> {
        self.model.max_context()
    }

    fn device(&self) -> Device {
        self.model.device()
    }

    fn new_context(&self, batch: usize, capacity: usize) -> M::Context {
        self.model.new_context(batch, capacity)
    }

    fn begin_pass(&self, pass: &Pass, context: &mut M::Context) {
        self.model.begin_pass(pass, context);
    }

    fn embed(&self, token_ids: Tensor<2, Int>, context: &M::Context) -> Tensor<3> {
        self.model.embed(token_ids, context)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        self.model.logits(hidden)
    }

    fn repeat_context(
        &self,
        context: &M::Context,
        rows: &[usize],
        n_slots: usize,
        capacity: usize,
    ) -> Option<M::Context> {
        self.model.repeat_context(context, rows, n_slots, capacity)
    }

    fn second_weights(&self) -> Option<&dyn CausalLm<Context = M::Context>> {
        let second = self.second?;
        Some(second)
    }

    fn computes_tokens_alone(&self) -> bool {
        self.model.computes_tokens_alone()
    }
}
