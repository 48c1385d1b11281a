//! Weights in safetensors files, read tensor by tensor.

mod dtype;
mod error;
mod foreign;
pub(crate) mod hash;
mod hints;
mod index;
mod layers;
mod load_config;
mod names;
mod progress;
mod quantize;
mod shard;
mod tensor_file;
mod unique;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use lac_kernels::quantized::BlockFormat;
use safetensors::tensor::TensorInfo;

use crate::decoder::{DecoderMatrix, ExpertsShape, TensorSource, load_experts};
use crate::file;
use crate::hash::FieldHasher;
pub use dtype::WeightDtype;
pub use error::CheckpointError;
use foreign::missing_shards;
pub(crate) use foreign::{describe_file, describe_folder, describe_names};
use hash::TensorHash;
use index::Index;
pub(crate) use layers::{LayersError, WrittenWeights};
pub use load_config::{Activations, LoadConfig, Quantization};
use names::{TensorNames, is_inert};
pub use progress::LoadProgress;
pub(crate) use progress::{Loading, Quantizing};
use shard::{Shard, n_bytes};
pub use tensor_file::{TensorFile, TensorValues};

/// The weights of a folder in Hugging Face layout.
///
/// A tensor is read when it is asked for, a piece at a time. So loading takes hardly more memory than the loaded
/// weights, and a file that is cut off meanwhile is an error.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    shards: Vec<Shard>,
    /// The index of each tensor's shard, by its name in the file.
    place: HashMap<String, usize>,
    names: TensorNames,
    /// Hashes of the tensors that have been read.
    read: BTreeMap<String, TensorHash>,
}

