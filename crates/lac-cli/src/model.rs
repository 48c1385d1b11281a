//! The model that a command works with: the flags that name it, and what is open once it is found.

use std::ops::Deref;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use lac_core::plan::ModelFingerprint;
use lac_models::{Decoder, ModelFolder, Quantization, quantized_dummy_model};
use lac_session::{
    DeviceName, DtypeName, LocalModel, ModelRequest, Rows, UnknownFields, WeightsOrigin,
};

use crate::one_of::one_of_explained;
use crate::output::tell;
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
        value_parser = one_of_explained(DtypeName::ALL, DtypeName::name, DtypeName::explain),
        default_value = DtypeName::Auto.name()
    )]
    dtype: DtypeName,
    #[command(flatten)]
    quantize: QuantizeArg,
    /// Device to compute on: cpu, wgpu, vulkan or cuda, with a number after a colon where there
    /// are several (`lac devices` lists them)
    #[arg(long, default_value = "cpu")]
    pub device: DeviceName,
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

impl Strictness {
    fn unknown_fields(self) -> UnknownFields {
        if self.strict {
            UnknownFields::Refuse
        } else {
            UnknownFields::Warn
        }
    }
}

impl ModelArgs {
    /// Finds the model's folder, fetching it first when it is named by a hub id, and reads its configuration. A word on
    /// stderr names the fields that nothing is known of.
    pub fn open(&self) -> Result<OpenModel<'_>> {
        let mut request = ModelRequest::new(&self.model);
        request.dtype = self.dtype;
        request.quantize = self.quantize.quantize;
        request.device = self.device.clone();
        request.unknown_fields = self.strictness.unknown_fields();
        if self.dummy_weights {
            request.weights = WeightsOrigin::Dummy;
        }
        Ok(OpenModel {
            args: self,
            open: request.open(&mut tell)?,
        })
    }
}

/// Opens a folder, and says which fields of its configuration nothing is known of.
pub fn open_folder(local: &LocalModel, strictness: Strictness) -> Result<ModelFolder> {
    let unknown_fields = strictness.unknown_fields();
    Ok(lac_session::open_folder(
        local.path(),
        unknown_fields,
        &mut tell,
    )?)
}

/// A model's open folder, and how its weights are loaded.
pub struct OpenModel<'a> {
    args: &'a ModelArgs,
    open: lac_session::OpenModel,
}

impl Deref for OpenModel<'_> {
    type Target = lac_session::OpenModel;

    fn deref(&self) -> &Self::Target {
        &self.open
    }
}

impl OpenModel<'_> {
    /// Returns the fingerprint that plans, results and traces are checked against. It costs nothing once the model is
    /// loaded; before, all weights are read for it.
    pub fn fingerprint(&self) -> Result<ModelFingerprint> {
        Ok(self.open.fingerprint()?)
    }

    /// Loads the weights, with a progress bar, unless this machine cannot hold them and `rows`; `lower` names the
    /// flags that `rows` come from.
    pub fn load(&self, rows: Rows, lower: &str) -> Result<Decoder> {
        let load = |report: &mut dyn FnMut(_)| self.open.load(rows, lower, &mut tell, report);
        Ok(progress::while_loading(load)?)
    }

    /// Loads the weights once more, quantised, to draft texts of `n_slots` tokens; `None` where they would not serve.
    pub fn load_second(
        &self,
        quantization: Quantization,
        asked: Asked,
        n_slots: usize,
    ) -> Result<Option<SecondWeights>> {
        let config = &self.folder.config().decoder;
        let first = FirstWeights {
            device: &self.args.device,
            config,
            dtype: self.load_config.dtype,
            n_bytes: self.loaded_bytes(),
            is_quantised: !self.folder.quantized_types().is_empty(),
            n_slots,
        };
        SecondWeights::load(&first, quantization, asked, |load_config| {
            let device = self.args.device.open()?;
            Ok(if let Some(seed) = self.dummy_seed() {
                quantized_dummy_model(config, quantization, load_config, &device, seed)
            } else {
                let folder = self.folder.clone().with_quantization(Some(quantization));
                progress::while_loading(|report| folder.load(load_config, &device, report))
            }?)
        })
    }
}
