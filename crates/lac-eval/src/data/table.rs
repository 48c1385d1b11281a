//! Rows of parquet, CSV and JSON lines files, all as JSON objects.

use std::fs::File;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row as ParquetRow};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A row and where it stands.
pub(super) struct Row<'a> {
    file: &'a Path,
    /// Counted from 1.
    number: usize,
    cells: Map<String, Value>,
}

impl Row<'_> {
    pub(super) fn fail(&self, reason: impl Into<String>) -> Error {
        Error::Row {
            file: self.file.to_owned(),
            row: self.number,
            reason: reason.into(),
        }
    }

    /// A cell, if the row has that column and something in it.
    pub(super) fn cell(&self, column: &str) -> Option<&Value> {
        self.cells.get(column).filter(|value| !value.is_null())
    }

    /// A cell with text in it.
    pub(super) fn text(&self, column: &str) -> Result<String> {
        match self.cell(column) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            Some(Value::String(_)) => Err(self.fail(format!("column {column} is empty"))),
            Some(other) => {
                Err(self.fail(format!("column {column} holds {other}, expected a text")))
            }
            None if self.cells.contains_key(column) => {
                Err(self.fail(format!("column {column} is empty")))
            }
            None => Err(self.no_column(column)),
        }
    }

    pub(super) fn no_column(&self, column: &str) -> Error {
        let mut columns: Vec<&str> = self.cells.keys().map(String::as_str).collect();
        columns.truncate(12);
        self.fail(format!(
            "there is no column {column}; there are {}",
            columns.join(", ")
        ))
    }
}

/// Reads a file by the end of its name: `.parquet`, `.jsonl`, or `.csv` with a header.
pub(super) fn rows(file: &Path) -> Result<Vec<Row<'_>>> {
    let end = file.extension().and_then(|end| end.to_str());
    match end {
        Some("parquet") => parquet_rows(file),
        Some("jsonl" | "json") => json_rows(file),
        Some("csv") => csv_rows(file),
        _ => Err(Error::Format {
            file: file.to_owned(),
            reason: "expected a file that ends in .parquet, .jsonl or .csv".to_owned(),
        }),
    }
}

fn parquet_rows(file: &Path) -> Result<Vec<Row<'_>>> {
    let malformed = |error: parquet::errors::ParquetError| Error::Format {
        file: file.to_owned(),
        reason: format!("not a readable parquet file: {error}"),
    };
    let reader = SerializedFileReader::new(open(file)?).map_err(malformed)?;
    reader
        .get_row_iter(None)
        .map_err(malformed)?
        .enumerate()
        .map(|(i, row)| {
            Ok(Row {
                file,
                number: i + 1,
                cells: object(&row.map_err(malformed)?),
            })
        })
        .collect()
}

fn object(row: &ParquetRow) -> Map<String, Value> {
    row.get_column_iter()
        .map(|(name, field)| (name.clone(), value(field)))
        .collect()
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

fn json_rows(file: &Path) -> Result<Vec<Row<'_>>> {
    let text = read(file)?;
    let mut rows = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let cells = serde_json::from_str(line).map_err(|error| Error::Row {
            file: file.to_owned(),
            row: i + 1,
            reason: format!("not a JSON object: {error}"),
        })?;
        rows.push(Row {
            file,
            number: i + 1,
            cells,
        });
    }
    Ok(rows)
}

fn csv_rows(file: &Path) -> Result<Vec<Row<'_>>> {
    let mut reader = csv::Reader::from_reader(open(file)?);
    let header = reader
        .headers()
        .map_err(|error| csv_error(file, 0, &error))?;
    // Spreadsheets begin a file with a byte-order mark.
    let columns: Vec<String> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    reader
        .records()
        .enumerate()
        .map(|(i, record)| {
            let record = record.map_err(|error| csv_error(file, i + 1, &error))?;
            let cells = columns.iter().cloned();
            Ok(Row {
                file,
                number: i + 1,
                cells: cells.zip(record.iter().map(Value::from)).collect(),
            })
        })
        .collect()
}

/// The records of a CSV file without a header, each with `n_columns` raw cells.
pub(super) fn bare_records(file: &Path, n_columns: usize) -> Result<Vec<Vec<String>>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(open(file)?);
    reader
        .records()
        .enumerate()
        .map(|(i, record)| {
            let record = record.map_err(|error| csv_error(file, i + 1, &error))?;
            if record.len() != n_columns {
                return Err(Error::Row {
                    file: file.to_owned(),
                    row: i + 1,
                    reason: format!("{} cells, expected {n_columns}", record.len()),
                });
            }
            Ok(record.iter().map(String::from).collect())
        })
        .collect()
}

fn csv_error(file: &Path, row: usize, error: &csv::Error) -> Error {
    Error::Row {
        file: file.to_owned(),
        row,
        reason: error.to_string(),
    }
}

pub(super) fn read(file: &Path) -> Result<String> {
    std::fs::read_to_string(file).map_err(|source| Error::Read {
        file: file.to_owned(),
        source,
    })
}

fn open(file: &Path) -> Result<File> {
    File::open(file).map_err(|source| Error::Read {
        file: file.to_owned(),
        source,
    })
}
