//! Reads the rows of Parquet files, within the memory that a file of that size may take
//! ([`ParquetFile::budget`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use lac_files::parquet::{CheckedPages, ParquetFile};
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::RowGroupReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as ParquetRow};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::row::{Cells, DataRow, open};
use crate::error::{Error, Result};
use crate::excerpt::excerpt;

/// The bytes that a value takes beside its text.
const BYTES_PER_VALUE: u64 = 128;

pub(super) fn parquet_rows(file: &Path) -> Result<Vec<DataRow<'_>>> {
    let failed = |reason: String| Error::Format {
        file: file.to_owned(),
        reason: format!("not a readable parquet file: {}", excerpt(&reason)),
    };
    let opened = open(file)?;
    // The library checks what it reads, but a damaged file may still make it panic.
    let read = catch_unwind(AssertUnwindSafe(|| {
        rows_of(&ParquetFile::new(opened)?, file)
    }));
    match read {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed("the Parquet library cannot read it".to_owned())),
    }
}

fn rows_of<'a>(opened: &ParquetFile, file: &'a Path) -> ParquetResult<Vec<DataRow<'a>>> {
    let budget = opened.budget();
    let schema = opened.metadata().file_metadata().schema();
    let columns: Rc<[String]> = schema
        .get_fields()
        .iter()
        .map(|field| field.name().to_owned())
        .collect();
    let mut rows: Vec<DataRow<'_>> = Vec::new();
    let mut left = budget;
    for group_idx in 0..opened.metadata().num_row_groups() {
        let group = CheckedGroup {
            file: opened,
            group_idx,
        };
        for row in RowIter::from_row_group(None, &group)? {
            let cells: Vec<Value> = row?
                .get_column_iter()
                .map(|(_, field)| value(field))
                .collect();
            let n_bytes: u64 = cells.iter().map(n_bytes).sum();
            left = left
                .checked_sub(n_bytes)
                .ok_or_else(|| too_much("its rows", budget))?;
            rows.push(DataRow {
                file,
                number: rows.len() + 1,
                cells: Cells::Table(columns.clone(), cells),
            });
        }
    }
    Ok(rows)
}

fn too_much(what: &str, budget: u64) -> ParquetError {
    ParquetError::General(format!(
        "{what} would take more than {budget} bytes, which a file of this size does not hold"
    ))
}

/// Estimates the bytes that a value takes.
fn n_bytes(value: &Value) -> u64 {
    BYTES_PER_VALUE
        + match value {
            Value::String(text) => text.len() as u64,
            Value::Array(items) => items.iter().map(n_bytes).sum(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| name.len() as u64 + n_bytes(value))
                .sum(),
            _ => 0,
        }
}

fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(flag) => (*flag).into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) => (*number).into(),
        Field::Long(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        Field::Str(text) => text.as_str().into(),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        Field::Group(row) => Value::Object(object(row)),
        other => other.to_string().into(),
    }
}

fn object(row: &ParquetRow) -> Map<String, Value> {
    row.get_column_iter()
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
}

/// A row group whose pages are checked before they are decoded.
struct CheckedGroup<'a> {
    file: &'a ParquetFile,
    group_idx: usize,
}

impl RowGroupReader for CheckedGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.file.metadata().row_group(self.group_idx)
    }

    fn num_columns(&self) -> usize {
        self.metadata().num_columns()
    }

    fn get_column_page_reader(&self, idx: usize) -> ParquetResult<Box<dyn PageReader>> {
        let physical_type = self.metadata().column(idx).column_type();
        let mut bound = ColumnBound {
            is_text: physical_type == parquet::basic::Type::BYTE_ARRAY,
            budget: self.file.budget(),
            n_values: 0,
            longest: 0,
        };
        let pages = self.file.pages(self.group_idx, idx)?;
        Ok(Box::new(CheckedPages::new(pages, move |page: &Page| {
            bound.check(page)
        })))
    }

    fn get_column_bloom_filter(&self, _idx: usize) -> Option<&Sbbf> {
        None
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// A bound on the bytes that the values of a column may take, kept from page to page.
struct ColumnBound {
    is_text: bool,
    /// The bound, in bytes.
    budget: u64,
    /// Number of values of the pages so far.
    n_values: u64,
    /// Bytes of the longest text that the pages so far can repeat.
    longest: u64,
}

impl ColumnBound {
    fn check(&mut self, page: &Page) -> ParquetResult<()> {
        if let Page::DictionaryPage { buf, .. } = page {
            if self.is_text {
                self.longest = self.longest.max(longest_text(buf));
            }
            return Ok(());
        }
        if self.is_text && page.encoding() == Encoding::DELTA_BYTE_ARRAY {
            // Each text begins like the one before it: any of them can be as long as the page.
            self.longest = self.longest.max(page.buffer().len() as u64);
        }
        self.n_values += u64::from(page.num_values());
        let needed = self
            .n_values
            .saturating_mul(BYTES_PER_VALUE / 2 + self.longest);
        if needed > self.budget {
            return Err(too_much("a column's values", self.budget));
        }
        Ok(())
    }
}

/// Returns the length of the longest text in a dictionary, where each text stands behind its length
/// in four bytes.
fn longest_text(mut buffer: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((len, rest)) = buffer.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len);
        longest = longest.max(u64::from(len));
        buffer = rest.get(len as usize..).unwrap_or_default();
    }
    longest
}
