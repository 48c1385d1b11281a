//! Weights in safetensors files, read tensor by tensor.

mod digest;
mod index;
mod shard;
mod unique;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use burn::tensor::{DType, Device, Tensor};
use lac_core::named::{UnknownName, by_name};
use safetensors::tensor::TensorInfo;

use crate::decoder::TensorSource;
use crate::file;
use index::Index;
use shard::Shard;

/// The data type weights are converted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WeightDtype {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 5 of them for the exponent.
    F16,
    /// 16 bits, 8 of them for the exponent.
    Bf16,
}

impl WeightDtype {
    /// All data types.
    pub const ALL: &'static [Self] = &[Self::F32, Self::F16, Self::Bf16];

    /// burn's name for it.
    pub fn to_burn(self) -> DType {
        match self {
            WeightDtype::F32 => DType::F32,
            WeightDtype::F16 => DType::F16,
            WeightDtype::Bf16 => DType::BF16,
        }
    }

    /// The name in flags and reports.
    pub fn name(self) -> &'static str {
        match self {
            WeightDtype::F32 => "f32",
            WeightDtype::F16 => "f16",
            WeightDtype::Bf16 => "bf16",
        }
    }
}

impl FromStr for WeightDtype {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("data type", Self::ALL, Self::name, name)
    }
}

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
    #[error("{}: the tensor {name} {expected:?} is missing", path.display())]
    MissingTensor {
        /// The weights file, or the index of several.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape, were it there.
        expected: Vec<usize>,
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
    #[error("{}: the tensor {name} is of type {dtype}, expected F32, F16 or BF16", path.display())]
    WrongDtype {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The data type in the file.
        dtype: String,
    },
    /// A weight is infinite or no number.
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
        "{}: the tensor {name} holds {value} at {at:?}, which {dtype} cannot hold; \
         load it as bf16 or f32",
        path.display()
    )]
    TooLarge {
        /// The weights file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The first such value's place in the tensor.
        at: Vec<usize>,
        /// The value.
        value: f32,
        /// The data type that was asked for.
        dtype: &'static str,
    },
    /// The files hold tensors that the model does not have.
    #[error("{}: {count} unexpected tensors, the first one is {first}; does config.json belong to these weights?", path.display())]
    UnexpectedTensors {
        /// The weights file, or the index of several.
        path: PathBuf,
        /// How many.
        count: usize,
        /// The first one by name.
        first: String,
    },
}

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoadProgress {
    /// Bytes of weights read so far.
    pub bytes_read: u64,
    /// Bytes of all weights in the files.
    pub bytes_total: u64,
}

/// The weights of a folder in Hugging Face layout.
///
/// A tensor is read when it is asked for, a piece at a time: what is read does not add up beside the loaded
/// weights, and a file that is cut off meanwhile is an error.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<Shard>,
    place: HashMap<String, usize>,
    used: BTreeSet<String>,
}

/// A checkpoint as a source of tensors of one data type on one device.
pub struct CheckpointSource<'a> {
    checkpoint: &'a mut Checkpoint,
    dtype: WeightDtype,
    device: Device,
    progress: &'a mut dyn FnMut(LoadProgress),
    bytes_read: u64,
    bytes_total: u64,
}

