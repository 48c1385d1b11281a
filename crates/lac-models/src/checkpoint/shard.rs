//! One safetensors file: a header, which is checked, and tensors, which are read one by one.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use lac_kernels::quantized::{BlockFormat, QuantizedMatrix};
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::dtype::WeightDtype;
use super::error::{CheckpointError, unreadable};
use super::hash::{PIECE_BYTES, TensorHash, hash_pieces};
use super::hints;
use super::quantize::quantize;
use super::unique::UniqueMap;
use super::values::{BLOCK_BYTES, Unusable, convert};
use crate::file::{self, ModelFile, excerpt};

/// The longest header that the safetensors library reads.
const MAX_HEADER_LEN: u64 = 100_000_000;

#[derive(Debug)]
pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) file: ModelFile,
    /// Where the tensors' bytes start, behind the header.
    pub(super) data_start: u64,
    pub(super) tensors: HashMap<String, TensorInfo>,
    /// What the header says beside the tensors. `safetensors.torch.save_model` writes a tensor that has two names once,
    /// and notes here the name that it left out with the one that it kept.
    pub(super) shared: HashMap<String, String>,
}

impl Shard {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let malformed = |reason: String| CheckpointError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let file = file::open(path).map_err(unreadable(path))?;
        let len = file.size().map_err(unreadable(path))?;
        if len == 0 {
            return Err(malformed("it is empty".to_owned()));
        }
        if len < 8 {
            let reason = format!("it has {len} bytes, and its header's length alone takes 8");
            return Err(malformed(reason));
        }
        let mut header_len = [0; 8];
        read_at(&file, path, 0, &mut header_len)?;
        let header_len = u64::from_le_bytes(header_len);
        if header_len > MAX_HEADER_LEN {
            return Err(malformed(format!(
                "it announces a header of {header_len} bytes, at most {MAX_HEADER_LEN} are read"
            )));
        }
        let data_start = 8 + header_len;
        if data_start > len {
            return Err(malformed(format!(
                "it announces a header of {header_len} bytes and has {len} in all; was it cut off?"
            )));
        }
        let mut header = vec![0; header_len as usize];
        read_at(&file, path, 8, &mut header)?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| {
            malformed(faulty_tensor(&header).unwrap_or_else(|| excerpt(&error.to_string())))
        })?;
        // The library keeps the last of several tensors of one name and reports nothing.
        if let Err(error) = serde_json::from_slice::<UniqueMap<IgnoredAny>>(&header) {
            return Err(malformed(format!("its header: {error}")));
        }
        if data_start.checked_add(metadata.data_len() as u64) != Some(len) {
            return Err(malformed(format!(
                "its header does not describe its {len} bytes; was it cut off?"
            )));
        }
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
            shared: metadata.metadata().clone().unwrap_or_default(),
        })
    }

    /// Reads a tensor, hashes its bytes and converts its values.
    pub(super) fn read(
        &self,
        name: &str,
        info: &TensorInfo,
        dtype: WeightDtype,
    ) -> Result<(TensorData, TensorHash), CheckpointError> {
        let read = |start: usize, bytes: &mut [u8]| self.read_bytes(info, start, bytes);
        let len = n_bytes(info) as usize;
        convert(read, len, info.dtype, &info.shape, dtype)
            .map_err(|unusable| self.unusable(name, info, unusable, dtype.name()))
    }

    /// Reads a matrix, hashes its bytes and quantises its values to blocks of which its rows are a whole number.
    pub(super) fn quantize(
        &self,
        name: &str,
        info: &TensorInfo,
        shape: [usize; 2],
        format: BlockFormat,
    ) -> Result<(QuantizedMatrix, TensorHash), CheckpointError> {
        let read = |start: usize, bytes: &mut [u8]| self.read_bytes(info, start, bytes);
        let len = n_bytes(info) as usize;
        quantize(read, len, info.dtype, shape, format)
            .map_err(|unusable| self.unusable(name, info, unusable, format.name()))
    }

    /// Names the tensor that cannot be used, and the type that was asked for.
    fn unusable(
        &self,
        name: &str,
        info: &TensorInfo,
        unusable: Unusable,
        asked: &'static str,
    ) -> CheckpointError {
        let (path, name) = (self.path.clone(), name.to_owned());
        match unusable {
            Unusable::File(error) => error,
            Unusable::Dtype => CheckpointError::WrongDtype {
                path,
                name,
                dtype: format!("{:?}", info.dtype),
                kind: hints::kind(self.tensors.keys()),
            },
            Unusable::Blocks(error) => CheckpointError::Malformed {
                path,
                reason: format!("the tensor {name} cannot be quantised: {error}"),
            },
            Unusable::NotFinite { at, value } => CheckpointError::NotFinite {
                path,
                name,
                at,
                value,
            },
            Unusable::TooLarge { at, value } => CheckpointError::TooLarge {
                path,
                name,
                at,
                value,
                dtype: asked,
            },
        }
    }

    /// Hashes a tensor's bytes without keeping them.
    pub(super) fn hash(&self, info: &TensorInfo) -> Result<TensorHash, CheckpointError> {
        let len = n_bytes(info) as usize;
        let starts = (0..len).step_by(PIECE_BYTES);
        hash_pieces(starts, len, |_, piece_start, hasher| {
            let piece_end = len.min(piece_start + PIECE_BYTES);
            let mut block = vec![0; BLOCK_BYTES.min(len)];
            for start in (piece_start..piece_end).step_by(BLOCK_BYTES) {
                let block = &mut block[..BLOCK_BYTES.min(piece_end - start)];
                self.read_bytes(info, start, block)?;
                hasher.update(block);
            }
            Ok(())
        })
    }

    /// Fills `bytes` with a tensor's bytes from `start` on.
    pub(super) fn read_bytes(
        &self,
        info: &TensorInfo,
        start: usize,
        bytes: &mut [u8],
    ) -> Result<(), CheckpointError> {
        let offset = self.data_start + (info.data_offsets.0 + start) as u64;
        read_at(&self.file, &self.path, offset, bytes)
    }
}

