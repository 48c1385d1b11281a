//! A model folder in Hugging Face layout, as a whole.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::tensor::Device;
use lac_core::plan::ModelFingerprint;

use crate::architecture::{ConfigError, ModelConfig};
use crate::checkpoint::{
    Checkpoint, CheckpointError, LoadProgress, WeightDtype, describe_file, describe_folder,
};
use crate::decoder::{Decoder, DecoderConfig, DummyWeights, HeadKind};
use crate::file;
use crate::fingerprint;
use crate::stamps::Stamps;
use crate::tokenizer::{Tokenizer, TokenizerError};

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Why a model folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// There is no folder at the path.
    #[error("{} is not a folder: expected one with config.json, tokenizer.json and safetensors files", path.display())]
    NotAFolder {
        /// The path as given.
        path: PathBuf,
    },
    /// There is something else than a model's folder.
    #[error("{} is not a model that can be loaded: {what}", path.display())]
    Foreign {
        /// The path as given.
        path: PathBuf,
        /// What it is, and what to do about it.
        what: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The weights cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A file was written to or replaced after the folder was opened.
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
    /// The hash of the weights, once they have been read.
    weights: OnceLock<String>,
}

impl ModelFolder {
    /// Opens a folder and reads its configuration, but not yet its weights and tokenizer.
    ///
    /// # Errors
    /// The folder does not exist, or its configuration cannot be used.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        if path.is_file() {
            let what = describe_file(&path);
            return Err(ModelError::Foreign { path, what });
        }
        if !path.is_dir() {
            return Err(ModelError::NotAFolder { path });
        }
        if !file::is_there(&path.join("config.json"))
            && let Some(what) = describe_folder(&path)
        {
            return Err(ModelError::Foreign { path, what });
        }
        let stamps = Stamps::of(&path);
        let config = ModelConfig::from_file(&path.join("config.json"))?;
        Ok(Self {
            path,
            config,
            stamps,
            weights: OnceLock::new(),
        })
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the contents of `config.json`.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the checkpoint's own data type: the one that config.json names, as transformers takes it, else that of
    /// most tensors. F64, and types that only quantised weights have, count as f32.
    ///
    /// # Errors
    /// Those of [`checkpoint`](Self::checkpoint), where config.json names no type.
    pub fn weight_dtype(&self) -> Result<WeightDtype, ModelError> {
        if let Some(dtype) = self.config.weight_dtype() {
            return Ok(dtype);
        }
        let dtypes = self.checkpoint()?.dtypes();
        let most = dtypes.into_iter().max_by_key(|&(_, n_tensors)| n_tensors);
        Ok(match most.as_ref().map(|(name, _)| name.as_str()) {
            Some("F16") => WeightDtype::F16,
            Some("BF16") => WeightDtype::Bf16,
            _ => WeightDtype::F32,
        })
    }

    /// Opens the weights without reading them.
    ///
    /// # Errors
    /// A file that is missing, cut off or malformed.
    pub fn checkpoint(&self) -> Result<Checkpoint, ModelError> {
        let mut checkpoint = Checkpoint::open(&self.path)?;
        if self.config.decoder.head == HeadKind::Tied {
            checkpoint.tie(EMBEDDING, HEAD);
        }
        Ok(checkpoint)
    }

    /// Loads the model, tensor by tensor. The loaded model no longer needs any file. `progress` is called after each
    /// tensor. The weights are hashed while they are read, for [`fingerprint`](Self::fingerprint).
    ///
    /// # Errors
    /// - [`ModelError::Changed`] when a file changed after the folder was opened: what was read could belong to two
    ///   models;
    /// - [`ModelError::Checkpoint`] when a tensor is missing, unexpected, mis-shaped or of the wrong type, or a file
    ///   cannot be read;
    /// - [`ModelError::UnsupportedDtype`] when the device cannot compute in the data type.
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
        checkpoint.finish(|name| self.is_passed_over(name))?;
        let weights = checkpoint.hash(|name| self.is_passed_over(name))?;
        self.check_unchanged()?;
        // Files that have not changed since the folder was opened have one hash.
        let _ = self.weights.set(weights);
        Ok(model)
    }

    /// Returns everything that decides the model's results: a hash of all weights, of the configuration, of the
    /// tokenizer and of the chat template, and the stop tokens. Plans, results and traces are checked against it.
    ///
    /// [`load`](Self::load) hashes the weights on its way; without a load all weights are read here. Three things do
    /// not count: tensors that the model does not use, such as a head that is stored beside the embedding to which it
    /// is tied; settings and files without an effect on the results; and the number of files that hold the weights.
    ///
    /// # Errors
    /// [`ModelError::Changed`] when a file changed after the folder was opened, and the errors of files that are
    /// missing, cut off or malformed.
    pub fn fingerprint(&self) -> Result<ModelFingerprint, ModelError> {
        let weights = match self.weights.get() {
            Some(weights) => weights.clone(),
            None => {
                let weights = self.checkpoint()?.hash(|name| self.is_passed_over(name))?;
                self.check_unchanged()?;
                self.weights.get_or_init(|| weights).clone()
            }
        };
        self.fingerprint_with(weights)
    }

    /// Returns the fingerprint of the model with the random weights that [`dummy_model`] makes of a seed.
    ///
    /// # Errors
    /// [`ModelError::Changed`], and [`ModelError::Tokenizer`] when a file of the tokenizer is malformed.
    pub fn dummy_fingerprint(&self, seed: u64) -> Result<ModelFingerprint, ModelError> {
        self.fingerprint_with(format!("dummy:{seed}"))
    }

    fn fingerprint_with(&self, weights: String) -> Result<ModelFingerprint, ModelError> {
        let fingerprint = fingerprint::fingerprint(&self.config, &self.path, weights)?;
        self.check_unchanged()?;
        Ok(fingerprint)
    }

    /// Returns whether the model does not use a tensor: a head that is stored beside the embedding to which the
    /// configuration ties it.
    fn is_passed_over(&self, name: &str) -> bool {
        self.config.decoder.head == HeadKind::Tied && name == HEAD
    }

    fn check_unchanged(&self) -> Result<(), ModelError> {
        match self.stamps.changed() {
            None => Ok(()),
            Some(path) => Err(ModelError::Changed { path }),
        }
    }

    /// Reads the tokenizer and its chat template.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        Ok(Tokenizer::from_folder(&self.path)?)
    }
}

/// Makes a model of the given shape with random weights, to measure a shape without its checkpoint.
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
