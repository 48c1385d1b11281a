//! Rows of Parquet files, within what a file of that size can hold.
//!
//! Parquet repeats values at no cost: a few bytes can stand for billions of rows, and a header can
//! announce them. What is read is compared with the file's size before memory is allocated for it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;

use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as ParquetRow};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::row::{Cells, DataRow, open};
use crate::error::{Error, Result};
use crate::excerpt::excerpt;

/// What may be made of a file: bytes for each of its own, and bytes whatever its size. Text that
/// repeats itself a hundred times is compressed that well; benchmarks are not.
const BYTES_PER_BYTE: u64 = 256;
const BYTES_OF_ANY: u64 = 64 << 20;

/// What a value takes beside its text.
const BYTES_PER_VALUE: u64 = 128;

pub(super) fn parquet_rows(file: &Path) -> Result<Vec<DataRow<'_>>> {
    let failed = |reason: String| Error::Format {
        file: file.to_owned(),
        reason: format!("not a readable parquet file: {}", excerpt(&reason)),
    };
    let opened = open(file)?;
    let len = opened.metadata().map_or(0, |metadata| metadata.len());
    let budget = BYTES_PER_BYTE
        .saturating_mul(len)
        .saturating_add(BYTES_OF_ANY);
    // The library checks what it reads, but a damaged file may still make it panic.
    let read = catch_unwind(AssertUnwindSafe(|| {
        rows_within(SerializedFileReader::new(opened)?, file, budget)
    }));
    match read {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(
            "the Parquet library could not make sense of it".to_owned(),
        )),
    }
}

fn rows_within<R: FileReader>(
    reader: R,
    file: &Path,
    budget: u64,
) -> ParquetResult<Vec<DataRow<'_>>> {
    let schema = reader.metadata().file_metadata().schema();
    let columns: Rc<[String]> = schema
        .get_fields()
        .iter()
        .map(|field| field.name().to_owned())
        .collect();
    let mut rows: Vec<DataRow<'_>> = Vec::new();
    let mut left = budget;
    for group_idx in 0..reader.num_row_groups() {
        let group = CheckedGroup {
            group: reader.get_row_group(group_idx)?,
            budget,
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

/// What a value takes, roughly.
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

/// A row group whose pages are looked at before they are decoded.
struct CheckedGroup<'a> {
    group: Box<dyn RowGroupReader + 'a>,
    budget: u64,
}

impl RowGroupReader for CheckedGroup<'_> {
    fn metadata(&self) -> &RowGroupMetaData {
        self.group.metadata()
    }

    fn num_columns(&self) -> usize {
        self.group.num_columns()
    }

    fn get_column_page_reader(&self, idx: usize) -> ParquetResult<Box<dyn PageReader>> {
        let physical_type = self.group.metadata().column(idx).column_type();
        Ok(Box::new(CheckedPages {
            pages: self.group.get_column_page_reader(idx)?,
            is_text: physical_type == parquet::basic::Type::BYTE_ARRAY,
            budget: self.budget,
            n_values: 0,
            longest: 0,
        }))
    }

    fn get_column_bloom_filter(&self, idx: usize) -> Option<&Sbbf> {
        self.group.get_column_bloom_filter(idx)
    }

    fn get_row_iter(&self, projection: Option<Type>) -> ParquetResult<RowIter<'_>> {
        RowIter::from_row_group(projection, self)
    }
}

/// The pages of a column.
struct CheckedPages {
    pages: Box<dyn PageReader>,
    is_text: bool,
    budget: u64,
    n_values: u64,
    /// The longest text that the pages so far can repeat.
    longest: u64,
}

impl CheckedPages {
    fn check(&mut self, page: &Page) -> ParquetResult<()> {
        let (n_values, n_bytes) = (u64::from(page.num_values()), page.buffer().len() as u64);
        if let Page::DictionaryPage { buf, .. } = page {
            // Room is made for as many values as are announced, each of a byte at least.
            if n_values > n_bytes {
                return Err(ParquetError::General(format!(
                    "a dictionary of {n_values} values in {n_bytes} bytes"
                )));
            }
            if self.is_text {
                self.longest = self.longest.max(longest_text(buf));
            }
            return Ok(());
        }
        if self.is_text && page.encoding() == Encoding::DELTA_BYTE_ARRAY {
            // Texts that begin as the one before them: each can be as long as all of the page.
            self.longest = self.longest.max(n_bytes);
        }
        self.n_values += n_values;
        let needed = self
            .n_values
            .saturating_mul(BYTES_PER_VALUE / 2 + self.longest);
        if needed > self.budget {
            return Err(too_much("a column's values", self.budget));
        }
        Ok(())
    }
}

/// The longest of texts that each stand behind their length in four bytes.
fn longest_text(mut buffer: &[u8]) -> u64 {
    let mut longest = 0;
    while let Some((len, rest)) = buffer.split_first_chunk::<4>() {
        let len = u32::from_le_bytes(*len);
        longest = longest.max(u64::from(len));
        buffer = rest.get(len as usize..).unwrap_or_default();
    }
    longest
}

impl PageReader for CheckedPages {
    fn get_next_page(&mut self) -> ParquetResult<Option<Page>> {
        let page = self.pages.get_next_page()?;
        if let Some(page) = &page {
            self.check(page)?;
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> ParquetResult<Option<PageMetadata>> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> ParquetResult<()> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> ParquetResult<bool> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for CheckedPages {
    type Item = ParquetResult<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}
