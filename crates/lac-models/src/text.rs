//! lac-core's traits for texts, implemented by the tokenizer.

use lac_core::{
    BoxError,
    generation::TextDecoder,
    text_model::{AddSpecialTokens, ChatMessage, TextModel},
};

use crate::chat_template::ChatOptions;
use crate::tokenizer::{DecodedSpecialTokens, TextStream, Tokenizer};

impl TextDecoder for TextStream<'_> {
    fn push(&mut self, id: u32) -> Result<String, BoxError> {
        Ok(TextStream::push(self, id)?.unwrap_or_default())
    }

    fn finish(&mut self) -> Result<String, BoxError> {
        Ok(TextStream::finish(self)?.unwrap_or_default())
    }
}

/// The date that templates are given in evaluations: the one that Llama 3.1's template has as its default.
const EVALUATION_DAY: (i32, u32, u32) = (2024, 7, 26);

impl TextModel for Tokenizer {
    fn encode(&self, text: &str, special: AddSpecialTokens) -> Result<Vec<u32>, BoxError> {
        Ok(Tokenizer::encode(self, text, special)?)
    }

    fn decode(&self, ids: &[u32]) -> Result<String, BoxError> {
        Ok(Tokenizer::decode(self, ids, DecodedSpecialTokens::Skip)?)
    }

    fn has_chat_template(&self) -> bool {
        Tokenizer::has_chat_template(self)
    }

    fn render_chat(&self, messages: &[ChatMessage]) -> Result<String, BoxError> {
        let (year, month, day) = EVALUATION_DAY;
        let options = ChatOptions::default()
            .on_day(year, month, day)
            .unwrap_or_default();
        Ok(Tokenizer::render_chat(self, messages, &options)?)
    }

    fn stop_tokens(&self) -> &[u32] {
        self.stop_ids()
    }

    fn start_token(&self) -> Option<u32> {
        self.bos_id().or(self.eos_id())
    }

    fn pad_token(&self) -> Option<u32> {
        self.pad_id().or(self.eos_id())
    }
}
