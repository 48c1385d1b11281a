//! A model in GGUF as a whole: what its files say beside their tensors.

use std::path::Path;

use super::config::read_config;
use super::error::GgufError;
use super::files::Gguf;
use super::layout::Layout;
use super::sampling::read_sampling;
use super::tokenizer::{gguf_tokenizer, text_settings};
use super::weights::GgufWeights;
use crate::architecture::ModelConfig;
use crate::generation_defaults::GenerationDefaults;
use crate::tokenizer::{TextSettings, Tokenizer};

/// An open GGUF file, or all files of a model that was split, with the configuration that they hold.
#[derive(Debug)]
pub(crate) struct GgufModel {
    gguf: Gguf,
    config: ModelConfig,
    layout: Layout,
}

impl GgufModel {
    /// Opens a file and reads its configuration, but not yet its weights and tokenizer.
    ///
    /// # Errors
    /// A file that is missing, cut off or malformed; an architecture that is not supported, or metadata that cannot be
    /// used.
    pub(crate) fn open(path: &Path) -> Result<Self, GgufError> {
        let gguf = Gguf::open(path)?;
        let (config, layout) = read_config(&gguf)?;
        Ok(Self {
            gguf,
            config,
            layout,
        })
    }

    /// Returns the files.
    pub(crate) fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// Returns the configuration.
    pub(crate) fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the weights; no tensor has been read yet.
    pub(crate) fn weights(&self) -> GgufWeights<'_> {
        GgufWeights::new(&self.gguf, self.layout, self.config.decoder.head_dim)
    }

    /// Returns whether there is a vocabulary.
    pub(crate) fn has_tokenizer(&self) -> bool {
        self.gguf.metadata().get("tokenizer.ggml.model").is_some()
    }

    /// Makes the tokenizer, with its chat template.
    ///
    /// # Errors
    /// There is no vocabulary, one of another kind, or one that contradicts itself.
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer, GgufError> {
        gguf_tokenizer(self.gguf.metadata())
    }

    /// Returns how tokens are meant to be chosen: the keys `general.sampling.*`.
    ///
    /// # Errors
    /// A value of another kind, or one that cannot be drawn with.
    pub(crate) fn generation_defaults(&self) -> Result<GenerationDefaults, GgufError> {
        read_sampling(self.gguf.metadata())
    }

    /// Hashes what decides how texts become token ids and where they end.
    ///
    /// # Errors
    /// Those of [`tokenizer`](Self::tokenizer), but for a file without a vocabulary.
    pub(crate) fn text_settings(&self) -> Result<TextSettings, GgufError> {
        text_settings(self.gguf.metadata())
    }
}
