//! One safetensors file: its header, checked, and its tensors, mapped one by one.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use memmap2::{Mmap, MmapOptions};
use safetensors::tensor::{SafeTensorError, SafeTensors, TensorInfo};
use serde::de::IgnoredAny;
use serde_json::Value;

use super::unique::UniqueMap;
use super::values::{Unusable, convert};
use super::{CheckpointError, WeightDtype, unreadable};
use crate::file::{self, excerpt};

pub(super) struct Shard {
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Where the tensors' bytes start, behind the header.
    pub(super) data_start: u64,
    pub(super) tensors: HashMap<String, TensorInfo>,
}

impl Shard {
    pub(super) fn open(path: &Path) -> Result<Self, CheckpointError> {
        let malformed = |reason: String| CheckpointError::Malformed {
            path: path.to_owned(),
            reason,
        };
        let file = file::open(path).map_err(unreadable(path))?;
        let len = file.metadata().map_err(unreadable(path))?.len();
        if len == 0 {
            return Err(malformed("it is empty".to_owned()));
        }
        let mapping = map(&file, path, 0, len as usize)?;
        let (header_len, metadata) = SafeTensors::read_metadata(&mapping)
            .map_err(|error| malformed(explain(&error, &mapping)))?;
        // The library keeps the last of several tensors of one name.
        let header = &mapping[8..8 + header_len];
        if let Err(error) = serde_json::from_slice::<UniqueMap<IgnoredAny>>(header) {
            return Err(malformed(format!("its header: {error}")));
        }
        let tensors = metadata
            .tensors()
            .into_iter()
            .map(|(name, info)| (name, info.clone()))
            .collect();
        Ok(Self {
            path: path.to_owned(),
            file,
            data_start: 8 + header_len as u64,
            tensors,
        })
    }

    /// Reads a tensor's bytes as values of the wanted data type.
    pub(super) fn read(
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
        let (path, name) = (self.path.clone(), name.to_owned());
        convert(bytes, info.dtype, &info.shape, dtype).map_err(|unusable| match unusable {
            Unusable::Dtype => CheckpointError::WrongDtype {
                path,
                name,
                dtype: format!("{:?}", info.dtype),
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
                dtype: dtype.name(),
            },
        })
    }
}

/// Maps a part of a file.
pub(super) fn map(
    file: &File,
    path: &Path,
    offset: u64,
    len: usize,
) -> Result<Mmap, CheckpointError> {
    // SAFETY: the mapping is only read, and only while `self` of this crate holds the file open.
    // Another program that shortens the file meanwhile could make a read fault; that is the one
    // promise mapped weights ask of a user, and docs/ARCHITECTURE.md states it.
    unsafe { MmapOptions::new().offset(offset).len(len).map(file) }.map_err(unreadable(path))
}

/// What is wrong with a header, in words that help.
fn explain(error: &SafeTensorError, file: &[u8]) -> String {
    let len = file.len();
    let Some((announced, rest)) = file.split_first_chunk::<8>() else {
        return format!("it has {len} bytes, and its header's length alone takes 8");
    };
    let header_len = u64::from_le_bytes(*announced);
    match error {
        SafeTensorError::HeaderTooLarge => {
            format!("it announces a header of {header_len} bytes, at most 100000000 are read")
        }
        SafeTensorError::InvalidHeaderLength => format!(
            "it announces a header of {header_len} bytes and has {len} in all; was it cut off?"
        ),
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its header does not describe its {len} bytes; was it cut off?")
        }
        error => {
            let header = usize::try_from(header_len).ok().and_then(|n| rest.get(..n));
            header
                .and_then(faulty_tensor)
                .unwrap_or_else(|| excerpt(&error.to_string()))
        }
    }
}

/// The first tensor, in the order of the file, whose entry makes no sense, and why.
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
