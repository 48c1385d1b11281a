//! A model for tests, whose logits depend on the last token alone.

use burn::tensor::{Device, Int, Tensor};
use lac_core::{CausalLm, LayerStack, Pass};

/// Two layers that change nothing. The logits follow from the token ids, `[batch, seq]` to
/// `[batch, seq, vocab]`.
pub(crate) struct LastToken {
    pub(crate) vocab_size: usize,
    pub(crate) logits: fn(Tensor<2, Int>, usize) -> Tensor<3>,
}

impl LayerStack for LastToken {
    type Context = ();

    fn n_layers(&self) -> usize {
        2
    }

    fn forward_layer(&self, _: usize, hidden: Tensor<3>, _: &mut ()) -> Tensor<3> {
        hidden
    }
}

impl CausalLm for LastToken {
    fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    fn max_context(&self) -> Option<usize> {
        None
    }

    fn device(&self) -> Device {
        Device::flex()
    }

    fn new_context(&self, _batch: usize, _capacity: usize) {}

    fn begin_pass(&self, _pass: &Pass, _context: &mut ()) {}

    fn embed(&self, token_ids: Tensor<2, Int>, _context: &()) -> Tensor<3> {
        (self.logits)(token_ids, self.vocab_size)
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        hidden
    }
}
