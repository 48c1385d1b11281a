//! Why weights cannot be loaded.

use std::path::{Path, PathBuf};

/// Why weights cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The folder has neither `model.safetensors` nor an index.
    #[error(
        "{} has no weights: expected model.safetensors or model.safetensors.index.json",
        folder.display()
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder has weights in another form, or something else than a model.
    #[error("{} has no weights that can be loaded: {what}", folder.display())]
    ForeignWeights {
        /// The folder.
        folder: PathBuf,
        /// What is there instead, and what to do about it.
        what: String,
    },
    /// A file is not a safetensors file, or was cut off.
    #[error("{} is not a whole safetensors file: {reason}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The index is not what it should be.
    #[error("{} is not an index of safetensors files: {reason}", path.display())]
    MalformedIndex {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor the model needs is in no file.
    #[error("{}: the tensor {name} {expected:?} is missing{there}", path.display())]
    MissingTensor {
        /// The weights file, or the index of several.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape, were it there.
        expected: Vec<usize>,
        /// What is there instead, as a clause that begins with a semicolon.
        there: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("{}: the tensor {name} has the shape {actual:?}, config.json makes it {expected:?}", path.display())]
    WrongShape {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shape in the file.
        actual: Vec<usize>,
        /// The shape that was expected.
        expected: Vec<usize>,
    },
    /// A tensor is of a data type that weights cannot have.
    #[error("{}: the tensor {name} is of type {dtype}, expected F32, F16, BF16 or F64{kind}", path.display())]
    WrongDtype {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The data type in the file.
        dtype: String,
        /// What the file's tensors show of it, as a clause that begins with a semicolon, or nothing.
        kind: String,
    },
    /// A weight is NaN or infinite.
    #[error(
        "{}: the tensor {name} holds {value} at {at:?}, with which nothing can be computed; \
         is the file damaged?",
        path.display()
    )]
    NotFinite {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The first such value's place in the tensor.
        at: Vec<usize>,
        /// The value.
        value: f32,
    },
    /// A weight does not fit the data type that was asked for.
    #[error(
        "{}: the tensor {name} holds {value} at {at:?}, which {dtype} cannot hold{}",
        path.display(),
        wider(dtype)
    )]
    TooLarge {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The first such value's place in the tensor.
        at: Vec<usize>,
        /// The value.
        value: f64,
        /// The data type that was asked for.
        dtype: &'static str,
    },
    /// The files hold tensors that the model does not have.
    #[error("{}: {count} unexpected tensors, the first one is {first}; does config.json belong to these weights?{kind}", path.display())]
    UnexpectedTensors {
        /// The weights file, or the index of several.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first one by name.
        first: String,
        /// What these tensors show of the file, as a clause that begins with a semicolon, or nothing.
        kind: String,
    },
}

/// Adds the file's name to an error of the file system.
pub(super) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> CheckpointError + '_ {
    |source| CheckpointError::Unreadable {
        path: path.to_owned(),
        source,
    }
}

/// Says which data types hold larger numbers than the one of that name.
fn wider(dtype: &str) -> &'static str {
    match dtype {
        "f16" => "; load it as bf16 or f32",
        _ => "",
    }
}
