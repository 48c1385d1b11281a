//! A model whose sublayers count as layers.

use std::fmt;

use burn::tensor::{Device, Int, Tensor};

use crate::error::{Error, Result};
use crate::pass::Pass;
use crate::routing::LayerRouting;
use crate::stack::{CausalLm, LayerStack, Sublayer, Sublayers};

/// A model whose attentions and MLPs count as layers of their own, twice as many, so that the gate judges each of them by
/// the same rule, from the norms after each.
pub struct SplitLayers<'a, M: LayerStack + ?Sized> {
    model: &'a M,
    sublayers: &'a dyn Sublayers<Context = M::Context>,
}

impl<M: LayerStack + ?Sized> fmt::Debug for SplitLayers<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitLayers")
            .field("n_layers", &self.n_layers())
            .finish_non_exhaustive()
    }
}

impl<'a, M: LayerStack + ?Sized> SplitLayers<'a, M> {
    /// Wraps a model. Layer `2 l` is then the attention of its layer `l`, and layer `2 l + 1` the MLP.
    ///
    /// # Errors
    /// [`Error::SublayersNotOffered`] if the model cannot run attention and MLP apart.
    pub fn new(model: &'a M) -> Result<Self> {
        let sublayers = model
            .sublayers()
            .ok_or(Error::SublayersNotOffered { layer_idx: 0 })?;
        Ok(Self { model, sublayers })
    }
}

impl<M: LayerStack + ?Sized> LayerStack for SplitLayers<'_, M> {
    type Context = M::Context;

    fn n_layers(&self) -> usize {
        2 * self.model.n_layers()
    }

    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        context: &mut M::Context,
    ) -> Tensor<3> {
        let sublayer = if layer_idx.is_multiple_of(2) {
            Sublayer::Attention
        } else {
            Sublayer::Mlp
        };
        self.sublayers
            .forward_sublayer(layer_idx / 2, sublayer, hidden, context)
    }

    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut M::Context,
    ) -> Result<()> {
        // An MLP has no keys and values.
        if layer_idx.is_multiple_of(2) {
            self.model.skip_layer(layer_idx / 2, hidden, context)
        } else {
            Ok(())
        }
    }

    fn take_routing(&self, context: &mut M::Context) -> Vec<LayerRouting> {
        let mut routing = self.model.take_routing(context);
        for layer in &mut routing {
            // Experts stand in the MLP's place.
            layer.layer_idx = 2 * layer.layer_idx + 1;
        }
        routing
    }
}

impl<M: CausalLm + ?Sized> CausalLm for SplitLayers<'_, M> {
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
}
