//! Weights in safetensors files, mapped into memory and read tensor by tensor.

mod digest;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use half::{bf16, f16};
use memmap2::{Mmap, MmapOptions};
use safetensors::tensor::{Dtype, SafeTensorError, SafeTensors, TensorInfo};

use crate::decoder::TensorSource;

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
/// Each tensor's part of its file is mapped while the tensor is read, and unmapped after: the
/// file's pages do not add up beside the loaded weights.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<Shard>,
    place: HashMap<String, usize>,
    used: BTreeSet<String>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes start, behind the header.
    data_start: u64,
    tensors: HashMap<String, TensorInfo>,
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
        if single.is_file() {
            let shard = Shard::open(&single)?;
            let place = shard.tensors.keys().map(|name| (name.clone(), 0)).collect();
            Ok(Self {
                path: single,
                shards: vec![shard],
                place,
                used: BTreeSet::new(),
            })
        } else if index.is_file() {
            Self::open_index(folder, index)
        } else {
            Err(CheckpointError::NoWeights {
                folder: folder.to_owned(),
            })
        }
    }

    fn open_index(folder: &Path, index: PathBuf) -> Result<Self, CheckpointError> {
        #[derive(serde::Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let malformed = |reason: String| CheckpointError::MalformedIndex {
            path: index.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&index).map_err(unreadable(&index))?;
        let Index { weight_map } =
            serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;

        let file_names: BTreeSet<&String> = weight_map.values().collect();
        let mut shards = Vec::with_capacity(file_names.len());
        let mut shard_idx = HashMap::new();
        for file_name in file_names {
            // A shard lies beside its index: a name that leads elsewhere is not followed.
            let is_plain = Path::new(file_name).file_name() == Some(file_name.as_ref());
            if !is_plain {
                return Err(malformed(format!("{file_name:?} is not a plain file name")));
            }
            shard_idx.insert(file_name.clone(), shards.len());
            shards.push(Shard::open(&folder.join(file_name))?);
        }
        let mut place = HashMap::with_capacity(weight_map.len());
        for (name, file_name) in &weight_map {
            let idx = shard_idx[file_name];
            if !shards[idx].tensors.contains_key(name) {
                return Err(malformed(format!(
                    "{file_name} does not hold the tensor {name}"
                )));
            }
            place.insert(name.clone(), idx);
        }
        Ok(Self {
            path: index,
            shards,
            place,
            used: BTreeSet::new(),
        })
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
                first: (*first).clone(),
            }),
        }
    }
}

impl Shard {
    fn open(path: &Path) -> Result<Self, CheckpointError> {
        let malformed = |reason: String| CheckpointError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let file = File::open(path).map_err(unreadable(path))?;
        let len = file.metadata().map_err(unreadable(path))?.len();
        if len == 0 {
            return Err(malformed("it is empty".to_owned()));
        }
        let mapping = map(&file, path, 0, len as usize)?;
        let (header_len, metadata) =
            SafeTensors::read_metadata(&mapping).map_err(|error| match error {
                SafeTensorError::MetadataIncompleteBuffer => malformed(format!(
                    "its header does not describe its {len} bytes; was it cut off?"
                )),
                error => malformed(error.to_string()),
            })?;
        let data_start = 8 + header_len as u64;
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            file,
            data_start,
            tensors,
        })
    }

    /// Reads a tensor's bytes as values of the wanted data type.
    fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        dtype: WeightDtype,
    ) -> Result<TensorData, CheckpointError> {
        let (start, end) = info.data_offsets;
        let mapping;
        let bytes: &[u8] = if start == end {
            &[]
        } else {
            mapping = map(
                &self.file,
                &self.path,
                self.data_start + start as u64,
                end - start,
            )?;
            &mapping
        };
        let shape = info.shape.clone();
        convert(bytes, info.dtype, shape, dtype).ok_or_else(|| CheckpointError::WrongDtype {
            path: self.path.clone(),
            name: name.to_owned(),
            dtype: format!("{:?}", info.dtype),
        })
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

fn map(file: &File, path: &Path, offset: u64, len: usize) -> Result<Mmap, CheckpointError> {
    // SAFETY: the mapping is only read, and only while `self` of this crate holds the file open.
    // Another program that shortens the file meanwhile could make a read fault; that is the one
    // promise mapped weights ask of a user, and docs/ARCHITECTURE.md states it.
    unsafe { MmapOptions::new().offset(offset).len(len).map(file) }.map_err(unreadable(path))
}

/// Converts little-endian values; `None` for a type that weights cannot have.
fn convert(bytes: &[u8], from: Dtype, shape: Vec<usize>, to: WeightDtype) -> Option<TensorData> {
    let same = matches!(
        (from, to),
        (Dtype::F32, WeightDtype::F32)
            | (Dtype::F16, WeightDtype::F16)
            | (Dtype::BF16, WeightDtype::Bf16)
    );
    if same && cfg!(target_endian = "little") {
        let bytes = Bytes::from_bytes_vec(bytes.to_vec());
        return Some(TensorData::from_bytes(bytes, shape, to.to_burn()));
    }
    let from_f32 = |bytes: [u8; 4]| f32::from_le_bytes(bytes);
    let from_f16 = |bytes: [u8; 2]| f16::from_le_bytes(bytes).to_f32();
    let from_bf16 = |bytes: [u8; 2]| bf16::from_le_bytes(bytes).to_f32();
    match from {
        Dtype::F32 => Some(collect(bytes, from_f32, shape, to)),
        Dtype::F16 => Some(collect(bytes, from_f16, shape, to)),
        Dtype::BF16 => Some(collect(bytes, from_bf16, shape, to)),
        _ => None,
    }
}

fn collect<const N: usize>(
    bytes: &[u8],
    value: impl Fn([u8; N]) -> f32,
    shape: Vec<usize>,
    to: WeightDtype,
) -> TensorData {
    let (chunks, _) = bytes.as_chunks::<N>();
    let values = chunks.iter().map(|&chunk| value(chunk));
    match to {
        WeightDtype::F32 => TensorData::new(values.collect::<Vec<f32>>(), shape),
        WeightDtype::F16 => TensorData::new(values.map(f16::from_f32).collect::<Vec<_>>(), shape),
        WeightDtype::Bf16 => TensorData::new(values.map(bf16::from_f32).collect::<Vec<_>>(), shape),
    }
}
