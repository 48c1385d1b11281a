//! The weights of a GGUF file, for a decoder.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use half::{bf16, f16};
use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};

use super::error::GgufError;
use super::files::Gguf;
use super::layout::{Layout, is_redundant, restore_rows};
use super::tensor_info::is_quantised;
use super::values::StoredTensor;
use crate::checkpoint::hash::TensorHash;
use crate::checkpoint::{Loading, WeightDtype};
use crate::decoder::{DecoderMatrix, ExpertsShape, TensorSource, load_experts};
use crate::file::excerpt;
use crate::hash::FieldHasher;

/// The weights of a GGUF file under the names of a checkpoint, with their rows in a checkpoint's order.
///
/// A tensor is read when it is asked for, a piece at a time. So loading takes hardly more memory than the loaded
/// weights, and a file that is cut off meanwhile is an error.
#[derive(Debug)]
pub struct GgufWeights<'a> {
    gguf: &'a Gguf,
    layout: Layout,
    head_dim: usize,
    /// Hashes of the tensors that have been read, by their names in the file.
    read: BTreeMap<String, TensorHash>,
}

impl<'a> GgufWeights<'a> {
    pub(super) fn new(gguf: &'a Gguf, layout: Layout, head_dim: usize) -> Self {
        Self {
            gguf,
            layout,
            head_dim,
            read: BTreeMap::new(),
        }
    }

