//! Some layers of a model as a stack of their own.

use std::ops::Range;

use burn::tensor::Tensor;

use crate::error::Result;
use crate::stack::{LayerStack, Sublayer, Sublayers};

/// The layers `range` of a stack.
pub(super) struct LayerRange<'a, S: LayerStack + ?Sized> {
    stack: &'a S,
    sublayers: Option<&'a dyn Sublayers<Context = S::Context>>,
    range: Range<usize>,
}

impl<'a, S: LayerStack + ?Sized> LayerRange<'a, S> {
    pub(super) fn new(stack: &'a S, range: Range<usize>) -> Self {
        Self {
            stack,
            sublayers: stack.sublayers(),
            range,
        }
    }
}

impl<S: LayerStack + ?Sized> LayerStack for LayerRange<'_, S> {
    type Context = S::Context;

    fn n_layers(&self) -> usize {
        self.range.len()
    }

    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        context: &mut S::Context,
    ) -> Tensor<3> {
        self.stack
            .forward_layer(self.range.start + layer_idx, hidden, context)
    }

    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut S::Context,
    ) -> Result<()> {
        self.stack
            .skip_layer(self.range.start + layer_idx, hidden, context)
    }

    fn sublayers(&self) -> Option<&dyn Sublayers<Context = S::Context>> {
        self.sublayers?;
        Some(self)
    }
}

impl<S: LayerStack + ?Sized> Sublayers for LayerRange<'_, S> {
    type Context = S::Context;

    fn forward_sublayer(
        &self,
        layer_idx: usize,
        sublayer: Sublayer,
        hidden: Tensor<3>,
        context: &mut S::Context,
    ) -> Tensor<3> {
        let layer_idx = self.range.start + layer_idx;
        match self.sublayers {
            Some(sublayers) => sublayers.forward_sublayer(layer_idx, sublayer, hidden, context),
            // `sublayers` returns this stack only where the whole one offers them.
            None => hidden,
        }
    }

    fn omit_kv(&self, layer_idx: usize, context: &mut S::Context) {
        if let Some(sublayers) = self.sublayers {
            sublayers.omit_kv(self.range.start + layer_idx, context);
        }
    }
}
