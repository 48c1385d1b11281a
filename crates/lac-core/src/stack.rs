//! The traits a model implements: one to be gated, one more to generate.

use burn::tensor::{Device, Int, Tensor};

use crate::error::{Error, Result};
use crate::pass::Pass;
use crate::routing::LayerRouting;

/// A stack of layers that a hidden state passes through: a decoder, an encoder, a vision model. This is all that the
/// gate needs of a model.
///
/// # Shapes
/// A hidden state is `[batch, seq, hidden]`: the residual stream, before any final norm.
pub trait LayerStack {
    /// Whatever the model's layers need besides the hidden state: positions, masks, caches. lac hands it on and never
    /// looks into it; `()` will do.
    type Context;

    /// Returns the number of layers, which must not change during a pass. Called once for each pass, and by plans.
    fn n_layers(&self) -> usize;

    /// Runs one layer, residual connections included, and returns the new hidden state in the shape of the one received.
    /// Called for the layers of a pass in their order, from 0 on, once for each that the policy runs whole.
    ///
    /// A state of another shape ends the pass with [`Error::LayerShape`].
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

    /// Returns the model as one that can run attention and MLP apart; `None`, the default, if it cannot. Called whenever a
    /// policy has a sublayer run, or the keys of a skipped layer left out.
    ///
    /// If a policy asks for that ([`Decision::SkipMlp`](crate::Decision), for instance) and this is `None`, the pass ends
    /// with [`Error::SublayersNotOffered`].
    fn sublayers(&self) -> Option<&dyn Sublayers<Context = Self::Context>> {
        None
    }

    /// Takes what the routers of the layers chose since the last call, in the order of the layers. Called once at the end of
    /// each pass. The tensors stay on the device until the pass is read.
    ///
    /// The default returns nothing: a model without experts has no routers.
    fn take_routing(&self, context: &mut Self::Context) -> Vec<LayerRouting> {
        let _ = context;
        Vec::new()
    }
}

/// One of the two sublayers of a decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sublayer {
    /// The attention, with its norm before it and its residual connection around.
    Attention,
    /// The MLP, with its norm before it and its residual connection around.
    Mlp,
}

/// A [`LayerStack`] whose layers are an attention followed by an MLP, which can be run apart.
pub trait Sublayers {
    /// The same type as [`LayerStack::Context`].
    type Context;

    /// Runs one sublayer, its residual connection included: `[batch, seq, hidden]` to the same shape. Called in place of
    /// [`forward_layer`](LayerStack::forward_layer) when the policy runs this sublayer alone. Attention and MLP
    /// in turn have to give what `forward_layer` gives.
    fn forward_sublayer(
        &self,
        layer_idx: usize,
        sublayer: Sublayer,
        hidden: Tensor<3>,
        context: &mut Self::Context,
    ) -> Tensor<3>;

    /// Leaves the slots of this pass without keys and values in a layer. Called in place of
    /// [`skip_layer`](LayerStack::skip_layer) under [`SkippedKeys::Omit`](crate::SkippedKeys::Omit). A later pass that runs
    /// the layer's attention must not attend to these slots until a pass has filled them.
    fn omit_kv(&self, layer_idx: usize, context: &mut Self::Context);
}

/// A language model that can be prompted: enough for generation, tracing and evaluation.
///
/// For every pass, [`begin_pass`](Self::begin_pass) is called first, then [`embed`](Self::embed), then the methods of
/// [`LayerStack`] for the layers, then [`logits`](Self::logits).
pub trait CausalLm: LayerStack {
    /// Returns the number of tokens of the vocabulary, which is the width of the logits. Prompts with an id beyond it are
    /// refused.
    fn vocab_size(&self) -> usize;

    /// Returns the number of positions that the model was made for, or `None` if there is no limit. Longer prompts are
    /// refused, and generation stops there.
    fn max_context(&self) -> Option<usize>;

    /// Returns the device that the weights are on. Token ids are put there.
    fn device(&self) -> Device;

    /// Creates a context with room for `capacity` slots in each of `batch` rows. Called once for each batch of prompts that
    /// is continued, and of texts that are scored.
    fn new_context(&self, batch: usize, capacity: usize) -> Self::Context;

    /// Prepares the context for a pass: positions, mask, and the cache slots that the pass fills, from `pass.past()` to
    /// `pass.past() + pass.seq()`. Called once before each pass.
    ///
    /// Whatever earlier passes have written from slot `pass.past()` on has to be forgotten: speculation rolls back by
    /// starting a pass earlier.
    fn begin_pass(&self, pass: &Pass, context: &mut Self::Context);

    /// Returns the embedding `[batch, seq, hidden]` of token ids `[batch, seq]`, the first state whose norm is measured.
    /// Called once for each pass, after [`begin_pass`](Self::begin_pass): a model that adds learned positions finds them
    /// in the context.
    fn embed(&self, token_ids: Tensor<2, Int>, context: &Self::Context) -> Tensor<3>;

    /// Applies the final norm and the head: `[batch, n, hidden]` to `[batch, n, vocab]`. Called at the end of each pass with
    /// the positions that are needed, when generating the last one alone.
    fn logits(&self, hidden: Tensor<3>) -> Tensor<3>;

    /// Returns a context with room for `capacity` slots whose row `i` holds what row `rows[i]` of `context` holds in its
    /// first `n_slots` slots. Called by evaluation, so that texts with a common beginning pay for it once.
    ///
    /// `None`, the default, if the model cannot do that: every text is then fed whole.
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
    /// Returns a cheaper model with the same layers, such as this one's weights quantised, whose passes can read and write
    /// this model's contexts; `None`, the default, if there is none. Speculation drafts with it: see
    /// [`WithSecondWeights`](crate::speculation::WithSecondWeights), which adds one to a model.
    fn second_weights(&self) -> Option<&dyn CausalLm<Context = Self::Context>> {
        None
    }

    /// Returns whether a token's logits, keys and values are the same to the bit whatever tokens are computed in the same
    /// pass. If so, a verifying pass over several tokens decides as passes over one token would, and speculation never has
    /// to make those again at [near ties](crate::speculation::Ties).
    ///
    /// The default, `false`, is always right and costs only time.
    fn computes_tokens_alone(&self) -> bool {
        false
    }
}
