//! The model that a command works with: the flags that name it, and what is open once it is found.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use lac_core::plan::ModelFingerprint;
use lac_models::{
    Decoder, LoadConfig, ModelFolder, Quantization, dummy_model, quantized_dummy_model,
};

use crate::device::DeviceArg;
use crate::dtype::{DtypeArg, load_config_for, note_dequantised};
use crate::memory::{self, Rows};
use crate::model_path::LocalModel;
use crate::one_of::one_of_explained;
use crate::output::warn_user;
use crate::progress;
use crate::second_weights::{Asked, FirstWeights, SecondWeights};

/// Options that name the model, its data type and its device.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Folder in Hugging Face layout (config.json, safetensors, tokenizer.json), a GGUF file or a
    /// folder that holds one, an id on the Hugging Face hub (organisation/name, or for GGUF
    /// organisation/name:Q4_K_M), or demo for the small model that lac carries
    #[arg(long, value_name = "DIR")]
    pub model: PathBuf,
    /// Data type to compute in
    #[arg(
        long,
        value_parser = one_of_explained(DtypeArg::ALL, DtypeArg::name, DtypeArg::explain),
        default_value = DtypeArg::Auto.name()
    )]
    dtype: DtypeArg,
    #[command(flatten)]
    quantize: QuantizeArg,
    /// Device to compute on: cpu, wgpu, vulkan or cuda, with a number after a colon where there
    /// are several (`lac devices` lists them)
    #[arg(long, default_value = "cpu")]
    pub device: DeviceArg,
    /// Random weights of config.json's shape in place of the folder's own
    #[arg(long, conflicts_with = "quantize")]
    dummy_weights: bool,
    #[command(flatten)]
    strictness: Strictness,
}

/// What matrices are quantised to.
#[derive(Args, Clone, Copy)]
pub struct QuantizeArg {
    /// Quantise the matrices while they are loaded; norms and biases stay as they are
    #[arg(long, value_name = "TYPE", value_parser = one_of_explained(Quantization::ALL, Quantization::name, explain_quantization))]
    pub quantize: Option<Quantization>,
}

fn explain_quantization(quantization: Quantization) -> Option<&'static str> {
    match quantization {
        Quantization::Q8_0 => Some("8.5 bits a weight"),
        Quantization::Q4_0 => Some("4.5 bits a weight, and 8.5 in the head"),
        _ => None,
    }
}

/// What is done about fields of config.json that nothing is known of.
#[derive(Args, Clone, Copy)]
pub struct Strictness {
    /// Refuse a config.json with fields that lac does not know, in place of a warning
    #[arg(long)]
    strict: bool,
}

/// The seed of `--dummy-weights`.
const DUMMY_SEED: u64 = 0;

impl ModelArgs {
    /// Finds the model's folder, fetching it first when it is named by a hub id, and reads its configuration. A word on
    /// stderr names the fields that nothing is known of.
    pub fn open(&self) -> Result<OpenModel<'_>> {
        let local = LocalModel::find(&self.model)?;
        let folder = open_folder(&local, self.strictness)?;
        let folder = folder.with_quantization(self.quantize.quantize);
        let load_config = load_config_for(self.dtype, &self.device, || {
            if self.dummy_weights {
                folder.config().weight_dtype().map(LoadConfig::from)
            } else {
                own_load_config(&folder)
            }
        })?;
        Ok(OpenModel {
            args: self,
            folder,
            load_config,
            _local: local,
        })
    }
}

/// Opens a folder, and says which fields of its configuration nothing is known of.
pub fn open_folder(local: &LocalModel, strictness: Strictness) -> Result<ModelFolder> {
    let folder = ModelFolder::open(local.path())?;
    if strictness.strict {
        folder
            .config()
            .check_fields_are_known(&folder.config_path())?;
    }
    if let Some(warning) = folder.config().warning() {
        warn_user!("{warning} (--strict refuses them)");
    }
    Ok(folder)
}

