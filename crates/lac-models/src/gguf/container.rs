//! One GGUF file: its header, compared with what follows it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lac_kernels::quantized::BlockFormat;

use super::cursor::{Cursor, Fault};
use super::error::{GgufError, unreadable};
use super::header::{Header, TensorEntry};
use super::metadata::Metadata;
use super::tensor_info::{TensorInfo, type_name};
use crate::file::{self, FileForm, ModelFile, excerpt};

/// The key of the number whose multiples tensors begin at, counted from the first one.
const ALIGNMENT: &str = "general.alignment";

/// One file, open.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) path: PathBuf,
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, TensorInfo>,
    file: ModelFile,
}

impl Container {
    pub(super) fn open(path: &Path) -> Result<Self, GgufError> {
        let malformed = |fault| match fault {
            Fault::File(source) => unreadable(path)(source),
            Fault::Reason(reason) => GgufError::Malformed {
                path: path.to_owned(),
                reason,
            },
        };
        let file = file::open_as(path, FileForm::Gguf).map_err(unreadable(path))?;
        let file_len = file.size().map_err(unreadable(path))?;
        if file_len == 0 {
            return Err(malformed(Fault::Reason("it is empty".to_owned())));
        }
        let again = file.again().map_err(unreadable(path))?;
        let header = Header::read(&mut Cursor::new(again, file_len)).map_err(malformed)?;
        let metadata = Metadata::new(path, header.values);
        let alignment = alignment(&metadata)?;
        // A header is shorter than its file, so neither number comes near its type's end.
        let data_start = header.end.next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for entry in header.tensors {
            let name = entry.name.clone();
            let info = tensor_info(path, entry, data_start, alignment, file_len)?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(tensor_error(path, &name, "stands in it twice".to_owned()));
            }
        }
        check_overlaps(path, &tensors)?;
        Ok(Self {
            path: path.to_owned(),
            metadata,
            tensors,
            file,
        })
    }

    /// Fills `bytes` with a tensor's bytes from `start` on. Several threads may do so at the same time.
    pub(super) fn read(
        &self,
        info: &TensorInfo,
        start: u64,
        bytes: &mut [u8],
    ) -> Result<(), GgufError> {
        let read = self.file.read_exact_at(info.start + start, bytes);
        read.map_err(|source| match source.kind() {
            std::io::ErrorKind::UnexpectedEof => GgufError::Malformed {
                path: self.path.clone(),
                reason: "it was cut off while it was being read".to_owned(),
            },
            _ => unreadable(&self.path)(source),
        })
    }
}

fn alignment(metadata: &Metadata) -> Result<u64, GgufError> {
    let alignment = metadata.integer(ALIGNMENT)?.unwrap_or(32);
    if alignment.is_power_of_two() && alignment <= 1 << 30 {
        return Ok(alignment);
    }
    Err(metadata.invalid(ALIGNMENT, "a power of two"))
}

/// Compares a tensor's entry with the file.
fn tensor_info(
    path: &Path,
    entry: TensorEntry,
    data_start: u64,
    alignment: u64,
    file_len: u64,
) -> Result<TensorInfo, GgufError> {
    let TensorEntry {
        name,
        dimensions,
        ggml_type,
        offset,
    } = entry;
    let wrong = |problem: String| tensor_error(path, &name, problem);
    let Some(format) = BlockFormat::from_ggml_type(ggml_type) else {
        return Err(GgufError::TensorType {
            path: path.to_owned(),
            name: excerpt(&name),
            tensor_type: type_name(ggml_type),
        });
    };
    let n_bytes = n_bytes(format, &dimensions).map_err(wrong)?;
    if !offset.is_multiple_of(alignment) {
        return Err(wrong(format!(
            "begins at {offset}, expected a multiple of the alignment {alignment}"
        )));
    }
    let start = data_start.checked_add(offset);
    let end = start.and_then(|start| start.checked_add(n_bytes));
    match (start, end) {
        (Some(start), Some(end)) if end <= file_len => Ok(TensorInfo {
            shape: dimensions.iter().rev().map(|&size| size as usize).collect(),
            format,
            start,
            n_bytes,
        }),
        _ => Err(wrong(format!(
            "has {n_bytes} bytes that begin {offset} bytes behind the header, which ends at {data_start}, and the \
             file has {file_len} bytes in all; was it cut off?"
        ))),
    }
}

/// Returns how many bytes a tensor of these dimensions, innermost first, takes; or why none can have them.
fn n_bytes(format: BlockFormat, dimensions: &[u64]) -> Result<u64, String> {
    let shape = || format!("{:?}", dimensions.iter().rev().collect::<Vec<_>>());
    if dimensions.contains(&0) {
        return Err(format!("has the shape {}, without any values", shape()));
    }
    let too_large = || format!("has the shape {}, larger than any memory", shape());
    let n_rows = dimensions[1..]
        .iter()
        .try_fold(1u64, |n, &size| n.checked_mul(size));
    let n_rows = n_rows.ok_or_else(too_large)?;
    let width = usize::try_from(dimensions[0]).map_err(|_| too_large())?;
    if !width.is_multiple_of(format.block_len()) {
        return Err(format!(
            "has rows of {width} values, which are no whole number of {format} blocks of {}",
            format.block_len()
        ));
    }
    let row_bytes = format.row_bytes(width).ok_or_else(too_large)?;
    let n_values = n_rows.checked_mul(dimensions[0]).ok_or_else(too_large)?;
    // Values are counted in a signed size where they become tensors.
    if n_values > i64::MAX as u64 / 4 {
        return Err(too_large());
    }
    n_rows.checked_mul(row_bytes as u64).ok_or_else(too_large)
}

/// Checks that no two tensors share bytes.
fn check_overlaps(path: &Path, tensors: &BTreeMap<String, TensorInfo>) -> Result<(), GgufError> {
    let mut in_order: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    in_order.sort_by_key(|(_, info)| info.start);
    for pair in in_order.windows(2) {
        let [(before, first), (name, second)] = pair else {
            continue;
        };
        if first.start + first.n_bytes > second.start {
            let problem = format!("begins before the tensor {} ends", excerpt(before));
            return Err(tensor_error(path, name, problem));
        }
    }
    Ok(())
}

fn tensor_error(path: &Path, name: &str, problem: String) -> GgufError {
    GgufError::Tensor {
        path: path.to_owned(),
        name: excerpt(name),
        problem,
    }
}
