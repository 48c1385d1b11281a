//! A model folder in Hugging Face layout, as a whole.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use lac_core::ModelFingerprint;

use crate::architecture::{ConfigError, ModelConfig};
use crate::checkpoint::{Checkpoint, CheckpointError, LoadProgress, WeightDtype};
use crate::decoder::{Decoder, DecoderConfig, DummyWeights, HeadKind};
use crate::digest::{self, Stamps};
use crate::tokenizer::{Tokenizer, TokenizerError};

/// Why a model folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The folder is not there.
    #[error("{} is not a folder: expected one with config.json, tokenizer.json and safetensors files", path.display())]
    NotAFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file could not be read for the digest.
    #[error("cannot read the files of {}", path.display())]
    Digest {
        /// The folder.
        path: PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file was written to or replaced after the folder was opened and before the model was loaded.
    #[error("{} was changed while the model was being loaded: load it again", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The device cannot compute in the wanted data type.
    #[error("the device does not support {dtype}; choose another data type")]
    UnsupportedDtype {
        /// The data type.
        dtype: &'static str,
    },
}

/// A folder with `config.json`, safetensors files and `tokenizer.json`.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    config: ModelConfig,
    stamps: Stamps,
}

impl ModelFolder {
    /// Opens a folder and reads its configuration; weights and tokenizer wait until asked for.
    ///
    /// # Errors
    /// When the folder or its configuration cannot be used.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        if !path.is_dir() {
            return Err(ModelError::NotAFolder { path });
        }
        let stamps = Stamps::of(&path);
        let config = ModelConfig::from_file(&path.join("config.json"))?;
        Ok(Self {
            path,
            config,
            stamps,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `config.json` says.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Opens the weights without reading them.
    ///
    /// # Errors
    /// A file that is missing, cut off or malformed.
    pub fn checkpoint(&self) -> Result<Checkpoint, ModelError> {
        Ok(Checkpoint::open(&self.path)?)
    }

    /// Loads the model, tensor by tensor. Loaded, it depends on no file any more.
    ///
    /// # Errors
    /// [`ModelError::Changed`] when a file is not the one it was when the folder was opened: what was read since
    /// (digest, tokenizer, weights) might be of two models.
    /// A tensor that is missing, unexpected, mis-shaped or of the wrong type; an unreadable file;
    /// a device that cannot compute in the data type.
    pub fn load(
        &self,
        dtype: WeightDtype,
        device: &Device,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Decoder, ModelError> {
        check_dtype(dtype, device)?;
        let mut checkpoint = self.checkpoint()?;
        let config = &self.config.decoder;
        let model = Decoder::load(config, &mut checkpoint.source(dtype, device, progress))?;
        checkpoint.finish(|name| {
            // Tables that older files carry along; they follow from the configuration. A tied
            // head may be stored beside the embedding it equals.
            name.ends_with("rotary_emb.inv_freq")
                || (config.head == HeadKind::Tied && name == "lm_head.weight")
        })?;
        match self.stamps.changed() {
            None => Ok(model),
            Some(path) => Err(ModelError::Changed { path }),
        }
    }

    /// What tells this model from others: plans are checked against it. Some kilobytes of each
    /// tensor are read.
    ///
    /// # Errors
    /// A weights file that is missing, cut off or malformed.
    pub fn fingerprint(&self) -> Result<ModelFingerprint, ModelError> {
        Ok(self.fingerprint_of(self.checkpoint()?.digest()?))
    }

    /// The same for random weights in place of the folder's own, as [`dummy_model`] makes them.
    pub fn dummy_fingerprint(&self, seed: u64) -> ModelFingerprint {
        self.fingerprint_of(format!("dummy:{seed}"))
    }

    fn fingerprint_of(&self, weights: String) -> ModelFingerprint {
        ModelFingerprint {
            architecture: self.config.architecture.model_type().to_owned(),
            n_layers: self.config.decoder.n_layers,
            hidden_size: self.config.decoder.hidden_size,
            vocab_size: self.config.decoder.vocab_size,
            weights,
        }
    }

    /// What the model is recognised by, 16 hexadecimal digits: its configuration, its tokenizer,
    /// and its weights' sizes and contents in some places. Reads little even of a large model.
    ///
    /// # Errors
    /// [`ModelError::Digest`] when a file cannot be read.
    pub fn digest(&self) -> Result<String, ModelError> {
        digest::digest(&self.path).map_err(|source| ModelError::Digest {
            path: self.path.clone(),
            source,
        })
    }

    /// Reads the tokenizer and its chat template.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        Ok(Tokenizer::from_folder(&self.path)?)
    }
}

/// A model of the given shape with random weights: for measuring shapes nobody can download.
///
/// # Errors
/// [`ModelError::UnsupportedDtype`].
pub fn dummy_model(
    config: &DecoderConfig,
    dtype: WeightDtype,
    device: &Device,
    seed: u64,
) -> Result<Decoder, ModelError> {
    check_dtype(dtype, device)?;
    let mut weights = DummyWeights::new(seed, dtype.to_burn(), device);
    match Decoder::load(config, &mut weights) {
        Ok(model) => Ok(model),
        Err(never) => {
            let never: Infallible = never;
            match never {}
        }
    }
}

fn check_dtype(dtype: WeightDtype, device: &Device) -> Result<(), ModelError> {
    if device.supports_dtype(dtype.to_burn()) {
        return Ok(());
    }
    Err(ModelError::UnsupportedDtype {
        dtype: dtype.name(),
    })
}
