//! A model's files as a whole: a folder in Hugging Face layout, or GGUF.

mod export;
mod prune;

pub use prune::{PruneError, PruneSummary};

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use burn::tensor::Device;
use lac_core::plan::ModelFingerprint;

use crate::architecture::{ConfigError, ModelConfig};
use crate::checkpoint::{
    Activations, Checkpoint, CheckpointError, LoadConfig, LoadProgress, Loading, Quantization,
    Quantizing, WeightDtype, describe_file, describe_folder,
};
use crate::decoder::{Decoder, HeadKind};
use crate::file;
use crate::fingerprint;
use crate::generation_defaults::GenerationDefaults;
use crate::gguf::{
    Gguf, GgufError, GgufModel, GgufWeights, find_in_folder, gguf_tokenizer, is_gguf,
};
use crate::stamps::Stamps;
use crate::tokenizer::{TextSettings, Tokenizer, TokenizerError};
use crate::weights_summary::WeightsSummary;

const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Why a model folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// There is no folder at the path, and no file.
    #[error(
        "{} is not a folder: expected one with config.json, tokenizer.json and safetensors files, or a GGUF file",
        path.display()
    )]
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
    /// A GGUF file cannot be used.
    #[error(transparent)]
    Gguf(#[from] GgufError),
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

/// A model's files: a folder with `config.json`, safetensors files and `tokenizer.json`, or a GGUF file, which holds all
/// of these. What is loaded from either is used alike.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    path: PathBuf,
    config: ModelConfig,
    layout: FileLayout,
    stamps: Stamps,
    quantization: Option<Quantization>,
    /// The hash of the weights in the files, once they have been read.
    weights: OnceLock<String>,
}

/// How a model's files are laid out.
#[derive(Clone, Debug)]
enum FileLayout {
    HuggingFace,
    Gguf(Arc<GgufModel>),
}