/// Returns how many bytes a tensor has in its file.
pub(super) fn n_bytes(info: &TensorInfo) -> u64 {
    (info.data_offsets.1 - info.data_offsets.0) as u64
}

/// Fills `bytes` from an offset of a file. Several threads may do so at the same time.
fn read_at(
    file: &ModelFile,
    path: &Path,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), CheckpointError> {
    file.read_exact_at(offset, bytes)
        .map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => CheckpointError::Malformed {
                path: path.to_owned(),
                reason: "it was cut off while it was being read".to_owned(),
            },
            _ => unreadable(path)(error),
        })
}

/// Returns which tensor, the first in the order of the file, has an impossible entry, and why.
fn faulty_tensor(header: &[u8]) -> Option<String> {
    let entries = match serde_json::from_slice::<UniqueMap<Value>>(header) {
        Ok(UniqueMap(entries)) => entries,
        Err(error) => return Some(format!("its header: {}", excerpt(&error.to_string()))),
    };
    let mut tensors = Vec::new();
    for (name, entry) in entries {
        if name == "__metadata__" {
            continue;
        }
        match serde_json::from_value::<TensorInfo>(entry) {
            Ok(info) => tensors.push((name, info)),
            Err(error) => {
                let error = excerpt(&error.to_string());
                return Some(format!("the tensor {}: {error}", excerpt(&name)));
            }
        }
    }
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let mut expected_start = 0;
    for (name, info) in &tensors {
        let (start, end) = info.data_offsets;
        let place = || {
            let (shape, dtype) = (excerpt(&format!("{:?}", info.shape)), info.dtype);
            format!("the tensor {}, {dtype:?} {shape},", excerpt(name))
        };
        if start != expected_start || end < start {
            return Some(format!(
                "{} stands in bytes {start} to {end}, expected to begin at {expected_start}: tensors \
                 follow one another without gaps",
                place()
            ));
        }
        let n_bits = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize(), |n, &size| n.checked_mul(size));
        if n_bits.is_none_or(|n_bits| n_bits % 8 != 0 || n_bits / 8 != end - start) {
            let n_bytes = end - start;
            return Some(format!("{} does not fill its {n_bytes} bytes", place()));
        }
        expected_start = end;
    }
    None
}
