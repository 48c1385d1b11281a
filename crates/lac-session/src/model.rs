//! The model that a program works with: what is asked for, and what is open once it is found.

use std::path::{Path, PathBuf};

use lac_core::plan::ModelFingerprint;
use lac_models::checkpoint::LoadProgress;
use lac_models::{Decoder, LoadConfig, ModelFolder, Quantization, dummy_model};

use crate::device::DeviceName;
use crate::dtype::{DtypeName, load_config_for, note_dequantised};
use crate::error::SessionError;
use crate::memory::{self, Rows};
use crate::model_path::LocalModel;
use crate::notice::{Notice, Tell};

/// Which model, and how it is computed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ModelRequest {
    /// A folder in Hugging Face layout, a GGUF file or a folder that holds one, an id on the Hugging Face hub, or `demo`.
    pub model: PathBuf,
    /// The data type to compute in.
    pub dtype: DtypeName,
    /// What matrices are quantised to while they are loaded.
    pub quantize: Option<Quantization>,
    /// The device to compute on.
    pub device: DeviceName,
    /// Which weights are loaded.
    pub weights: WeightsOrigin,
    /// What is done about fields of config.json that nothing is known of.
    pub unknown_fields: UnknownFields,
}

/// Which weights are loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WeightsOrigin {
    /// The model's own.
    #[default]
    Own,
    /// Random ones of config.json's shape.
    Dummy,
}

/// What is done about fields of config.json that nothing is known of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownFields {
    /// They are named in a warning.
    #[default]
    Warn,
    /// They are an error.
    Refuse,
}

/// The seed of random weights.
const DUMMY_SEED: u64 = 0;

impl ModelRequest {
    /// Asks for a model in its own data type, on the CPU.
    pub fn new(model: impl Into<PathBuf>) -> Self {
        Self {
            model: model.into(),
            dtype: DtypeName::Auto,
            quantize: None,
            device: DeviceName::CPU,
            weights: WeightsOrigin::Own,
            unknown_fields: UnknownFields::Warn,
        }
    }

    /// Finds the model's folder, fetching it first when it is named by a hub id, and reads its configuration. No weight is
    /// read.
    ///
    /// # Errors
    /// A model that is not found or not supported, and a device that is not there.
    pub fn open(self, tell: &mut Tell<'_>) -> Result<OpenModel, SessionError> {
        let local = LocalModel::find(&self.model, tell)?;
        let folder = open_folder(local.path(), self.unknown_fields, tell)?;
        let folder = folder.with_quantization(self.quantize);
        let own = || match self.weights {
            WeightsOrigin::Dummy => folder.config().weight_dtype().map(LoadConfig::from),
            // Where the weights cannot be opened, loading them says why: mistakes in other settings are named first.
            WeightsOrigin::Own => folder.default_load_config().ok(),
        };
        let load_config = load_config_for(self.dtype, &self.device, own, tell)?;
        Ok(OpenModel {
            request: self,
            folder,
            load_config,
            _local: local,
        })
    }
}

/// Opens a folder or a GGUF file, and says which fields of its configuration nothing is known of.
///
/// # Errors
/// What is wrong with it; unknown fields, where they are refused.
pub fn open_folder(
    path: &Path,
    unknown_fields: UnknownFields,
    tell: &mut Tell<'_>,
) -> Result<ModelFolder, SessionError> {
    let folder = ModelFolder::open(path)?;
    let config = folder.config();
    match (unknown_fields, config.warning()) {
        (UnknownFields::Refuse, _) => config
            .check_fields_are_known(&folder.config_path())
            .map_err(lac_models::ModelError::from)?,
        (UnknownFields::Warn, Some(warning)) => {
            tell(Notice::Warning(format!(
                "{warning} (--strict refuses them)"
            )));
        }
        (UnknownFields::Warn, None) => {}
    }
    Ok(folder)
}