impl ModelFolder {
    /// Opens a folder or a GGUF file and reads the model's configuration, but not yet its weights and tokenizer.
    ///
    /// The path of a GGUF file opens that file, and all others of a model that was split. A folder without safetensors
    /// files that holds one model in GGUF opens that model.
    ///
    /// # Errors
    /// The path does not exist, or the configuration cannot be used.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ModelError> {
        let path = path.into();
        if let Some(gguf) = Self::gguf_path(&path)? {
            return Self::open_gguf(gguf);
        }
        if file::is_file(&path) {
            let what = describe_file(&path);
            return Err(ModelError::Foreign { path, what });
        }
        if !file::is_folder(&path) {
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
            layout: FileLayout::HuggingFace,
            stamps,
            quantization: None,
            weights: OnceLock::new(),
        })
    }

    /// Returns the GGUF file that [`open`](Self::open) opens: the path itself, or the one of a folder without safetensors
    /// files. `None` where the path leads to something else, or nowhere.
    ///
    /// # Errors
    /// The folder cannot be read, or holds several models in GGUF.
    pub fn gguf_path(path: &Path) -> Result<Option<PathBuf>, ModelError> {
        if file::is_file(path) {
            return Ok(is_gguf(path).then(|| path.to_owned()));
        }
        if !file::is_folder(path) || Checkpoint::is_in(path) {
            return Ok(None);
        }
        Ok(find_in_folder(path)?)
    }

    fn open_gguf(path: PathBuf) -> Result<Self, ModelError> {
        let before = Stamps::of_files(vec![path.clone()]);
        let model = GgufModel::open(&path)?;
        let paths = model.gguf().paths().map(Path::to_owned).collect();
        let folder = Self {
            path,
            config: model.config().clone(),
            layout: FileLayout::Gguf(Arc::new(model)),
            stamps: Stamps::of_files(paths),
            quantization: None,
            weights: OnceLock::new(),
        };
        match before.changed() {
            None => Ok(folder),
            Some(path) => Err(ModelError::Changed { path }),
        }
    }

    /// Sets what matrices are quantised to while the model is loaded; `None`, the default, leaves them as the files have
    /// them. Matrices that are quantised in the files are quantised again.
    ///
    /// It is another model by its [`fingerprint`](Self::fingerprint). A folder can be cloned and loaded both ways.
    #[must_use]
    pub fn with_quantization(self, quantization: Option<Quantization>) -> Self {
        Self {
            quantization,
            ..self
        }
    }

    /// Returns what matrices are quantised to while the model is loaded.
    pub fn quantization(&self) -> Option<Quantization> {
        self.quantization
    }

    /// Returns the path of the folder, or of the GGUF file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of `config.json`, or of the GGUF file whose metadata stands for it.
    pub fn config_path(&self) -> PathBuf {
        match self.layout {
            FileLayout::HuggingFace => self.path.join("config.json"),
            FileLayout::Gguf(_) => self.path.clone(),
        }
    }

    /// Returns the contents of `config.json`, or what the metadata of a GGUF file says in its place.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Returns the checkpoint's own data type: f32 where matrices are quantised, else the one that config.json names, as
    /// transformers takes it, else that of most tensors. F64 counts as f32.
    ///
    /// # Errors
    /// Those of [`weights_summary`](Self::weights_summary), where config.json names no type.
    pub fn weight_dtype(&self) -> Result<WeightDtype, ModelError> {
        if !self.quantized_types().is_empty() {
            return Ok(WeightDtype::F32);
        }
        if let Some(dtype) = self.config.weight_dtype() {
            return Ok(dtype);
        }
        let types = self.weights_summary()?.types;
        let most = types.into_iter().max_by_key(|&(_, n_tensors)| n_tensors);
        Ok(match most.as_ref().map(|(name, _)| name.as_str()) {
            Some("F16") => WeightDtype::F16,
            Some("BF16") => WeightDtype::Bf16,
            _ => WeightDtype::F32,
        })
    }

    /// Returns how many files and tensors the weights are, and their types and bytes, without reading them.
    ///
    /// # Errors
    /// A file that is missing, cut off or malformed.
    pub fn weights_summary(&self) -> Result<WeightsSummary, ModelError> {
        Ok(match &self.layout {
            FileLayout::HuggingFace => {
                let checkpoint = self.checkpoint()?;
                WeightsSummary {
                    n_files: checkpoint.n_shards(),
                    n_tensors: checkpoint.n_tensors(),
                    n_bytes: checkpoint.n_bytes(),
                    types: checkpoint.dtypes(),
                }
            }
            FileLayout::Gguf(model) => {
                let gguf = model.gguf();
                WeightsSummary {
                    n_files: gguf.paths().count(),
                    n_tensors: gguf.tensors().count(),
                    n_bytes: gguf.n_bytes(),
                    types: gguf.types(),
                }
            }
        })
    }

    /// Returns how a model is loaded where nothing else is asked for: in its own data type, and where matrices are
    /// quantised, with the fast products, which round activations to 8 bits.
    ///
    /// # Errors
    /// Those of [`weight_dtype`](Self::weight_dtype).
    pub fn default_load_config(&self) -> Result<LoadConfig, ModelError> {
        let config = LoadConfig::new(self.weight_dtype()?);
        if self.quantized_types().is_empty() {
            return Ok(config);
        }
        Ok(config.with_activations(Activations::Int8))
    }

    /// Names the types of the weights for traces and results, as [`LoadConfig::weights_name`] does.
    pub fn weights_name(&self, config: impl Into<LoadConfig>) -> String {
        config.into().weights_name(&self.quantized_types())
    }

    /// Returns the names of the types that matrices are quantised in, once they are loaded; none where they are not
    /// quantised.
    pub fn quantized_types(&self) -> Vec<&'static str> {
        match (self.quantization, &self.layout) {
            (Some(quantization), _) => quantization.format_names(),
            (None, FileLayout::HuggingFace) => Vec::new(),
            (None, FileLayout::Gguf(model)) => model.gguf().quantised_types(),
        }
    }

    /// Returns how many bytes the weights take in the memory of the CPU, once they are loaded in a data type.
    pub fn loaded_bytes(&self, dtype: WeightDtype) -> u64 {
        let config = &self.config.decoder;
        match (dtype, self.quantization, &self.layout) {
            (WeightDtype::F32, Some(quantization), _) => quantization.n_bytes(config),
            (WeightDtype::F32, None, FileLayout::Gguf(model)) if model.gguf().is_quantised() => {
                model.gguf().n_bytes()
            }
            _ => dtype.n_bytes(config),
        }
    }

    /// Returns the weights of a GGUF file, to read matrices as they are quantised; `None` for a folder of safetensors.
    pub fn gguf_weights(&self) -> Option<GgufWeights<'_>> {
        match &self.layout {
            FileLayout::HuggingFace => None,
            FileLayout::Gguf(model) => Some(model.weights()),
        }
    }

    /// Opens the weights of a folder without reading them.
    fn checkpoint(&self) -> Result<Checkpoint, ModelError> {
        let mut checkpoint = Checkpoint::open(&self.path)?;
        self.tie(&mut checkpoint);
        Ok(checkpoint)
    }

    /// Lets the embedding be found under the head's name where the two are tied.
    fn tie(&self, checkpoint: &mut Checkpoint) {
        if self.config.decoder.head == HeadKind::Tied {
            checkpoint.tie(EMBEDDING, HEAD);
        }
    }

    /// Loads the model, tensor by tensor, in a data type or as a [`LoadConfig`] says. The loaded model no longer needs any
    /// file. `progress` is called after each tensor. The weights are hashed while they are read, for
    /// [`fingerprint`](Self::fingerprint).
    ///
    /// Matrices that are quantised stay in their blocks in f32 on the CPU, and so do matrices of F16 and BF16 beside them.
    /// Otherwise they are dequantised to the data type.
    ///
    /// # Errors
    /// - [`ModelError::Changed`] when a file changed after the folder was opened: what was read could belong to two
    ///   models;
    /// - [`ModelError::Checkpoint`] or [`ModelError::Gguf`] when a tensor is missing, unexpected, mis-shaped or of the
    ///   wrong type, or a file cannot be read;
    /// - [`ModelError::UnsupportedDtype`] when the device cannot compute in the data type.
    pub fn load(
        &self,
        config: impl Into<LoadConfig>,
        device: &Device,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Decoder, ModelError> {
        let load_config = config.into();
        check_dtype(load_config.dtype, device)?;
        let config = &self.config.decoder;
        let quantizing = self.quantization.map(|quantization| Quantizing {
            quantization,
            head: config.head,
        });
        let loading = Loading::new(load_config, quantizing, device, progress);
        let (model, weights) = match &self.layout {
            FileLayout::HuggingFace => {
                let mut checkpoint = self.checkpoint()?;
                let mut source = checkpoint.load_from(loading);
                let model = Decoder::load(config, &mut source)?;
                checkpoint.finish(|name| self.is_passed_over(name))?;
                (model, checkpoint.hash(|name| self.is_passed_over(name))?)
            }
            FileLayout::Gguf(gguf) => {
                let mut weights = gguf.weights();
                let mut source = weights.load_from(loading);
                let model = Decoder::load(config, &mut source)?;
                weights.finish()?;
                (model, weights.hash()?)
            }
        };
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
                let weights = match &self.layout {
                    FileLayout::HuggingFace => {
                        self.checkpoint()?.hash(|name| self.is_passed_over(name))?
                    }
                    FileLayout::Gguf(gguf) => gguf.weights().hash()?,
                };
                self.check_unchanged()?;
                self.weights.get_or_init(|| weights).clone()
            }
        };
        self.fingerprint_with(weights)
    }

    /// Returns the fingerprint of the model with the random weights that [`dummy_model`](crate::dummy_model) makes of a seed.
    ///
    /// # Errors
    /// [`ModelError::Changed`], and [`ModelError::Tokenizer`] when a file of the tokenizer is malformed.
    pub fn dummy_fingerprint(&self, seed: u64) -> Result<ModelFingerprint, ModelError> {
        self.fingerprint_with(format!("dummy:{seed}"))
    }

    fn fingerprint_with(&self, weights: String) -> Result<ModelFingerprint, ModelError> {
        let text = match &self.layout {
            FileLayout::HuggingFace => TextSettings::read(&self.path)?,
            FileLayout::Gguf(gguf) => gguf.text_settings()?,
        };
        self.check_unchanged()?;
        let weights = match self.quantization {
            None => weights,
            Some(quantization) => format!("{weights} in {}", quantization.name()),
        };
        Ok(fingerprint::fingerprint(&self.config, text, weights))
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

    /// Returns whether there is a tokenizer. A model without one runs by token ids.
    pub fn has_tokenizer(&self) -> bool {
        match &self.layout {
            FileLayout::HuggingFace => file::is_there(&self.path.join("tokenizer.json")),
            FileLayout::Gguf(gguf) => gguf.has_tokenizer(),
        }
    }

    /// Returns how the model's tokens are meant to be chosen: what `generation_config.json` says, or a GGUF file's keys
    /// `general.sampling.*`.
    ///
    /// # Errors
    /// The file is malformed, or asks for what cannot be drawn with.
    pub fn generation_defaults(&self) -> Result<GenerationDefaults, ModelError> {
        match &self.layout {
            FileLayout::HuggingFace => Ok(GenerationDefaults::from_folder(&self.path)?),
            FileLayout::Gguf(gguf) => Ok(gguf.generation_defaults()?),
        }
    }

    /// Reads the tokenizer alone of a folder, which may lack weights and configuration, or of a GGUF file, whatever its
    /// architecture.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn tokenizer_of(path: &Path) -> Result<Tokenizer, ModelError> {
        match Self::gguf_path(path)? {
            Some(gguf) => Ok(gguf_tokenizer(Gguf::open(&gguf)?.metadata())?),
            None => Ok(Tokenizer::from_folder(path)?),
        }
    }

    /// Reads the tokenizer and its chat template.
    ///
    /// # Errors
    /// A file that is missing or malformed.
    pub fn tokenizer(&self) -> Result<Tokenizer, ModelError> {
        match &self.layout {
            FileLayout::HuggingFace => Ok(Tokenizer::from_folder(&self.path)?),
            FileLayout::Gguf(gguf) => Ok(gguf.tokenizer()?),
        }
    }
}

/// Refuses a data type that a device does not compute in.
pub(crate) fn check_dtype(dtype: WeightDtype, device: &Device) -> Result<(), ModelError> {
    if device.supports_dtype(dtype.to_burn()) {
        return Ok(());
    }
    Err(ModelError::UnsupportedDtype {
        dtype: dtype.name(),
    })
}
