//! The header of a GGUF file: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;

use super::cursor::{Cursor, Fault};
use super::metadata::{MetadataArray, MetadataValue};
use crate::file::excerpt;

/// Arrays of arrays are read to this depth. None are known in published files.
const MAX_DEPTH: usize = 4;

/// The fewest bytes that a key with its value takes: two lengths or numbers, and a value of a byte.
const MIN_ENTRY_BYTES: u64 = 13;

/// The fewest bytes that a tensor's entry takes: one dimension, and no name.
const MIN_TENSOR_BYTES: u64 = 32;

/// What a header says, not yet compared with the file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) values: BTreeMap<String, MetadataValue>,
    pub(super) tensors: Vec<TensorEntry>,
    /// Where the header ends.
    pub(super) end: u64,
}

/// A tensor's entry as it stands in the header.
#[derive(Debug)]
pub(super) struct TensorEntry {
    pub(super) name: String,
    /// Innermost dimension first.
    pub(super) dimensions: Vec<u64>,
    pub(super) ggml_type: u32,
    /// Counted from the beginning of the tensors.
    pub(super) offset: u64,
}

impl Header {
    pub(super) fn read(cursor: &mut Cursor) -> Result<Self, Fault> {
        check_magic(cursor)?;
        let n_tensors = cursor.u64()?;
        let n_values = cursor.u64()?;
        cursor.check_room(n_values, MIN_ENTRY_BYTES, "keys of metadata")?;
        cursor.check_room(n_tensors, MIN_TENSOR_BYTES, "tensors")?;

        let mut values = BTreeMap::new();
        for entry_idx in 0..n_values {
            let key = cursor
                .text()
                .map_err(|fault| fault.within(&format!("key {entry_idx} of the metadata")))?;
            let value = read_value(cursor)
                .map_err(|fault| fault.within(&format!("the metadata's {}", excerpt(&key))))?;
            if values.contains_key(&key) {
                let reason = format!("the metadata has {} twice", excerpt(&key));
                return Err(Fault::Reason(reason));
            }
            values.insert(key, value);
        }
        let mut tensors = Vec::new();
        for tensor_idx in 0..n_tensors {
            let name = cursor
                .text()
                .map_err(|fault| fault.within(&format!("the name of tensor {tensor_idx}")))?;
            let entry = read_entry(cursor, name)?;
            tensors.push(entry);
        }
        Ok(Self {
            values,
            tensors,
            end: cursor.position(),
        })
    }
}

impl Fault {
    /// Says what was being read.
    fn within(self, what: &str) -> Self {
        match self {
            Self::Reason(reason) => Self::Reason(format!("{what}: {reason}")),
            Self::File(error) => Self::File(error),
        }
    }
}

/// Reads the first eight bytes and checks that they are those of version 2 or 3.
fn check_magic(cursor: &mut Cursor) -> Result<(), Fault> {
    let magic: [u8; 4] = cursor.bytes()?;
    let reason = match &magic {
        b"GGUF" => None,
        b"tjgg" | b"fmgg" | b"lmgg" => Some(
            "it is of a format before GGUF: convert the original model with a newer llama.cpp"
                .to_owned(),
        ),
        _ => Some(format!(
            "it begins with {}, expected GGUF",
            magic.escape_ascii()
        )),
    };
    if let Some(reason) = reason {
        return Err(Fault::Reason(reason));
    }
    match cursor.u32()? {
        2 | 3 => Ok(()),
        version if (1..1 << 16).contains(&version.swap_bytes()) => Err(Fault::Reason(format!(
            "its numbers are big-endian (version {}), expected little-endian ones: convert it for this machine",
            version.swap_bytes()
        ))),
        version => Err(Fault::Reason(format!(
            "it is of version {version}, expected 2 or 3: convert the original model with a newer llama.cpp"
        ))),
    }
}

