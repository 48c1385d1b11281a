//! The tokenizer as lac-core's generation and lac-eval want it.

use lac_core::{
    BoxError,
    generation::TextDecoder,
    text_model::{Markers, TextModel, Turn},
};

use crate::chat_template::{ChatOptions, Message};
use crate::tokenizer::{PromptKind, SpecialTokens, SpecialTokensInText, TextStream, Tokenizer};

impl TextDecoder for TextStream<'_> {
    fn push(&mut self, id: u32) -> Result<String, BoxError> {
        Ok(TextStream::push(self, id)?.unwrap_or_default())
    }

    fn finish(&mut self) -> Result<String, BoxError> {
        Ok(TextStream::finish(self)?.unwrap_or_default())
    }
}

/// The day that evaluated chats are held on: the one that Llama 3.1's template names by itself.
const EVALUATION_DAY: (i32, u32, u32) = (2024, 7, 26);

impl TextModel for Tokenizer {
    fn encode(&self, text: &str, markers: Markers) -> Result<Vec<u32>, BoxError> {
        Ok(match markers {
            Markers::Tokenizer => self.encode_prompt(text, PromptKind::Raw)?,
            Markers::Written => self.encode_rendered(text)?,
            Markers::Doubled => Tokenizer::encode(self, text, SpecialTokens::Add)?,
        })
    }

    fn decode(&self, ids: &[u32]) -> Result<String, BoxError> {
        Ok(Tokenizer::decode(self, ids, SpecialTokensInText::Skip)?)
    }

    fn has_chat_template(&self) -> bool {
        Tokenizer::has_chat_template(self)
    }

    fn render_chat(&self, turns: &[Turn]) -> Result<String, BoxError> {
        let messages: Vec<Message> = turns
            .iter()
            .map(|turn| Message::new(turn.role, turn.content.as_str()))
            .collect();
        let (year, month, day) = EVALUATION_DAY;
        let options = ChatOptions::default()
            .on_day(year, month, day)
            .unwrap_or_default();
        Ok(Tokenizer::render_chat(self, &messages, &options)?)
    }

    fn stop_tokens(&self) -> &[u32] {
        self.stop_ids()
    }

    fn pad_token(&self) -> Option<u32> {
        self.pad_id().or(self.eos_id())
    }
}
