//! Writes a model as a GGUF file.

use std::path::Path;

use lac_kernels::quantized::BlockFormat;

use super::{FileLayout, ModelFolder};
use crate::checkpoint::{Checkpoint, LoadProgress, WeightDtype};
use crate::generation_defaults::GenerationDefaults;
use crate::gguf::export::{
    Export, ExportError, ExportSummary, PlannedTensor, Settings, Values, check_format, f32_values,
    is_quantised, settings, tensors, vocabulary, write,
};
use crate::gguf::{Gguf, Layout, MetadataValue, file_values, pair_rows, sampling_entries};

impl ModelFolder {
    /// Writes the model as one GGUF file that llama.cpp loads, with its matrices in a format: F32, F16, BF16, Q8_0 or
    /// Q4_0, quantised as ggml's reference quantiser does. Vectors are written in f32. With Q4_0 the head, or the
    /// embedding that it is tied to, is written in Q8_0; matrices whose rows are no whole number of blocks in F16.
    ///
    /// A folder of a Llama, Mistral, Qwen2, Qwen3, Gemma 2 or 3, Phi-3, OLMo 2 or 3, SmolLM3 or Granite gives a file with tokenizer, chat template and the
    /// settings of its draws. Of a GGUF file all
    /// metadata are kept, and its weights may not be quantised already: quantising twice loses more than either
    /// quantisation.
    ///
    /// The file appears under its name once it is whole. `progress` is called after each tensor.
    ///
    /// # Errors
    /// The format cannot be written; the model has a part that has no form in GGUF files; a file cannot be read or
    /// written.
    pub fn write_gguf(
        &self,
        format: BlockFormat,
        out: &Path,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<ExportSummary, ExportError> {
        check_format(format)?;
        match &self.layout {
            FileLayout::HuggingFace => self.write_folder(format, out, progress),
            FileLayout::Gguf(model) => {
                let (export, mut values) = of_gguf(model.gguf())?;
                write(export, format, out, &mut values, progress)
            }
        }
    }

    fn write_folder(
        &self,
        format: BlockFormat,
        out: &Path,
        progress: &mut dyn FnMut(LoadProgress),
    ) -> Result<ExportSummary, ExportError> {
        let model_error = |problem| ExportError::Model {
            path: self.path.clone(),
            problem,
        };
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        let Settings {
            mut metadata,
            rope_factors,
            layout,
        } = settings(&self.config, &name.to_string_lossy()).map_err(model_error)?;
        let decoder = &self.config.decoder;
        if self.has_tokenizer() {
            let tokenizer = crate::tokenizer::Tokenizer::from_folder(&self.path)?;
            metadata.extend(vocabulary(&tokenizer, decoder.vocab_size).map_err(model_error)?);
        } else {
            // llama.cpp loads no file that does not say so.
            let none = MetadataValue::Text("none".to_owned());
            metadata.push(("tokenizer.ggml.model".to_owned(), none));
        }
        metadata.extend(sampling_entries(&GenerationDefaults::from_folder(
            &self.path,
        )?));
        let mut planned = tensors(decoder);
        planned.extend(rope_factors.iter().map(|(tensor, _)| tensor.clone()));
        let mut checkpoint = Checkpoint::open(&self.path)?;
        self.tie(&mut checkpoint);
        let export = Export {
            metadata,
            tensors: planned,
            n_source_bytes: checkpoint.n_bytes(),
        };
        let mut values = FolderValues {
            checkpoint: &mut checkpoint,
            layout,
            head_dim: decoder.head_dim,
            rope_factors,
        };
        write(export, format, out, &mut values, progress)
    }
}

/// The values of a folder's tensors.
struct FolderValues<'a> {
    checkpoint: &'a mut Checkpoint,
    layout: Layout,
    head_dim: usize,
    rope_factors: Vec<(PlannedTensor, Vec<f32>)>,
}

impl Values for FolderValues<'_> {
    fn values(&mut self, tensor: &PlannedTensor) -> Result<(Vec<f32>, u64), ExportError> {
        let mut factors = self.rope_factors.iter();
        if let Some((_, factors)) = factors.find(|(other, _)| other == tensor) {
            return Ok((factors.clone(), 0));
        }
        let (name, shape) = (&tensor.source, &tensor.shape);
        let (data, n_bytes) = self.checkpoint.values(name, shape, WeightDtype::F32)?;
        let mut values = f32_values(tensor, data)?;
        if self.layout.is_permuted(name) {
            pair_rows(&mut values, shape[1..].iter().product(), self.head_dim);
        }
        if self.layout.is_one_more(name) {
            values.iter_mut().for_each(|value| *value += 1.0);
        }
        Ok((values, n_bytes))
    }
}

/// The values of a GGUF file's tensors.
struct GgufValues<'a>(&'a Gguf);

impl Values for GgufValues<'_> {
    fn values(&mut self, tensor: &PlannedTensor) -> Result<(Vec<f32>, u64), ExportError> {
        let (data, n_bytes) = file_values(self.0, &tensor.source)?;
        Ok((f32_values(tensor, data)?, n_bytes))
    }
}

/// Plans a copy of a GGUF file, whose metadata are kept.
fn of_gguf(gguf: &Gguf) -> Result<(Export, GgufValues<'_>), ExportError> {
    let quantised = gguf.tensors().find(|(_, info)| is_quantised(info.format));
    if let Some((name, info)) = quantised {
        return Err(ExportError::Model {
            path: gguf.path().to_owned(),
            problem: format!(
                "the tensor {name} is quantised already, in {}: quantise the model that it was made of",
                info.format
            ),
        });
    }
    let metadata = gguf.metadata();
    let is_of_file = |key: &str| {
        let replaced = [
            "general.file_type",
            "general.quantization_version",
            "general.alignment",
        ];
        replaced.contains(&key) || key.starts_with("split.")
    };
    let entries = metadata.keys().filter(|key| !is_of_file(key));
    let entries = entries.filter_map(|key| Some((key.to_owned(), metadata.get(key)?.clone())));
    let tensors = gguf.tensors().map(|(name, info)| PlannedTensor {
        name: name.to_owned(),
        source: name.to_owned(),
        shape: info.shape.clone(),
    });
    let export = Export {
        metadata: entries.collect::<Vec<(String, MetadataValue)>>(),
        tensors: tensors.collect(),
        n_source_bytes: gguf.n_bytes(),
    };
    Ok((export, GgufValues(gguf)))
}
