//! Tensors of a safetensors file that is no model: vectors that are added to states, maps of a lens.

use std::path::{Path, PathBuf};

use super::dtype::WeightDtype;
use super::error::CheckpointError;
use super::shard::Shard;

/// A safetensors file whose tensors are asked for by name.
#[derive(Debug)]
pub struct TensorFile {
    shard: Shard,
}

/// A tensor's values in f32, row after row.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TensorValues {
    /// The shape.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

impl TensorFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// [`CheckpointError::Unreadable`], or [`CheckpointError::Malformed`] for a file that is no safetensors file or was cut
    /// off.
    pub fn open(path: &Path) -> Result<Self, CheckpointError> {
        let shard = Shard::open(path)?;
        Ok(Self { shard })
    }

    /// Returns the file's path.
    pub fn path(&self) -> &Path {
        &self.shard.path
    }

    /// Returns the tensors' names, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.shard.tensors.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// Reads a tensor, of any data type that weights may have.
    ///
    /// # Errors
    /// [`CheckpointError::MissingTensor`]; [`CheckpointError::WrongShape`] if `expected` is given and is not its shape;
    /// [`CheckpointError::WrongDtype`]; [`CheckpointError::NotFinite`].
    pub fn read(
        &self,
        name: &str,
        expected: Option<&[usize]>,
    ) -> Result<TensorValues, CheckpointError> {
        let path = || -> PathBuf { self.shard.path.clone() };
        let Some(info) = self.shard.tensors.get(name) else {
            return Err(CheckpointError::MissingTensor {
                path: path(),
                name: name.to_owned(),
                expected: expected.unwrap_or_default().to_vec(),
                there: match self.names()[..] {
                    [] => "; the file holds no tensor".to_owned(),
                    [first, ..] => format!("; its first tensor is {first}"),
                },
            });
        };
        if let Some(expected) = expected
            && info.shape != expected
        {
            return Err(CheckpointError::WrongShape {
                path: path(),
                name: name.to_owned(),
                actual: info.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        let (data, _) = self.shard.read(name, info, WeightDtype::F32)?;
        Ok(TensorValues {
            shape: info.shape.clone(),
            values: data.iter::<f32>().collect(),
        })
    }
}
