//! The bytes before the tensors: metadata and the tensors' entries, as version 3 has them.

use lac_kernels::quantized::BlockFormat;

use super::tensors::PlannedTensor;
use crate::gguf::metadata::{MetadataArray, MetadataValue};

/// Tensors begin at multiples of this number of bytes.
pub(super) const ALIGNMENT: usize = 32;

/// The numbers by which a file tells the types of values apart.
mod kind {
    pub(super) const U8: u32 = 0;
    pub(super) const I8: u32 = 1;
    pub(super) const U16: u32 = 2;
    pub(super) const I16: u32 = 3;
    pub(super) const U32: u32 = 4;
    pub(super) const I32: u32 = 5;
    pub(super) const F32: u32 = 6;
    pub(super) const BOOL: u32 = 7;
    pub(super) const TEXT: u32 = 8;
    pub(super) const ARRAY: u32 = 9;
    pub(super) const U64: u32 = 10;
    pub(super) const I64: u32 = 11;
    pub(super) const F64: u32 = 12;
}

/// Returns everything that stands before the first tensor.
pub(super) fn header(
    metadata: &[(String, MetadataValue)],
    tensors: &[PlannedTensor],
    formats: &[BlockFormat],
) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        text(&mut bytes, key);
        add_value(&mut bytes, value);
    }
    let mut offset = 0;
    for (tensor, format) in tensors.iter().zip(formats) {
        text(&mut bytes, &tensor.name);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        for &size in tensor.shape.iter().rev() {
            bytes.extend((size as u64).to_le_bytes());
        }
        bytes.extend(format.ggml_type().to_le_bytes());
        bytes.extend((offset as u64).to_le_bytes());
        let n_bytes = tensor.n_bytes(*format);
        offset += n_bytes + padding(n_bytes);
    }
    bytes.resize(bytes.len() + padding(bytes.len()), 0);
    bytes
}

/// Returns how many bytes follow `n_bytes` up to where a tensor can begin.
pub(super) fn padding(n_bytes: usize) -> usize {
    n_bytes.next_multiple_of(ALIGNMENT) - n_bytes
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

/// Adds a value behind its type. Integers take 32 bits where they fit: readers ask for these.
fn add_value(bytes: &mut Vec<u8>, value: &MetadataValue) {
    let mut add = |kind: u32, value: &[u8]| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    };
    match value {
        MetadataValue::Unsigned(value) => match u32::try_from(*value) {
            Ok(value) => add(kind::U32, &value.to_le_bytes()),
            Err(_) => add(kind::U64, &value.to_le_bytes()),
        },
        MetadataValue::Signed(value) => match i32::try_from(*value) {
            Ok(value) => add(kind::I32, &value.to_le_bytes()),
            Err(_) => add(kind::I64, &value.to_le_bytes()),
        },
        MetadataValue::F32(value) => add(kind::F32, &value.to_le_bytes()),
        MetadataValue::F64(value) => add(kind::F64, &value.to_le_bytes()),
        MetadataValue::Bool(value) => add(kind::BOOL, &[u8::from(*value)]),
        MetadataValue::Text(value) => {
            add(kind::TEXT, &[]);
            text(bytes, value);
        }
        MetadataValue::Array(values) => {
            add(kind::ARRAY, &[]);
            add_array(bytes, values);
        }
    }
}

fn add_array(bytes: &mut Vec<u8>, values: &MetadataArray) {
    let mut begin = |kind: u32| {
        bytes.extend(kind.to_le_bytes());
        bytes.extend((values.len() as u64).to_le_bytes());
    };
    match values {
        MetadataArray::U8(values) => {
            begin(kind::U8);
            bytes.extend(values);
        }
        MetadataArray::I8(values) => {
            begin(kind::I8);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::U16(values) => {
            begin(kind::U16);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::I16(values) => {
            begin(kind::I16);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::U32(values) => {
            begin(kind::U32);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::I32(values) => {
            begin(kind::I32);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::U64(values) => {
            begin(kind::U64);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::I64(values) => {
            begin(kind::I64);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::F32(values) => {
            begin(kind::F32);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::F64(values) => {
            begin(kind::F64);
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        }
        MetadataArray::Bool(values) => {
            begin(kind::BOOL);
            bytes.extend(values.iter().map(|&value| u8::from(value)));
        }
        MetadataArray::Text(values) => {
            begin(kind::TEXT);
            for value in values {
                text(bytes, value);
            }
        }
        MetadataArray::Array(values) => {
            begin(kind::ARRAY);
            for value in values {
                add_array(bytes, value);
            }
        }
    }
}