    /// Makes a source of a decoder's tensors.
    pub(crate) fn load_from<'b>(&'b mut self, loading: Loading<'b>) -> GgufSource<'b, 'a> {
        let loading = loading.of_bytes(self.gguf.n_bytes());
        GgufSource {
            keeps_blocks: loading.keeps_blocks && self.gguf.is_quantised(),
            loading,
            weights: self,
        }
    }

    /// Reads a matrix of a checkpoint as it is quantised, `[out, in]`; `None` where it is not.
    ///
    /// # Errors
    /// The tensor is missing, has another shape, holds values that are not finite, or cannot be read.
    pub fn quantized(
        &mut self,
        name: &str,
        shape: [usize; 2],
    ) -> Result<Option<QuantizedMatrix>, GgufError> {
        if is_quantised(self.stored(name, &shape)?.info.format) {
            return self.matrix(name, shape).map(Some);
        }
        Ok(None)
    }

    /// Reads a matrix of a checkpoint as it lies in the file, `[out, in]`, in blocks or plain numbers.
    ///
    /// # Errors
    /// Those of [`quantized`](Self::quantized).
    pub fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<QuantizedMatrix, GgufError> {
        let (matrix, _) = self.blocks(name, &shape, shape, None)?;
        Ok(matrix)
    }

    /// Reads a matrix of a checkpoint, `[out, in]`, as it lies in the file or quantised to another format, and the number
    /// of its bytes in the file, where its tensor may have more axes.
    fn blocks(
        &mut self,
        name: &str,
        in_file: &[usize],
        shape: [usize; 2],
        format: Option<BlockFormat>,
    ) -> Result<(QuantizedMatrix, u64), GgufError> {
        let stored = self.stored(name, in_file)?;
        let (mut bytes, hash) = match format {
            None => stored.bytes()?,
            Some(format) => stored.quantize(format)?,
        };
        if self.layout.is_permuted(name) {
            let row_bytes = bytes.len() / shape[0];
            restore_rows(&mut bytes, row_bytes, self.head_dim);
        }
        let format = format.unwrap_or(stored.info.format);
        let matrix = QuantizedMatrix::new(format, shape, Arc::new(bytes), 0);
        let matrix = matrix.map_err(|error| GgufError::Tensor {
            path: stored.container.path.clone(),
            name: stored.name.to_owned(),
            problem: format!("cannot be read: {error}"),
        })?;
        self.read.insert(stored.name.to_owned(), hash);
        Ok((matrix, stored.info.n_bytes))
    }

    /// Reads a tensor of a checkpoint and converts its values.
    fn values(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: WeightDtype,
    ) -> Result<(TensorData, u64), GgufError> {
        let stored = self.stored(name, shape)?;
        let n_bytes = stored.info.n_bytes;
        let gguf_name = stored.name.to_owned();
        if self.layout.is_one_more(name) {
            return self.norm_weight(stored);
        }
        let (mut data, hash) = stored.values(dtype)?;
        if self.layout.is_permuted(name) {
            let row_len = shape[1..].iter().product();
            match dtype {
                WeightDtype::F32 => self.restore::<f32>(&mut data, row_len),
                WeightDtype::F16 => self.restore::<f16>(&mut data, row_len),
                WeightDtype::Bf16 => self.restore::<bf16>(&mut data, row_len),
            }
        }
        self.read.insert(gguf_name, hash);
        Ok((data, n_bytes))
    }

    /// Reads the weight of a norm to which the file has added 1, in f32.
    fn norm_weight(&mut self, stored: StoredTensor<'_>) -> Result<(TensorData, u64), GgufError> {
        let (mut data, hash) = stored.values(WeightDtype::F32)?;
        // The values were collected in this type.
        if let Ok(values) = data.as_mut_slice::<f32>() {
            values.iter_mut().for_each(|value| *value -= 1.0);
        }
        self.read.insert(stored.name.to_owned(), hash);
        Ok((data, stored.info.n_bytes))
    }

    fn restore<T: burn::tensor::Element>(&self, data: &mut TensorData, row_len: usize) {
        // The values were collected in this type.
        if let Ok(values) = data.as_mut_slice::<T>() {
            restore_rows(values, row_len, self.head_dim);
        }
    }

    /// Returns a tensor of a checkpoint, if the file has it.
    fn find(&self, name: &str) -> Option<StoredTensor<'a>> {
        stored(self.gguf, &self.layout.gguf_name(name)?)
    }

    /// Checks that a kind of matrices has one format in all experts of a layer, which are put together.
    fn check_experts(&self, name: &str, part: &str, n_experts: usize) -> Result<(), GgufError> {
        let find = |expert: usize| self.find(&format!("{name}.{expert}.{part}.weight"));
        let first = find(0).map(|stored| stored.info.format);
        let found = (1..n_experts).map_while(find);
        for stored in found {
            if let Some(first) = first.filter(|first| *first != stored.info.format) {
                return Err(GgufError::Tensor {
                    path: stored.container.path.clone(),
                    name: stored.name.to_owned(),
                    problem: format!(
                        "is in {}, but the same matrix of the layer's first expert in {first}: expected one format for all experts",
                        stored.info.format
                    ),
                });
            }
        }
        Ok(())
    }

    fn stored(&self, name: &str, expected: &[usize]) -> Result<StoredTensor<'a>, GgufError> {
        let in_file = self
            .layout
            .gguf_name(name)
            .unwrap_or_else(|| name.to_owned());
        let Some(stored) = stored(self.gguf, &in_file) else {
            return Err(GgufError::MissingTensor {
                path: self.gguf.path().to_owned(),
                name: in_file,
                expected: expected.to_vec(),
            });
        };
        if stored.info.shape != expected {
            return Err(GgufError::WrongShape {
                path: stored.container.path.clone(),
                name: in_file,
                actual: stored.info.shape.clone(),
                expected: expected.to_vec(),
            });
        }
        Ok(stored)
    }

    /// Checks that every tensor of the files was loaded, but those that follow from the metadata.
    ///
    /// # Errors
    /// [`GgufError::UnexpectedTensors`].
    pub(crate) fn finish(&self) -> Result<(), GgufError> {
        let names = self.gguf.tensors().map(|(name, _)| name);
        let unexpected: Vec<&str> = names
            .filter(|name| !self.read.contains_key(*name) && !is_redundant(name))
            .collect();
        let Some(first) = unexpected.first() else {
            return Ok(());
        };
        let metadata = self.gguf.metadata();
        Err(GgufError::UnexpectedTensors {
            path: self.gguf.path().to_owned(),
            count: unexpected.len(),
            first: excerpt(first),
            architecture: metadata
                .text("general.architecture")?
                .unwrap_or("")
                .to_owned(),
        })
    }

    /// Hashes the weights: every tensor's name, type, shape and bytes in the file. Tensors that were loaded were hashed
    /// while they were read; the others are read here. The hash does not depend on the order of the tensors in the
    /// files, or the number of files.
    ///
    /// # Errors
    /// A file that cannot be read, or was cut off meanwhile.
    pub(crate) fn hash(&self) -> Result<String, GgufError> {
        let mut hasher = FieldHasher::default();
        for (name, info) in self.gguf.tensors() {
            if is_redundant(name) {
                continue;
            }
            let hash = match (self.read.get(name), stored(self.gguf, name)) {
                (Some(hash), _) => *hash,
                (None, Some(stored)) => stored.hash()?,
                (None, None) => continue,
            };
            hasher.field(name);
            hasher.field(format!("{} {:?}", info.format, info.shape));
            hasher.field(hash.as_bytes());
        }
        Ok(hasher.finish())
    }
}

