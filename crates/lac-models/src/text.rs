//! The tokenizer's stream of text as lac-core's generation wants it.

use lac_core::{BoxError, TextDecoder};

use crate::tokenizer::TextStream;

impl TextDecoder for TextStream<'_> {
    fn push(&mut self, id: u32) -> Result<String, BoxError> {
        Ok(TextStream::push(self, id)?.unwrap_or_default())
    }

    fn finish(&mut self) -> Result<String, BoxError> {
        Ok(TextStream::finish(self)?.unwrap_or_default())
    }
}
