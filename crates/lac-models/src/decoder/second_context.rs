//! The cache of a decoder in another data type, for one that drafts on it.

use burn::tensor::DType;
use lac_core::Pass;

use super::cast::cast;
use super::config::DecoderConfig;
use super::context::{DecoderContext, SecondContext};

impl DecoderContext {
    /// Returns the context for a decoder of this data type: this one, or the second one.
    ///
    /// # Panics
    /// If a decoder of this data type has begun no pass on this context.
    pub(super) fn of_dtype(&mut self, dtype: DType) -> &mut Self {
        if self.dtype() == dtype {
            return self;
        }
        let second = self.second.as_mut();
        &mut second
            .expect("a pass begins before its layers are run")
            .context
    }

    /// Prepares for a pass of a decoder of this data type.
    pub(super) fn begin_pass_of(&mut self, config: &DecoderConfig, dtype: DType, pass: &Pass) {
        if self.dtype() == dtype {
            self.n_filled = pass.past() + pass.seq();
            if let Some(second) = &mut self.second {
                second.n_copied = second.n_copied.min(pass.past());
            }
            return self.begin_pass(pass);
        }
        let mut second = match self.second.take() {
            Some(second) => second,
            None => Box::new(SecondContext {
                context: self.in_dtype(config, dtype, pass.past() + pass.seq()),
                n_copied: 0,
            }),
        };
        // What this context holds from here on was rejected.
        self.n_filled = self.n_filled.min(pass.past());
        second.copy(self, config.n_layers, dtype);
        second.context.begin_pass(pass);
        self.second = Some(second);
    }
}

impl SecondContext {
    /// Copies the slots that the first context has filled since the last time.
    fn copy(&mut self, first: &DecoderContext, n_layers: usize, dtype: DType) {
        let slots = self.n_copied..first.n_filled;
        if slots.is_empty() {
            return;
        }
        for layer_idx in 0..n_layers {
            if let Some((keys, values)) = first.cached_in(layer_idx, slots.clone()) {
                let (keys, values) = (cast(keys, dtype), cast(values, dtype));
                self.context.write(layer_idx, slots.start, keys, values);
            }
        }
        self.n_copied = slots.end;
    }
}
