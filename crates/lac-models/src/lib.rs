//! models
#![deny(missing_docs)]

pub use architecture::{Architecture, ConfigError, ModelConfig};
pub use chat_template::{
    ChatError, ChatOptions, ChatTemplate, Conversation, Message, MessagesError, RenderLimits,
    TemplateSource, messages_from_json,
};
pub use checkpoint::{Checkpoint, CheckpointError, CheckpointSource, LoadProgress, WeightDtype};
pub use decoder::{
    Attention, Decoder, DecoderConfig, DecoderContext, DecoderLayer, DecoderModel, DummyWeights,
    HeadKind, Linear, Mlp, ProjectionBias, RmsNorm, RopeConfig, RopeScaling, TensorSource,
};
pub use folder::{ModelError, ModelFolder, dummy_model};
pub use tokenizer::{
    PromptKind, SpecialTokens, SpecialTokensInText, TextStream, Tokenizer, TokenizerError,
};

mod architecture;
mod chat_template;
mod checkpoint;
mod decoder;
mod folder;
mod text;
mod tokenizer;
