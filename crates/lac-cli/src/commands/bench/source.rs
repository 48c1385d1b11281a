//! The model that is measured.

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use clap::Args;
use lac_core::plan::ModelFingerprint;
use lac_models::{Decoder, DecoderConfig, ModelFolder, ModelShape, WeightDtype, dummy_model};

use crate::device::DeviceArg;
use crate::dtype::{DtypeArg, dtype_for};
use crate::model::{Strictness, open_folder, saved_dtype};
use crate::model_path::LocalModel;
use crate::progress;

#[derive(Args)]
pub struct BenchModel {
    #[command(flatten)]
    source: SourceArgs,
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
    /// Random weights of a well-known shape: qwen2.5-0.5b, qwen2.5-7b, qwen3-0.6b, qwen3-8b, gemma-3-1b, llama-3-8b or mistral-7b
    #[arg(long)]
    shape: Option<ModelShape>,
}

/// Where the weights come from.
pub enum Source {
    Folder {
        name: String,
        folder: Box<ModelFolder>,
        _local: LocalModel,
    },
    Shape(ModelShape),
}

impl BenchModel {
    pub fn open(&self) -> Result<Source> {
        match (&self.source.model, self.source.shape) {
            (Some(model), _) => {
                let local = LocalModel::find(model)?;
                let folder = open_folder(&local, self.strictness)?;
                Ok(Source::Folder {
                    name: model.display().to_string(),
                    folder: Box::new(folder),
                    _local: local,
                })
            }
            (None, shape) => Ok(Source::Shape(shape.context("give --model or --shape")?)),
        }
    }
}

impl Source {
    pub fn name(&self) -> String {
        match self {
            Source::Folder { name, .. } => name.clone(),
            Source::Shape(shape) => format!("{shape}, random weights"),
        }
    }

    pub fn config(&self) -> Result<DecoderConfig> {
        Ok(match self {
            Source::Folder { folder, .. } => folder.config().decoder.clone(),
            Source::Shape(shape) => shape.config()?.decoder,
        })
    }

    /// Returns the data types that are asked for, each once.
    pub fn dtypes(&self, asked: &[DtypeArg], device: &DeviceArg) -> Result<Vec<WeightDtype>> {
        let mut dtypes = Vec::new();
        for &dtype in asked {
            let dtype = dtype_for(dtype, device, || match self {
                Source::Folder { folder, .. } => saved_dtype(folder),
                Source::Shape(shape) => shape.config().ok()?.weight_dtype(),
            })?;
            if !dtypes.contains(&dtype) {
                dtypes.push(dtype);
            }
        }
        Ok(dtypes)
    }

    /// Fails where no plan can fit: a plan is learned from the weights of one model.
    pub fn check_takes_plan(&self) -> Result<()> {
        match self {
            Source::Folder { .. } => Ok(()),
            Source::Shape(_) => bail!("--plan needs --model: a plan is made on one model"),
        }
    }

    /// Returns the fingerprint that plans are checked against. It costs nothing once the model is loaded; before, all
    /// weights are read for it.
    pub fn fingerprint(&self) -> Result<ModelFingerprint> {
        self.check_takes_plan()?;
        match self {
            Source::Folder { folder, .. } => Ok(folder.fingerprint()?),
            Source::Shape(shape) => bail!("{shape} has random weights and no fingerprint"),
        }
    }

    pub fn load(&self, dtype: WeightDtype, device: &Device) -> Result<Decoder> {
        match self {
            Source::Folder { folder, .. } => {
                progress::while_loading(|report| folder.load(dtype, device, report))
            }
            Source::Shape(shape) => dummy_model(&shape.config()?.decoder, dtype, device, 0),
        }
        .context("cannot load the model")
    }
}