/// A model's open folder, and how its weights are loaded.
#[derive(Debug)]
#[non_exhaustive]
pub struct OpenModel {
    /// What was asked for.
    pub request: ModelRequest,
    /// The folder.
    pub folder: ModelFolder,
    /// How weights are loaded.
    pub load_config: LoadConfig,
    /// The demo's folder is removed with it.
    _local: LocalModel,
}

impl OpenModel {
    /// Returns the greatest number of tokens of a text.
    pub fn max_context(&self) -> usize {
        self.folder.config().decoder.max_context()
    }

    /// Returns the fingerprint that plans, results and traces are checked against. It costs nothing once the model is
    /// loaded; before, all weights are read for it.
    ///
    /// # Errors
    /// Files that changed, are missing or malformed.
    pub fn fingerprint(&self) -> Result<ModelFingerprint, SessionError> {
        Ok(match self.request.weights {
            WeightsOrigin::Dummy => self.folder.dummy_fingerprint(DUMMY_SEED)?,
            WeightsOrigin::Own => self.folder.fingerprint()?,
        })
    }

    /// Returns how many bytes the weights take, once they are loaded.
    pub fn loaded_bytes(&self) -> u64 {
        let dtype = self.load_config.dtype;
        match self.request.weights {
            WeightsOrigin::Dummy => dtype.n_bytes(&self.folder.config().decoder),
            WeightsOrigin::Own => self.folder.loaded_bytes(dtype),
        }
    }

    /// Loads the weights, unless this machine cannot hold them and `rows`; `lower` says how to lower `rows`. `progress` is
    /// called after each tensor.
    ///
    /// # Errors
    /// [`SessionError::Memory`], [`SessionError::Device`], and [`SessionError::Load`] with what is wrong with the weights.
    pub fn load(
        &self,
        rows: Rows,
        lower: &str,
        tell: &mut Tell<'_>,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<Decoder, SessionError> {
        let ModelRequest {
            device: name,
            weights,
            ..
        } = &self.request;
        let config = &self.folder.config().decoder;
        let dtype = self.load_config.dtype;
        let needed = memory::Weights {
            n_bytes: self.loaded_bytes(),
            dtype,
        };
        memory::check(name, config, needed, rows, lower, tell)?;
        let device = name.open()?;
        let model = match weights {
            WeightsOrigin::Dummy => dummy_model(config, dtype, &device, DUMMY_SEED),
            WeightsOrigin::Own => {
                let types = self.folder.quantized_types();
                note_dequantised(&types, self.load_config, name, config, tell);
                self.folder.load(self.load_config, &device, progress)
            }
        };
        model.map_err(SessionError::Load)
    }

    /// Returns the seed of the random weights; `None` for a model's own.
    pub fn dummy_seed(&self) -> Option<u64> {
        (self.request.weights == WeightsOrigin::Dummy).then_some(DUMMY_SEED)
    }

    /// Names the weights' types for traces and results.
    pub fn weights_name(&self) -> String {
        match self.request.weights {
            WeightsOrigin::Dummy => self.load_config.dtype.name().to_owned(),
            WeightsOrigin::Own => self.folder.weights_name(self.load_config),
        }
    }

    /// Names the model in tables of results: the last part of a path, and a hub id as it is.
    ///
    /// # Errors
    /// A path whose parts cannot be read.
    pub fn short_name(&self) -> std::io::Result<String> {
        let name = &self.request.model;
        Ok(if name.exists() {
            let path = name.canonicalize()?;
            let last = path.file_name().unwrap_or(path.as_os_str());
            last.to_string_lossy().into_owned()
        } else {
            name.to_string_lossy().into_owned()
        })
    }

    /// Describes in a line what is computed in and on.
    pub fn describe_machine(&self) -> String {
        let weights = self.weights_name();
        let origin = match self.request.dtype {
            // Quantised weights are named by their types already.
            DtypeName::Auto if weights == self.load_config.dtype.name() => ", the checkpoint's own",
            _ => "",
        };
        format!("{weights}{origin}, on {}", self.request.device)
    }
}