/// A checkpoint as a source of tensors of one data type on one device.
#[derive(Debug)]
pub struct CheckpointSource<'a> {
    checkpoint: &'a mut Checkpoint,
    loading: Loading<'a>,
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
            Ok(Self::of(single, vec![shard], place))
        } else if file::is_there(&index) {
            Self::open_index(folder, index)
        } else {
            let folder = folder.to_owned();
            Err(match describe_folder(&folder) {
                None => CheckpointError::NoWeights { folder },
                Some(what) => CheckpointError::ForeignWeights { folder, what },
            })
        }
    }

    /// Returns whether a folder has weights in safetensors files, or a link in their place.
    pub(crate) fn is_in(folder: &Path) -> bool {
        ["model.safetensors", "model.safetensors.index.json"]
            .iter()
            .any(|name| file::is_there(&folder.join(name)))
    }

    fn open_index(folder: &Path, path: PathBuf) -> Result<Self, CheckpointError> {
        let index = Index::read(&path)?;
        let mut shards = Vec::new();
        let mut shard_idx = HashMap::new();
        let missing = index.file_names().into_iter();
        let missing: Vec<&str> = missing
            .filter(|name| !file::is_there(&folder.join(name)))
            .collect();
        if !missing.is_empty() {
            return Err(CheckpointError::MalformedIndex {
                reason: missing_shards(folder, &missing, index.file_names().len()),
                path,
            });
        }
        for file_name in index.file_names() {
            let shard = folder.join(file_name);
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
        Ok(Self::of(path, shards, place))
    }

    fn of(path: PathBuf, shards: Vec<Shard>, place: HashMap<String, usize>) -> Self {
        let shared = shards.iter().flat_map(|shard| &shard.shared);
        Self {
            names: TensorNames::of(place.keys(), shared),
            path,
            shards,
            place,
            read: BTreeMap::new(),
        }
    }

    /// Finds the place of a tensor, which may be stored under another name.
    fn find(&self, name: &str) -> Option<(&String, &Shard, &TensorInfo)> {
        let found = self.place.get_key_value(name);
        let found = found.or_else(|| self.place.get_key_value(self.names.stored(name)?));
        let (stored, &idx) = found?;
        let shard = &self.shards[idx];
        Some((stored, shard, &shard.tensors[stored]))
    }

    /// Makes one tensor of two names whose weights a model shares, where the files hold it under the second name alone.
    pub(crate) fn tie(&mut self, name: &str, other: &str) {
        let stored = |name| self.find(name).map(|(stored, _, _)| stored.clone());
        if let Some(other) = stored(other)
            && stored(name).is_none_or(|stored| stored == other)
        {
            self.names.rename(&other, name);
        }
    }

    /// Returns the names of the weights files that a `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// An index that cannot be read or is malformed; one that names a file outside its folder.
    pub fn shard_names(index: &Path) -> Result<BTreeSet<String>, CheckpointError> {
        let index = Index::read(index)?;
        Ok(index.file_names().into_iter().map(String::from).collect())
    }

    /// Returns the path of the weights file, or of the index of several.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the number of tensors.
    pub fn n_tensors(&self) -> usize {
        self.place.len()
    }

    /// Returns the number of files.
    pub fn n_shards(&self) -> usize {
        self.shards.len()
    }

    /// Returns how many bytes all tensors have in the files.
    pub fn n_bytes(&self) -> u64 {
        self.infos().map(|(_, info)| n_bytes(info)).sum()
    }

    /// Returns the data types of the tensors and how many tensors there are of each.
    pub fn dtypes(&self) -> BTreeMap<String, usize> {
        let mut dtypes = BTreeMap::new();
        for (_, info) in self.infos() {
            *dtypes.entry(format!("{:?}", info.dtype)).or_default() += 1;
        }
        dtypes
    }

    /// Returns every tensor's name and shape.
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

    /// Finds a tensor of a shape: its name in the file, its file and its entry.
    fn find_of_shape(
        &self,
        name: &str,
        expected: &[usize],
    ) -> Result<(&String, &Shard, &TensorInfo), CheckpointError> {
        let Some((stored, shard, info)) = self.find(name) else {
            return Err(CheckpointError::MissingTensor {
                path: self.path.clone(),
                name: name.to_owned(),
                expected: expected.to_vec(),
                there: hints::missing(name, self.place.keys()),
            });
        };
        if info.shape != expected {
            return Err(CheckpointError::WrongShape {
                path: shard.path.clone(),
                name: stored.clone(),
                actual: info.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok((stored, shard, info))
    }

    /// Reads a tensor and converts its values. Returns them with the number of bytes that they take in the file.
    pub(crate) fn values(
        &mut self,
        name: &str,
        expected: &[usize],
        dtype: WeightDtype,
    ) -> Result<(TensorData, u64), CheckpointError> {
        let (stored, shard, info) = self.find_of_shape(name, expected)?;
        let (data, hash) = shard.read(stored, info, dtype)?;
        let (stored, n_bytes) = (stored.clone(), n_bytes(info));
        self.read.insert(stored, hash);
        Ok((data, n_bytes))
    }

    /// Makes a source of tensors. `progress` is called after each tensor is read.
    pub fn source<'a>(
        &'a mut self,
        dtype: WeightDtype,
        device: &Device,
        progress: &'a mut dyn FnMut(LoadProgress),
    ) -> CheckpointSource<'a> {
        self.load_from(Loading::new(dtype.into(), None, device, progress))
    }

    /// Makes a source of tensors that are loaded in a way of the caller's.
    pub(crate) fn load_from<'a>(&'a mut self, loading: Loading<'a>) -> CheckpointSource<'a> {
        CheckpointSource {
            loading: loading.of_bytes(self.n_bytes()),
            checkpoint: self,
        }
    }

    /// Hashes the weights: every tensor's name, data type in the file, shape and bytes. Tensors that were loaded were
    /// hashed while they were read; the others are read here. The hash does not depend on the order of loading, the
    /// data type that the tensors were converted to, their order in the files, or the number of files.
    ///
    /// A tensor counts under the name that a language model has for it, whatever stands before it in the files. Tables
    /// that follow from the configuration, such as `inv_freq`, are left out, and so are tensors for which
    /// `is_passed_over` returns true: the model does not use them.
    ///
    /// # Errors
    /// [`CheckpointError::Unreadable`], and [`CheckpointError::Malformed`] for a file that was cut off meanwhile.
    pub fn hash(&self, is_passed_over: impl Fn(&str) -> bool) -> Result<String, CheckpointError> {
        let mut hasher = FieldHasher::default();
        for (name, stored) in self.used(is_passed_over) {
            let shard = &self.shards[self.place[stored]];
            let info = &shard.tensors[stored];
            let hash = match self.read.get(stored) {
                Some(hash) => *hash,
                None => shard.hash(info)?,
            };
            hasher.field(name);
            hasher.field(format!("{:?} {:?}", info.dtype, info.shape));
            hasher.field(hash.as_bytes());
        }
        Ok(hasher.finish())
    }

    /// Returns the tensors that a model has to use, by their plain names and with their names in the files.
    fn used(&self, is_passed_over: impl Fn(&str) -> bool) -> BTreeMap<&str, &String> {
        self.infos()
            .filter(|(stored, info)| !is_inert(stored, &info.shape))
            .map(|(stored, _)| (self.names.plain(stored), stored))
            .filter(|(name, _)| !is_passed_over(name))
            .collect()
    }

    /// Checks that every tensor of the files was loaded, except tables that follow from the configuration and those for
    /// which `may_be_left` returns true.
    ///
    /// # Errors
    /// [`CheckpointError::UnexpectedTensors`].
    pub fn finish(&self, may_be_left: impl Fn(&str) -> bool) -> Result<(), CheckpointError> {
        let used = self.used(may_be_left);
        let mut unexpected: Vec<&String> = used.into_values().collect();
        unexpected.retain(|stored| !self.read.contains_key(*stored));
        match unexpected.iter().min() {
            None => Ok(()),
            Some(first) => Err(CheckpointError::UnexpectedTensors {
                path: self.path.clone(),
                count: unexpected.len(),
                first: file::excerpt(first),
                kind: hints::kind(unexpected.iter().copied()),
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
        let dtype = self.loading.config.dtype;
        let (data, n_bytes) = self.checkpoint.values(name, &expected, dtype)?;
        Ok(self.loading.tensor(data, n_bytes))
    }

    fn quantized(
        &mut self,
        name: &str,
        shape: [usize; 2],
        format: BlockFormat,
    ) -> Result<DecoderMatrix, CheckpointError> {
        self.quantized_below_each_other(name, &shape, shape, format)
    }

    /// Quantises a tensor of matrices as one matrix, in which they lie below each other.
    fn quantized_below_each_other(
        &mut self,
        name: &str,
        stored_shape: &[usize],
        shape: [usize; 2],
        format: BlockFormat,
    ) -> Result<DecoderMatrix, CheckpointError> {
        let (stored, shard, info) = self.checkpoint.find_of_shape(name, stored_shape)?;
        let (matrix, hash) = shard.quantize(stored, info, shape, format)?;
        let (stored, n_bytes) = (stored.clone(), n_bytes(info));
        self.checkpoint.read.insert(stored, hash);
        Ok(self.loading.quantized(matrix, n_bytes))
    }

    /// Reads a tensor `[matrices, rows, columns]` as one matrix, in which they lie below each other.
    fn stacked(
        &mut self,
        name: &str,
        stored_shape: [usize; 3],
    ) -> Result<DecoderMatrix, CheckpointError> {
        let [n_matrices, n_rows, n_columns] = stored_shape;
        let shape = [n_matrices * n_rows, n_columns];
        let quantizing = self.loading.quantizing;
        match quantizing.and_then(|quantizing| quantizing.format(name, shape)) {
            Some(format) => self.quantized_below_each_other(name, &stored_shape, shape, format),
            None => {
                let tensor: Tensor<3> = self.tensor(name, stored_shape)?;
                Ok(tensor.reshape(shape).into())
            }
        }
    }
}

impl TensorSource for CheckpointSource<'_> {
    type Error = CheckpointError;

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<DecoderMatrix, CheckpointError> {
        let quantizing = self.loading.quantizing;
        match quantizing.and_then(|quantizing| quantizing.format(name, shape)) {
            Some(format) => self.quantized(name, shape, format),
            None => Ok(self.tensor(name, shape)?.into()),
        }
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, CheckpointError> {
        self.tensor(name, [len])
    }

    fn experts(
        &mut self,
        name: &str,
        shape: ExpertsShape,
    ) -> Result<[DecoderMatrix; 3], CheckpointError> {
        // As transformers 5 holds them, and writes them where it is told to: an expert's rows of gate before those of up.
        let [gate_up, down] = ["gate_up_proj", "down_proj"].map(|part| format!("{name}.{part}"));
        if self.checkpoint.find(&gate_up).is_none() {
            return load_experts(self, name, shape);
        }
        let ExpertsShape {
            n_experts,
            intermediate,
            hidden,
            ..
        } = shape;
        let gate_up = self.stacked(&gate_up, [n_experts, 2 * intermediate, hidden])?;
        let half = |first: usize| {
            let of_expert = |expert: usize| {
                let start = (2 * expert + first) * intermediate;
                gate_up.rows(start..start + intermediate)
            };
            let matrices: Vec<DecoderMatrix> = (0..n_experts).map(of_expert).collect();
            DecoderMatrix::below_each_other(&matrices)
        };
        Ok([
            half(0),
            half(1),
            self.stacked(&down, [n_experts, hidden, intermediate])?,
        ])
    }
}
