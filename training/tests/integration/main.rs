//! All integration tests of the crate, as one binary.

mod data;
mod files;
mod training;

use std::sync::OnceLock;

use lac_training::SEED;
use lac_training::world::World;
use tokenizers::Tokenizer;

/// The tokenizer of the embedded world; training it takes seconds, so the tests share it.
fn tokenizer() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| lac_training::tokenizer::train(&World::new(SEED)).expect("trains"))
}
