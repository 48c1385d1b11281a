//! Writes a model as a GGUF file, with its matrices quantised.

mod error;
mod families;
mod header;
mod settings;
mod tensors;
mod vocabulary;

use std::io::Write;
use std::path::Path;

use burn::tensor::TensorData;
use lac_files::AtomicFile;
use lac_kernels::quantized::BlockFormat;

pub use self::error::{ExportError, FORMATS};
use self::header::{ALIGNMENT, padding};
pub(crate) use self::settings::{Settings, settings};
use self::tensors::FormatChoice;
pub(crate) use self::tensors::{PlannedTensor, tensors};
pub(crate) use self::vocabulary::vocabulary;
use super::metadata::MetadataValue;
pub(crate) use super::tensor_info::is_quantised;
use crate::checkpoint::LoadProgress;

/// A GGUF file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExportSummary {
    /// Number of bytes of the file.
    pub n_bytes: u64,
    /// The formats of the tensors, with the number of tensors in each, in the order of the formats.
    pub formats: Vec<(BlockFormat, usize)>,
}

/// Where a model's values come from while it is written.
pub(crate) trait Values {
    /// Reads a tensor's values in f32, `[out, in]` for matrices, with their rows in the file's order. The second value
    /// is the number of bytes that were read for them.
    fn values(&mut self, tensor: &PlannedTensor) -> Result<(Vec<f32>, u64), ExportError>;
}

/// Returns the values of a tensor that was read in f32.
pub(crate) fn f32_values(
    tensor: &PlannedTensor,
    data: TensorData,
) -> Result<Vec<f32>, ExportError> {
    data.try_into_vec().map_err(|error| ExportError::Type {
        name: tensor.name.clone(),
        reason: error.to_string(),
    })
}

/// What a file is made of.
pub(crate) struct Export {
    /// The metadata, in the order of the file. The format of the weights is added here.
    pub(crate) metadata: Vec<(String, MetadataValue)>,
    /// The tensors, in the order of the file.
    pub(crate) tensors: Vec<PlannedTensor>,
    /// Number of bytes of weights that are read.
    pub(crate) n_source_bytes: u64,
}

/// Checks that weights can be written in a format.
///
/// # Errors
/// [`ExportError::Format`].
pub(crate) fn check_format(format: BlockFormat) -> Result<(), ExportError> {
    if FORMATS.contains(&format) {
        return Ok(());
    }
    Err(ExportError::Format { format })
}

/// Writes the file, tensor by tensor; it appears under its name once it is whole.
pub(crate) fn write(
    mut export: Export,
    format: BlockFormat,
    out: &Path,
    values: &mut dyn Values,
    progress: &mut dyn FnMut(LoadProgress),
) -> Result<ExportSummary, ExportError> {
    let failed = |source| ExportError::Write {
        path: out.to_owned(),
        source,
    };
    export.metadata.extend(format_entries(format));
    let choice = FormatChoice::new(format, &export.tensors);
    let formats: Vec<BlockFormat> = export
        .tensors
        .iter()
        .map(|tensor| choice.format_of(tensor))
        .collect();
    let mut file = AtomicFile::create(out).map_err(failed)?;
    let header = header::header(&export.metadata, &export.tensors, &formats);
    let mut n_bytes = header.len() as u64;
    let mut n_read = 0;
    file.write_all(&header).map_err(failed)?;
    for (tensor, &format) in export.tensors.iter().zip(&formats) {
        let (read, n_source_bytes) = values.values(tensor)?;
        let bytes = tensors::encode(tensor, format, &read)?;
        let padding = vec![0; padding(bytes.len())];
        file.write_all(&bytes)
            .and_then(|()| file.write_all(&padding))
            .map_err(failed)?;
        n_bytes += (bytes.len() + padding.len()) as u64;
        n_read += n_source_bytes;
        progress(LoadProgress {
            bytes_read: n_read,
            bytes_total: export.n_source_bytes,
        });
    }
    file.finish().map_err(failed)?;
    let count = |format| formats.iter().filter(|&&other| other == format).count();
    Ok(ExportSummary {
        n_bytes,
        formats: FORMATS
            .into_iter()
            .map(|format| (format, count(format)))
            .filter(|&(_, n_tensors)| n_tensors > 0)
            .collect(),
    })
}

/// Returns what a file says of the format of its weights (`llama_ftype` of llama.cpp).
fn format_entries(format: BlockFormat) -> Vec<(String, MetadataValue)> {
    let file_type = match format {
        BlockFormat::F16 => 1,
        BlockFormat::Q4_0 => 2,
        BlockFormat::Q8_0 => 7,
        BlockFormat::BF16 => 32,
        _ => 0,
    };
    vec![
        (
            "general.file_type".to_owned(),
            MetadataValue::Unsigned(file_type),
        ),
        (
            "general.quantization_version".to_owned(),
            MetadataValue::Unsigned(2),
        ),
        (
            "general.alignment".to_owned(),
            MetadataValue::Unsigned(ALIGNMENT as u64),
        ),
    ]
}
