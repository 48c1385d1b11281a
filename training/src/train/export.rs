//! The trained model as a folder in Hugging Face layout.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use half::bf16;
use lac_models::Decoder;
use safetensors::tensor::{Dtype, TensorView};
use tokenizers::Tokenizer;

use crate::tokenizer::configs;

/// Writes everything but the weights.
///
/// # Errors
/// Fails if a file cannot be written.
pub fn write_configs(tokenizer: &Tokenizer, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    tokenizer
        .save(folder.join("tokenizer.json"), true)
        .map_err(|error| anyhow!("{error}"))?;
    for (name, value) in configs(tokenizer) {
        let file = folder.join(name);
        fs::write(&file, serde_json::to_string_pretty(&value)? + "\n")
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Writes the weights in bf16 under their checkpoint names, beside the file and then in its
/// place.
///
/// # Errors
/// Fails if a tensor cannot be read back or the file not be written.
pub fn write_weights(model: &Decoder, file: &Path) -> Result<()> {
    let mut named = Named::default();
    model.visit(&mut named);
    if let Some(name) = named.unreadable {
        bail!("tensor {name} cannot be read from the device");
    }
    let views = named
        .tensors
        .iter()
        .map(|(name, shape, bytes)| {
            let view = TensorView::new(Dtype::BF16, shape.clone(), bytes)?;
            Ok((name.clone(), view))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    // Readers of the transformers library insist on this entry.
    let metadata = [("format".to_string(), "pt".to_string())].into();
    let beside = file.with_extension("tmp");
    safetensors::serialize_to_file(views, Some(metadata), &beside)
        .with_context(|| format!("cannot write {}", beside.display()))?;
    fs::rename(&beside, file).with_context(|| format!("cannot write {}", file.display()))
}

/// Collects tensors as bytes, with their names.
#[derive(Default)]
struct Named {
    path: Vec<String>,
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
    unreadable: Option<String>,
}

impl ModuleVisitor for Named {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let tensor = param.val();
        let shape = tensor.dims().to_vec();
        let mut name = self.path.join(".");
        // The embedding is a bare parameter here, a module there.
        if name.ends_with("embed_tokens") {
            name.push_str(".weight");
        }
        match tensor.try_into_vec_as::<f32>() {
            Ok(values) => {
                let bytes = values
                    .iter()
                    .flat_map(|v| bf16::from_f32(*v).to_le_bytes())
                    .collect();
                self.tensors.push((name, shape, bytes));
            }
            Err(_) => self.unreadable = Some(name),
        }
    }
}
