//! The model that is measured.

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use clap::Args;
use lac_core::plan::ModelFingerprint;
use lac_models::checkpoint::Activations;
use lac_models::{
    Decoder, DecoderConfig, LoadConfig, ModelFolder, ModelShape, Quantization, Tokenizer,
    WeightDtype, dummy_model, quantized_dummy_model,
};
use lac_session::dtype::load_config_for;
use lac_session::{DeviceName, DtypeName, LocalModel};

use crate::model::{QuantizeArg, Strictness, open_folder};
use crate::one_of::one_of;
use crate::output::tell;
use crate::progress;

#[derive(Args)]
pub struct BenchModel {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    quantize: QuantizeArg,
    #[command(flatten)]
    strictness: Strictness,
}

/// Exactly one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct SourceArgs {
    /// Folder in Hugging Face layout, an id on the Hugging Face hub, or demo
    #[arg(long, value_name = "DIR")]
    model: Option<std::path::PathBuf>,
    /// Random weights of a well-known shape
    #[arg(long, value_name = "NAME", value_parser = one_of(&ModelShape::ALL, ModelShape::name))]
    shape: Option<ModelShape>,
}

/// Where the weights come from.
pub enum Source {
    Folder {
        name: String,
        folder: Box<ModelFolder>,
        _local: LocalModel,
    },
    Shape(ModelShape, Option<Quantization>),
}

impl BenchModel {
    pub fn open(&self) -> Result<Source> {
        match (&self.source.model, self.source.shape) {
            (Some(model), _) => {
                let local = LocalModel::find(model, &mut tell)?;
                let folder = open_folder(&local, self.strictness)?;
                let folder = folder.with_quantization(self.quantize.quantize);
                Ok(Source::Folder {
                    name: model.display().to_string(),
                    folder: Box::new(folder),
                    _local: local,
                })
            }
            (None, shape) => Ok(Source::Shape(
                shape.context("give --model or --shape")?,
                self.quantize.quantize,
            )),
        }
    }
}

impl Source {
    pub fn name(&self) -> String {
        match self {
            Source::Folder { name, .. } => name.clone(),
            Source::Shape(shape, _) => format!("{shape}, random weights"),
        }
    }

    pub fn config(&self) -> Result<DecoderConfig> {
        Ok(match self {
            Source::Folder { folder, .. } => folder.config().decoder.clone(),
            Source::Shape(shape, _) => shape.config()?.decoder,
        })
    }

    /// Returns the ways to load the weights that are asked for, each once.
    pub fn load_configs(
        &self,
        asked: &[DtypeName],
        device: &DeviceName,
    ) -> Result<Vec<LoadConfig>> {
        let mut configs = Vec::new();
        for &dtype in asked {
            let own = || match self {
                // Loading says why weights cannot be opened.
                Source::Folder { folder, .. } => folder.default_load_config().ok(),
                Source::Shape(shape, None) => Some(shape.config().ok()?.weight_dtype()?.into()),
                Source::Shape(_, Some(_)) => {
                    let config = LoadConfig::new(WeightDtype::F32);
                    Some(config.with_activations(Activations::Int8))
                }
            };
            let config = load_config_for(dtype, device, own, &mut tell)?;
            if !configs.contains(&config) {
                configs.push(config);
            }
        }
        Ok(configs)
    }

    /// Returns the names of the types that matrices are quantised in.
    pub fn quantized_types(&self) -> Vec<&'static str> {
        match self {
            Source::Folder { folder, .. } => folder.quantized_types(),
            Source::Shape(_, None) => Vec::new(),
            Source::Shape(_, Some(quantization)) => quantization.format_names(),
        }
    }

    /// Returns how many bytes the weights take on the CPU.
    pub fn loaded_bytes(&self, dtype: WeightDtype) -> Result<u64> {
        Ok(match (self, dtype) {
            (Source::Folder { folder, .. }, _) => folder.loaded_bytes(dtype),
            (Source::Shape(shape, Some(quantization)), WeightDtype::F32) => {
                quantization.n_bytes(&shape.config()?.decoder)
            }
            (Source::Shape(shape, _), _) => dtype.n_bytes(&shape.config()?.decoder),
        })
    }

    /// Fails where no plan can fit: a plan is learned from the weights of one model.
    pub fn check_takes_plan(&self) -> Result<()> {
        match self {
            Source::Folder { .. } => Ok(()),
            Source::Shape(..) => bail!("--plan needs --model: a plan is made on one model"),
        }
    }

    /// Returns the fingerprint that plans are checked against. It costs nothing once the model is loaded; before, all
    /// weights are read for it.
    pub fn fingerprint(&self) -> Result<ModelFingerprint> {
        self.check_takes_plan()?;
        match self {
            Source::Folder { folder, .. } => Ok(folder.fingerprint()?),
            Source::Shape(shape, _) => bail!("{shape} has random weights and no fingerprint"),
        }
    }

    /// Returns the model's tokenizer.
    pub fn tokenizer(&self) -> Result<Tokenizer> {
        match self {
            Source::Folder { folder, .. } => Ok(folder.tokenizer()?),
            Source::Shape(..) => bail!("--prompts needs --model: random weights have no tokenizer"),
        }
    }

    /// Loads the same weights quantised, whatever the others are.
    pub fn load_quantised(
        &self,
        quantization: Quantization,
        config: LoadConfig,
        device: &Device,
    ) -> Result<Decoder> {
        Ok(match self {
            Source::Folder { folder, .. } => {
                let folder = (**folder).clone().with_quantization(Some(quantization));
                progress::while_loading(|report| folder.load(config, device, report))
            }
            Source::Shape(shape, _) => {
                let decoder = shape.config()?.decoder;
                quantized_dummy_model(&decoder, quantization, config, device, 0)
            }
        }?)
    }

    pub fn load(&self, config: LoadConfig, device: &Device) -> Result<Decoder> {
        match self {
            Source::Folder { folder, .. } => {
                progress::while_loading(|report| folder.load(config, device, report))
            }
            Source::Shape(shape, None) => {
                dummy_model(&shape.config()?.decoder, config.dtype, device, 0)
            }
            Source::Shape(shape, Some(quantization)) => {
                let decoder = shape.config()?.decoder;
                quantized_dummy_model(&decoder, *quantization, config, device, 0)
            }
        }
        .context("cannot load the model")
    }
}
