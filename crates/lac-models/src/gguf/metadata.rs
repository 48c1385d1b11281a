//! The metadata of a GGUF file: keys with values of a few types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::error::GgufError;
use crate::file::excerpt;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetadataValue {
    /// An integer without a sign, of any width.
    Unsigned(u64),
    /// An integer with a sign, of any width.
    Signed(i64),
    /// A number of 32 bits.
    F32(f32),
    /// A number of 64 bits.
    F64(f64),
    /// True or false.
    Bool(bool),
    /// A text.
    Text(String),
    /// Values of one type.
    Array(MetadataArray),
}

/// Values of one type, which lie side by side: a vocabulary has hundreds of thousands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetadataArray {
    /// Bytes.
    U8(Vec<u8>),
    /// Integers of 8 bits.
    I8(Vec<i8>),
    /// Integers of 16 bits without a sign.
    U16(Vec<u16>),
    /// Integers of 16 bits.
    I16(Vec<i16>),
    /// Integers of 32 bits without a sign.
    U32(Vec<u32>),
    /// Integers of 32 bits.
    I32(Vec<i32>),
    /// Integers of 64 bits without a sign.
    U64(Vec<u64>),
    /// Integers of 64 bits.
    I64(Vec<i64>),
    /// Numbers of 32 bits.
    F32(Vec<f32>),
    /// Numbers of 64 bits.
    F64(Vec<f64>),
    /// True or false, many times.
    Bool(Vec<bool>),
    /// Texts.
    Text(Vec<String>),
    /// Arrays.
    Array(Vec<MetadataArray>),
}

impl MetadataArray {
    /// Returns the number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U16(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Text(values) => values.len(),
            Self::Array(values) => values.len(),
        }
    }

    /// Returns whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the integers, whatever their width; `None` for values of another kind, and for integers beyond 64 bits
    /// with a sign.
    pub fn integers(&self) -> Option<Vec<i64>> {
        fn all<T: Copy + TryInto<i64>>(values: &[T]) -> Option<Vec<i64>> {
            values.iter().map(|&value| value.try_into().ok()).collect()
        }
        match self {
            Self::U8(values) => all(values),
            Self::I8(values) => all(values),
            Self::U16(values) => all(values),
            Self::I16(values) => all(values),
            Self::U32(values) => all(values),
            Self::I32(values) => all(values),
            Self::U64(values) => all(values),
            Self::I64(values) => all(values),
            _ => None,
        }
    }
}

impl MetadataValue {
    /// Describes the value for an error: at no great length.
    fn describe(&self) -> String {
        match self {
            Self::Unsigned(value) => format!("is {value}"),
            Self::Signed(value) => format!("is {value}"),
            Self::F32(value) => format!("is {value}"),
            Self::F64(value) => format!("is {value}"),
            Self::Bool(value) => format!("is {value}"),
            Self::Text(value) => format!("is {:?}", excerpt(value)),
            Self::Array(values) => format!("is an array of {} values", values.len()),
        }
    }
}

/// The metadata of a GGUF file. Errors name the file and the key.
#[derive(Clone, Debug, PartialEq)]
pub struct Metadata {
    path: PathBuf,
    values: BTreeMap<String, MetadataValue>,
}

impl Metadata {
    pub(super) fn new(path: &Path, values: BTreeMap<String, MetadataValue>) -> Self {
        Self {
            path: path.to_owned(),
            values,
        }
    }

    /// Returns the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the value of a key.
    pub fn get(&self, key: &str) -> Option<&MetadataValue> {
        self.values.get(key)
    }

    /// Returns all keys, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.values.keys().map(String::as_str)
    }

    /// Returns an integer, whatever its width.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] for a value of another kind, or one below 0.
    pub fn integer(&self, key: &str) -> Result<Option<u64>, GgufError> {
        self.read(key, "an integer of at least 0", |value| match *value {
            MetadataValue::Unsigned(value) => Some(value),
            MetadataValue::Signed(value) => value.try_into().ok(),
            _ => None,
        })
    }

    /// Returns a number. One of 32 bits becomes the shortest decimal number that is it: a file says 1e-5, and not
    /// 9.999999747378752e-6.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] for a value of another kind, and for one that is not finite.
    pub fn number(&self, key: &str) -> Result<Option<f64>, GgufError> {
        self.read(key, "a finite number", |value| {
            let number = match value {
                MetadataValue::F32(value) => value.to_string().parse().ok()?,
                MetadataValue::F64(value) => *value,
                MetadataValue::Unsigned(value) => *value as f64,
                MetadataValue::Signed(value) => *value as f64,
                _ => return None,
            };
            Some(number).filter(|number: &f64| number.is_finite())
        })
    }

    /// Returns true or false.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] for a value of another kind.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, GgufError> {
        self.read(key, "true or false", |value| match value {
            MetadataValue::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// Returns a text.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] for a value of another kind.
    pub fn text(&self, key: &str) -> Result<Option<&str>, GgufError> {
        self.read(key, "a text", |value| match value {
            MetadataValue::Text(value) => Some(value.as_str()),
            _ => None,
        })
    }

    /// Returns an array of texts.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] for a value of another kind.
    pub fn texts(&self, key: &str) -> Result<Option<&[String]>, GgufError> {
        self.read(key, "an array of texts", |value| match value {
            MetadataValue::Array(MetadataArray::Text(values)) => Some(values.as_slice()),
            _ => None,
        })
    }

    /// Returns an array of numbers of 32 bits.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] for a value of another kind.
    pub fn numbers(&self, key: &str) -> Result<Option<Vec<f32>>, GgufError> {
        self.read(key, "an array of numbers", |value| match value {
            MetadataValue::Array(MetadataArray::F32(values)) => Some(values.clone()),
            MetadataValue::Array(MetadataArray::I32(values)) => {
                Some(values.iter().map(|&value| value as f32).collect())
            }
            _ => None,
        })
    }

    /// Returns an array of integers, whatever their width.
    ///
    /// # Errors
    /// [`GgufError::Metadata`] for a value of another kind.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, GgufError> {
        self.read(key, "an array of integers", |value| match value {
            MetadataValue::Array(values) => values.integers(),
            _ => None,
        })
    }

    /// Makes the error of a key that is missing.
    pub fn missing(&self, key: &str, expected: &str) -> GgufError {
        self.error(key, format!("is missing, expected {expected}"))
    }

    /// Makes the error of a value that cannot be used.
    pub fn invalid(&self, key: &str, expected: &str) -> GgufError {
        let found = self.get(key).map(MetadataValue::describe);
        let found = found.unwrap_or_else(|| "is missing".to_owned());
        self.error(key, format!("{found}, expected {expected}"))
    }

    pub(super) fn error(&self, key: &str, problem: String) -> GgufError {
        GgufError::Metadata {
            path: self.path.clone(),
            key: excerpt(key),
            problem,
        }
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        expected: &str,
        convert: impl FnOnce(&'a MetadataValue) -> Option<T>,
    ) -> Result<Option<T>, GgufError> {
        let Some(value) = self.values.get(key) else {
            return Ok(None);
        };
        match convert(value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.invalid(key, expected)),
        }
    }
}