/// Returns the way that the checkpoint is made for; `None` where its weights cannot be opened. Loading them says why: mistakes in
/// other flags are named first.
pub fn own_load_config(folder: &ModelFolder) -> Option<LoadConfig> {
    folder.default_load_config().ok()
}

/// A model's open folder, and how its weights are loaded.
pub struct OpenModel<'a> {
    args: &'a ModelArgs,
    pub folder: ModelFolder,
    pub load_config: LoadConfig,
    /// The demo's folder is removed with it.
    _local: LocalModel,
}

impl OpenModel<'_> {
    /// Returns the greatest number of tokens of a text.
    pub fn max_context(&self) -> usize {
        self.folder.config().decoder.max_context()
    }

    /// Returns the fingerprint that plans, results and traces are checked against. It costs nothing once the model is
    /// loaded; before, all weights are read for it.
    pub fn fingerprint(&self) -> Result<ModelFingerprint> {
        Ok(if self.args.dummy_weights {
            self.folder.dummy_fingerprint(DUMMY_SEED)?
        } else {
            self.folder.fingerprint()?
        })
    }

    /// Loads the weights, with a progress bar, unless this machine cannot hold them and `rows`; `lower` names the
    /// flags that `rows` come from.
    pub fn load(&self, rows: Rows, lower: &str) -> Result<Decoder> {
        let config = &self.folder.config().decoder;
        let dtype = self.load_config.dtype;
        let n_bytes = if self.args.dummy_weights {
            dtype.n_bytes(config)
        } else {
            self.folder.loaded_bytes(dtype)
        };
        let weights = memory::Weights { n_bytes, dtype };
        memory::check(&self.args.device, config, weights, rows, lower)?;
        let device = self.args.device.open()?;
        let model = if self.args.dummy_weights {
            dummy_model(config, dtype, &device, DUMMY_SEED)
        } else {
            let types = self.folder.quantized_types();
            note_dequantised(&types, self.load_config, &self.args.device, config);
            progress::while_loading(|report| self.folder.load(self.load_config, &device, report))
        };
        model.context("cannot load the model")
    }

    /// Loads the weights once more, quantised, to draft texts of `n_slots` tokens; `None` where they would not serve.
    pub fn load_second(
        &self,
        quantization: Quantization,
        asked: Asked,
        n_slots: usize,
    ) -> Result<Option<SecondWeights>> {
        let config = &self.folder.config().decoder;
        let dtype = self.load_config.dtype;
        let first = FirstWeights {
            device: &self.args.device,
            config,
            dtype,
            n_bytes: if self.args.dummy_weights {
                dtype.n_bytes(config)
            } else {
                self.folder.loaded_bytes(dtype)
            },
            is_quantised: !self.folder.quantized_types().is_empty(),
            n_slots,
        };
        SecondWeights::load(&first, quantization, asked, |load_config| {
            let device = self.args.device.open()?;
            Ok(if self.args.dummy_weights {
                quantized_dummy_model(config, quantization, load_config, &device, DUMMY_SEED)
            } else {
                let folder = self.folder.clone().with_quantization(Some(quantization));
                progress::while_loading(|report| folder.load(load_config, &device, report))
            }?)
        })
    }

    /// Names the weights' types for traces and results.
    pub fn weights_name(&self) -> String {
        if self.args.dummy_weights {
            self.load_config.dtype.name().to_owned()
        } else {
            self.folder.weights_name(self.load_config)
        }
    }

    /// Describes in a line what is computed in and on.
    pub fn describe_machine(&self) -> String {
        let weights = self.weights_name();
        let origin = match self.args.dtype {
            // Quantised weights are named by their types already.
            DtypeArg::Auto if weights == self.load_config.dtype.name() => ", the checkpoint's own",
            _ => "",
        };
        format!("{weights}{origin}, on {}", self.args.device)
    }
}