fn read_value(cursor: &mut Cursor) -> Result<MetadataValue, Fault> {
    const ARRAY: u32 = 9;
    let number = cursor.u32()?;
    if number == ARRAY {
        return Ok(MetadataValue::Array(read_array(cursor, 1)?));
    }
    // A single value is read as an array of one.
    let one = read_values(cursor, number, 1, 0)?;
    let value = match one {
        MetadataArray::U8(value) => value
            .first()
            .map(|&value| MetadataValue::Unsigned(value.into())),
        MetadataArray::U16(value) => value
            .first()
            .map(|&value| MetadataValue::Unsigned(value.into())),
        MetadataArray::U32(value) => value
            .first()
            .map(|&value| MetadataValue::Unsigned(value.into())),
        MetadataArray::U64(value) => value.first().copied().map(MetadataValue::Unsigned),
        MetadataArray::I8(value) => value
            .first()
            .map(|&value| MetadataValue::Signed(value.into())),
        MetadataArray::I16(value) => value
            .first()
            .map(|&value| MetadataValue::Signed(value.into())),
        MetadataArray::I32(value) => value
            .first()
            .map(|&value| MetadataValue::Signed(value.into())),
        MetadataArray::I64(value) => value.first().copied().map(MetadataValue::Signed),
        MetadataArray::F32(value) => value.first().copied().map(MetadataValue::F32),
        MetadataArray::F64(value) => value.first().copied().map(MetadataValue::F64),
        MetadataArray::Bool(value) => value.first().copied().map(MetadataValue::Bool),
        MetadataArray::Text(value) => value.into_iter().next().map(MetadataValue::Text),
        array @ MetadataArray::Array(_) => Some(MetadataValue::Array(array)),
    };
    value.ok_or_else(|| Fault::Reason("it has no value".to_owned()))
}

/// Reads an array that lies `depth` arrays deep, itself included.
fn read_array(cursor: &mut Cursor, depth: usize) -> Result<MetadataArray, Fault> {
    if depth > MAX_DEPTH {
        let reason = format!("its arrays lie in one another more than {MAX_DEPTH} deep");
        return Err(Fault::Reason(reason));
    }
    let number = cursor.u32()?;
    let count = cursor.u64()?;
    read_values(cursor, number, count, depth)
}

/// Reads values of the type of that number.
fn read_values(
    cursor: &mut Cursor,
    number: u32,
    count: u64,
    depth: usize,
) -> Result<MetadataArray, Fault> {
    Ok(match number {
        0 => MetadataArray::U8(cursor.numbers(count, u8::from_le_bytes)?),
        1 => MetadataArray::I8(cursor.numbers(count, i8::from_le_bytes)?),
        2 => MetadataArray::U16(cursor.numbers(count, u16::from_le_bytes)?),
        3 => MetadataArray::I16(cursor.numbers(count, i16::from_le_bytes)?),
        4 => MetadataArray::U32(cursor.numbers(count, u32::from_le_bytes)?),
        5 => MetadataArray::I32(cursor.numbers(count, i32::from_le_bytes)?),
        6 => MetadataArray::F32(cursor.numbers(count, f32::from_le_bytes)?),
        7 => {
            let values = cursor.numbers(count, |[byte]: [u8; 1]| byte)?;
            if let Some(value) = values.iter().find(|&&value| value > 1) {
                let reason = format!("it holds {value} where 0 (false) or 1 (true) is expected");
                return Err(Fault::Reason(reason));
            }
            MetadataArray::Bool(values.into_iter().map(|value| value == 1).collect())
        }
        8 => {
            cursor.check_room(count, 8, "texts")?;
            let mut texts = Vec::new();
            for text_idx in 0..count {
                let text = cursor.text();
                texts.push(text.map_err(|fault| fault.within(&format!("text {text_idx}")))?);
            }
            MetadataArray::Text(texts)
        }
        9 => {
            cursor.check_room(count, 12, "arrays")?;
            let mut arrays = Vec::new();
            for _ in 0..count {
                arrays.push(read_array(cursor, depth + 1)?);
            }
            MetadataArray::Array(arrays)
        }
        10 => MetadataArray::U64(cursor.numbers(count, u64::from_le_bytes)?),
        11 => MetadataArray::I64(cursor.numbers(count, i64::from_le_bytes)?),
        12 => MetadataArray::F64(cursor.numbers(count, f64::from_le_bytes)?),
        _ => {
            return Err(Fault::Reason(format!(
                "it is of the type {number}, expected one of 0 to 12"
            )));
        }
    })
}

fn read_entry(cursor: &mut Cursor, name: String) -> Result<TensorEntry, Fault> {
    let within = |fault: Fault| fault.within(&format!("the tensor {}", excerpt(&name)));
    let n_dimensions = cursor.u32().map_err(within)?;
    if !(1..=4).contains(&n_dimensions) {
        let reason = format!("it has {n_dimensions} dimensions, expected 1 to 4");
        return Err(within(Fault::Reason(reason)));
    }
    let dimensions = cursor
        .numbers(n_dimensions.into(), u64::from_le_bytes)
        .map_err(within)?;
    let ggml_type = cursor.u32().map_err(within)?;
    let offset = cursor.u64().map_err(within)?;
    Ok(TensorEntry {
        name,
        dimensions,
        ggml_type,
        offset,
    })
}
