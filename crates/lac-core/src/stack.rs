//! The traits a model implements: one to be gated, one more to generate.

use burn::tensor::{Device, Int, Tensor};

use crate::error::{Error, Result};
use crate::pass::Pass;

/// A hidden state passes through layers. Anything that can say this much can be gated: a
/// decoder, an encoder, a vision model.
///
/// Shapes: a hidden state is `[batch, seq, hidden]`, the residual stream, before any final norm.
pub trait LayerStack {
    /// What a layer needs besides the hidden state: positions, masks, caches. The model's own.
    type Context;

    /// Number of layers.
    fn n_layers(&self) -> usize;

    /// Runs one layer, its residual connections included, and returns the new hidden state.
    fn forward_layer(
        &self,
        layer_idx: usize,
        hidden: Tensor<3>,
        context: &mut Self::Context,
    ) -> Tensor<3>;

    /// Called in place of [`forward_layer`](Self::forward_layer), once for each layer of a pass that the policy does
    /// not run; `hidden` is the state that the layer would have received, and the next layer receives it unchanged.
    ///
    /// A decoder with a key/value cache writes the layer's keys and values here, computed from `hidden`, so that
    /// later tokens find them. A model without a cache returns `Ok(())` and does nothing else.
    ///
    /// # Errors
    /// The default returns [`Error::SkipNotOffered`]: a cache that is left with a gap would give wrong text without a
    /// word. An error ends the pass and is returned by [`run_layers`](crate::run_layers) as it is.
    fn skip_layer(
        &self,
        layer_idx: usize,
        hidden: &Tensor<3>,
        context: &mut Self::Context,
    ) -> Result<()> {
        let _ = (hidden, context);
        Err(Error::SkipNotOffered { layer_idx })
    }

    /// Returns the layers' parts in models that can run attention and MLP apart; `None`, the default, in others.
    /// Called whenever a policy wants a part of a layer run, or the keys of a skipped layer left out.
    ///
    /// A policy that asks for a part ([`Decision::SkipMlp`](crate::Decision), for instance) of a model that returns
    /// `None` ends its pass with [`Error::SublayersNotOffered`].
    fn sublayers(&self) -> Option<&dyn Sublayers<Context = Self::Context>> {
        None
    }
}

/// One of the two parts of a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sublayer {
    /// The attention, with its norm before it and its residual connection around.
    Attention,
    /// The MLP, with its norm before it and its residual connection around.
    Mlp,
}

/// Layers of an attention followed by an MLP, which can be run apart.
pub trait Sublayers {
    /// As [`LayerStack::Context`].
    type Context;

    /// Runs one part of a layer, its residual connection included: `[batch, seq, hidden]` to the
    /// same shape. Attention and MLP in turn give what
    /// [`forward_layer`](LayerStack::forward_layer) gives.
    fn forward_sublayer(
        &self,
        layer_idx: usize,
        part: Sublayer,
        hidden: Tensor<3>,
        context: &mut Self::Context,
    ) -> Tensor<3>;

    /// Leaves the slots of this pass without keys and values in a layer: a later pass that runs
    /// the layer's attention must not attend to them, until a pass has filled them.
    fn omit_kv(&self, layer_idx: usize, context: &mut Self::Context);
}

/// A decoder that can be prompted: enough for generation, tracing and evaluation.
pub trait CausalLm: LayerStack {
    /// Number of tokens of the vocabulary: the width of the logits.
    fn vocab_size(&self) -> usize;

    /// Number of positions the model was made for; `None` when there is no limit.
    fn max_context(&self) -> Option<usize>;

    /// The device the weights are on.
    fn device(&self) -> Device;

    /// A context with room for `capacity` slots in each of `batch` rows, allocated at once.
    fn new_context(&self, batch: usize, capacity: usize) -> Self::Context;

    /// Prepares the context for a pass: positions, mask, and the cache slots it will fill,
    /// `pass.past()` to `pass.past() + pass.seq()`. Slots beyond are to be forgotten.
    fn begin_pass(&self, pass: &Pass, context: &mut Self::Context);

    /// Token ids `[batch, seq]` to the embedding output `[batch, seq, hidden]`. The context is
    /// prepared for the pass, for models that add positions here.
    fn embed(&self, token_ids: Tensor<2, Int>, context: &Self::Context) -> Tensor<3>;

    /// Final norm and head on the given positions: `[batch, n, hidden]` to `[batch, n, vocab]`.
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// A context with room for `capacity` slots whose row `i` has seen what row `rows[i]` of
    /// another one saw in its first `n_slots` slots, so that many texts with a common beginning
    /// pay for it once. `None`, the default, where a model cannot do that.
    fn repeat_context(
        &self,
        context: &Self::Context,
        rows: &[usize],
        n_slots: usize,
        capacity: usize,
    ) -> Option<Self::Context> {
        let _ = (context, rows, n_slots, capacity);
        None
    }
}