impl fmt::Debug for CheckpointSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckpointSource")
            .field("checkpoint", &self.checkpoint)
            .field("dtype", &self.dtype)
            .field("device", &self.device)
            .finish_non_exhaustive()
    }
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// A file that is missing, cut off or malformed.
    pub fn open(folder: &Path) -> Result<Self, CheckpointError> {
        let single = folder.join("model.safetensors");
        let index = folder.join("model.safetensors.index.json");
        if file::is_there(&single) {
            let shard = Shard::open(&single)?;
            let place = shard.tensors.keys().map(|name| (name.clone(), 0)).collect();
            Ok(Self {
                path: single,
                shards: vec![shard],
                place,
                used: BTreeSet::new(),
            })
        } else if file::is_there(&index) {
            Self::open_index(folder, index)
        } else {
            Err(CheckpointError::NoWeights {
                folder: folder.to_owned(),
            })
        }
    }

    fn open_index(folder: &Path, path: PathBuf) -> Result<Self, CheckpointError> {
        let index = Index::read(&path)?;
        let mut shards = Vec::new();
        let mut shard_idx = HashMap::new();
        for file_name in index.file_names() {
            let shard = folder.join(file_name);
            if !file::is_there(&shard) {
                return Err(CheckpointError::MalformedIndex {
                    path,
                    reason: format!("it names {file_name}, which is not beside it"),
                });
            }
            shard_idx.insert(file_name, shards.len());
            shards.push(Shard::open(&shard)?);
        }
        let mut place = HashMap::with_capacity(index.weight_map.len());
        for (name, file_name) in &index.weight_map {
            let idx = shard_idx[file_name.as_str()];
            if !shards[idx].tensors.contains_key(name) {
                return Err(CheckpointError::MalformedIndex {
                    path,
                    reason: format!("{file_name} does not hold the tensor {name}"),
                });
            }
            place.insert(name.clone(), idx);
        }
        Ok(Self {
            path,
            shards,
            place,
            used: BTreeSet::new(),
        })
    }

    /// The names of the weights files beside a `model.safetensors.index.json`.
    ///
    /// # Errors
    /// An index that cannot be read or is malformed; one that names a file outside its folder.
    pub fn shard_names(index: &Path) -> Result<BTreeSet<String>, CheckpointError> {
        let index = Index::read(index)?;
        Ok(index.file_names().into_iter().map(String::from).collect())
    }

    /// The weights file, or the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of tensors.
    pub fn n_tensors(&self) -> usize {
        self.place.len()
    }

    /// Number of files.
    pub fn n_shards(&self) -> usize {
        self.shards.len()
    }

    /// Bytes of all tensors.
    pub fn n_bytes(&self) -> u64 {
        self.infos().map(|(_, info)| n_bytes(info)).sum()
    }

    /// The data types of the tensors and how many there are of each.
    pub fn dtypes(&self) -> BTreeMap<String, usize> {
        let mut dtypes = BTreeMap::new();
        for (_, info) in self.infos() {
            *dtypes.entry(format!("{:?}", info.dtype)).or_default() += 1;
        }
        dtypes
    }

    /// Every tensor's name and shape.
    pub fn shapes(&self) -> BTreeMap<String, Vec<usize>> {
        self.infos()
            .map(|(name, info)| (name.clone(), info.shape.clone()))
            .collect()
    }

    fn infos(&self) -> impl Iterator<Item = (&String, &TensorInfo)> {
        self.place
            .iter()
            .map(|(name, &idx)| (name, &self.shards[idx].tensors[name]))
    }

    /// A source of tensors; `progress` is called after each of them.
    pub fn source<'a>(
        &'a mut self,
        dtype: WeightDtype,
        device: &Device,
        progress: &'a mut dyn FnMut(LoadProgress),
    ) -> CheckpointSource<'a> {
        CheckpointSource {
            bytes_total: self.n_bytes(),
            checkpoint: self,
            dtype,
            device: device.clone(),
            progress,
            bytes_read: 0,
        }
    }

    /// Insists that every tensor of the files was used, but for those that `may_be_left` allows.
    ///
    /// # Errors
    /// [`CheckpointError::UnexpectedTensors`].
    pub fn finish(&self, may_be_left: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
        let unexpected: BTreeSet<&String> = self
            .place
            .keys()
            .filter(|name| !self.used.contains(*name) && !may_be_left(name))
            .collect();
        match unexpected.first() {
            None => Ok(()),
            Some(first) => Err(CheckpointError::UnexpectedTensors {
                path: self.path.clone(),
                count: unexpected.len(),
                first: file::excerpt(first),
            }),
        }
    }
}

impl CheckpointSource<'_> {
    fn tensor<const D: usize>(
        &mut self,
        name: &str,
        expected: [usize; D],
    ) -> Result<Tensor<D>, CheckpointError> {
        let Some(&idx) = self.checkpoint.place.get(name) else {
            return Err(CheckpointError::MissingTensor {
                path: self.checkpoint.path.clone(),
                name: name.to_owned(),
                expected: expected.to_vec(),
            });
        };
        let shard = &self.checkpoint.shards[idx];
        let info = &shard.tensors[name];
        if info.shape != expected {
            return Err(CheckpointError::WrongShape {
                path: shard.path.clone(),
                name: name.to_owned(),
                actual: info.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        let data = shard.read(name, info, self.dtype)?;
        self.bytes_read += n_bytes(info);
        self.checkpoint.used.insert(name.to_owned());
        (self.progress)(LoadProgress {
            bytes_read: self.bytes_read,
            bytes_total: self.bytes_total,
        });
        Ok(Tensor::from_data(
            data,
            (&self.device, self.dtype.to_burn()),
        ))
    }
}

impl TensorSource for CheckpointSource<'_> {
    type Error = CheckpointError;

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Tensor<2>, CheckpointError> {
        self.tensor(name, shape)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, CheckpointError> {
        self.tensor(name, [len])
    }
}

fn n_bytes(info: &TensorInfo) -> u64 {
    (info.data_offsets.1 - info.data_offsets.0) as u64
}

fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> CheckpointError + '_ {
    |source| CheckpointError::Unreadable {
        path: path.to_owned(),
        source,
    }
}
