//! Why a GGUF file cannot be used.

use std::path::{Path, PathBuf};

use crate::architecture::ConfigError;
use crate::file::excerpt;
use crate::tokenizer::TokenizerError;

/// Why a GGUF file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GgufError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is no GGUF file, or was cut off.
    #[error("{} is not a whole GGUF file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// A key of the metadata is missing or has a value that cannot be used.
    #[error("{}: the metadata's {key} {problem}", path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong with the value, and what is expected.
        problem: String,
    },
    /// A tensor has a type that weights cannot have.
    #[error(
        "{}: the tensor {name} is of type {tensor_type}, which is not supported: expected {}",
        path.display(),
        super::tensor_info::format_names()
    )]
    TensorType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type's name, or its number where the number is not known.
        tensor_type: String,
    },
    /// The entry of a tensor is impossible, or contradicts another one's.
    #[error("{}: the tensor {name} {problem}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// What is wrong with the entry.
        problem: String,
    },
    /// The files of a model that was split do not belong together.
    #[error("{}: {problem}", path.display())]
    Split {
        /// The file.
        path: PathBuf,
        /// What is wrong with the set.
        problem: String,
    },
    /// A folder has more than one model.
    #[error(
        "{} holds several GGUF files: name one of {}",
        folder.display(),
        excerpt(&names.join(", "))
    )]
    Several {
        /// The folder.
        folder: PathBuf,
        /// The files; of a model that was split, the first one.
        names: Vec<String>,
    },
    /// A tensor that the model needs is in no file.
    #[error("{}: the tensor {name} {expected:?} is missing", path.display())]
    MissingTensor {
        /// The file, or the first of several.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape that it should have.
        expected: Vec<usize>,
    },
    /// A tensor has another shape than the metadata says.
    #[error("{}: the tensor {name} has the shape {actual:?}, the metadata makes it {expected:?}", path.display())]
    WrongShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape in the file, outermost dimension first.
        actual: Vec<usize>,
        /// The shape that was expected.
        expected: Vec<usize>,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{}: the tensor {name} holds {value} at {at:?}, with which nothing can be computed; \
         is the file damaged?",
        path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The first such value's place in the tensor, as it lies in the file.
        at: Vec<usize>,
        /// The value.
        value: f32,
    },
    /// A weight does not fit the data type that was asked for.
    #[error(
        "{}: the tensor {name} holds {value} at {at:?}, which {dtype} cannot hold; \
         load it as bf16 or f32",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The first such value's place in the tensor, as it lies in the file.
        at: Vec<usize>,
        /// The value.
        value: f32,
        /// The data type that was asked for.
        dtype: &'static str,
    },
    /// The files hold tensors that the model does not have.
    #[error(
        "{}: {count} unexpected tensors, the first one is {first}; is the model's architecture {architecture}?",
        path.display()
    )]
    UnexpectedTensors {
        /// The file, or the first of several.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first one by name.
        first: String,
        /// What the metadata calls the architecture.
        architecture: String,
    },
    /// What the metadata says of the model cannot be used. Keys stand for the fields of a `config.json`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The tokenizer cannot be used.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}

/// Adds the file's name to an error of the file system.
pub(super) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> GgufError + '_ {
    |source| GgufError::Unreadable {
        path: path.to_owned(),
        source,
    }
}
