//! Why a model cannot be written, and in which formats it can.

use std::path::PathBuf;

use lac_kernels::quantized::{BlockFormat, QuantizedError};

use crate::architecture::ConfigError;
use crate::checkpoint::CheckpointError;
use crate::gguf::error::GgufError;
use crate::tokenizer::TokenizerError;

/// Why a model cannot be written as a GGUF file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Weights cannot be written in this format.
    #[error(
        "cannot write weights as {format}: expected one of {}",
        FORMATS.map(BlockFormat::name).join(", ")
    )]
    Format {
        /// The format.
        format: BlockFormat,
    },
    /// A part of the model has no form in GGUF files, or none that is written.
    #[error("{}: {problem}", path.display())]
    Model {
        /// The model's folder or file.
        path: PathBuf,
        /// What it is, and what can be written.
        problem: String,
    },
    /// A tensor's values cannot be quantised.
    #[error("the tensor {name} cannot be quantised")]
    Values {
        /// The tensor.
        name: String,
        /// Why.
        source: QuantizedError,
    },
    /// A tensor's values are of another type than they were asked for in.
    #[error("the tensor {name} cannot be read in f32: {reason}")]
    Type {
        /// The tensor.
        name: String,
        /// Why.
        reason: String,
    },
    /// The file cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder's settings of generation cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The model's weights cannot be read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The model's GGUF file cannot be read.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// The model's tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// The formats that weights are written in.
pub const FORMATS: [BlockFormat; 5] = [
    BlockFormat::F32,
    BlockFormat::F16,
    BlockFormat::BF16,
    BlockFormat::Q8_0,
    BlockFormat::Q4_0,
];