/// Returns a tensor by its name in the file.
pub(super) fn stored<'a>(gguf: &'a Gguf, name: &str) -> Option<StoredTensor<'a>> {
    let (container, info) = gguf.find(name)?;
    let (name, _) = container.tensors.get_key_value(name)?;
    Some(StoredTensor {
        name,
        container,
        info,
    })
}

/// Reads a tensor by its name in the file, in f32 and with its rows as they stand there. The second value is the number
/// of bytes that were read.
pub(crate) fn file_values(gguf: &Gguf, name: &str) -> Result<(TensorData, u64), GgufError> {
    let Some(stored) = stored(gguf, name) else {
        return Err(GgufError::MissingTensor {
            path: gguf.path().to_owned(),
            name: name.to_owned(),
            expected: Vec::new(),
        });
    };
    let (data, _) = stored.values(WeightDtype::F32)?;
    Ok((data, stored.info.n_bytes))
}

/// Weights as a source of a decoder's tensors on one device.
#[derive(Debug)]
pub(crate) struct GgufSource<'b, 'a> {
    weights: &'b mut GgufWeights<'a>,
    loading: Loading<'b>,
    /// Whether matrices stay as they are in the file: where some are quantised, those of plain numbers are multiplied as
    /// they are, too.
    keeps_blocks: bool,
}

impl GgufSource<'_, '_> {
    fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
    ) -> Result<Tensor<D>, GgufError> {
        let (data, n_bytes) = self
            .weights
            .values(name, &shape, self.loading.config.dtype)?;
        Ok(self.loading.tensor(data, n_bytes))
    }

    /// Reads a tensor of the file as a matrix: what lies along all axes but the last are its rows.
    fn matrix_of<const D: usize>(
        &mut self,
        name: &str,
        in_file: [usize; D],
    ) -> Result<DecoderMatrix, GgufError> {
        let width = in_file[D - 1];
        let shape = [in_file[..D - 1].iter().product(), width];
        let is_vector = |stored: Option<StoredTensor<'_>>| {
            stored.is_some_and(|stored| stored.info.shape.len() == 1)
        };
        // llama.cpp's converter makes a vector of a matrix of one row.
        if shape[0] == 1 && is_vector(self.weights.find(name)) {
            return Ok(self.tensor::<1>(name, [width])?.reshape(shape).into());
        }
        let quantizing = self.loading.quantizing;
        let format = quantizing.and_then(|quantizing| quantizing.format(name, shape));
        if format.is_some() || self.keeps_blocks {
            let (matrix, n_bytes) = self.weights.blocks(name, &in_file, shape, format)?;
            return Ok(self.loading.quantized(matrix, n_bytes));
        }
        Ok(self.tensor::<D>(name, in_file)?.reshape(shape).into())
    }
}

impl TensorSource for GgufSource<'_, '_> {
    type Error = GgufError;

    fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<DecoderMatrix, GgufError> {
        self.matrix_of(name, shape)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Tensor<1>, GgufError> {
        self.tensor(name, [len])
    }

    /// The file has one tensor for each kind, or in older files one for each expert and kind.
    fn experts(
        &mut self,
        name: &str,
        shape: ExpertsShape,
    ) -> Result<[DecoderMatrix; 3], GgufError> {
        let ExpertsShape {
            n_experts,
            intermediate,
            hidden,
            ..
        } = shape;
        if self
            .weights
            .find(&format!("{name}.0.gate_proj.weight"))
            .is_some()
        {
            for part in ["gate_proj", "up_proj", "down_proj"] {
                self.weights.check_experts(name, part, n_experts)?;
            }
            return load_experts(self, name, shape);
        }
        let mut kind = |part: &str, [rows, width]: [usize; 2]| {
            self.matrix_of(&format!("{name}.{part}.weight"), [n_experts, rows, width])
        };
        Ok([
            kind("gate_proj", [intermediate, hidden])?,
            kind("up_proj", [intermediate, hidden])?,
            kind("down_proj", [hidden, intermediate])?,
        ])
    }
}
