//! Rows of parquet, CSV and JSON lines files, all as JSON values by column.

use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::parquet_rows::parquet_rows;
use crate::error::{Error, Result};
use crate::excerpt::excerpt;

/// A row and where it stands.
pub(super) struct Row<'a> {
    pub(super) file: &'a Path,
    /// Counted from 1.
    pub(super) number: usize,
    pub(super) cells: Cells,
}

/// What a row holds.
pub(super) enum Cells {
    /// A line of JSON.
    Object(Map<String, Value>),
    /// A row of a table, whose rows share the names of their columns.
    Table(Rc<[String]>, Vec<Value>),
}

impl Row<'_> {
    pub(super) fn fail(&self, reason: impl Into<String>) -> Error {
        Error::Row {
            file: self.file.to_owned(),
            row: self.number,
            reason: reason.into(),
        }
    }

    /// A cell that holds something else than it should.
    pub(super) fn unexpected(&self, column: &str, found: &Value, expected: &str) -> Error {
        let found = excerpt(&found.to_string());
        self.fail(format!(
            "column {column} holds {found}, expected {expected}"
        ))
    }

    /// A cell, if the row has that column and something in it.
    pub(super) fn cell(&self, column: &str) -> Option<&Value> {
        self.any_cell(column).filter(|value| !value.is_null())
    }

    fn any_cell(&self, column: &str) -> Option<&Value> {
        match &self.cells {
            Cells::Object(cells) => cells.get(column),
            Cells::Table(columns, cells) => {
                let place = columns.iter().rposition(|name| name == column)?;
                cells.get(place)
            }
        }
    }

    /// A cell with text in it.
    pub(super) fn text(&self, column: &str) -> Result<String> {
        match self.any_cell(column) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            Some(Value::String(_) | Value::Null) => {
                Err(self.fail(format!("column {column} is empty")))
            }
            Some(other) => Err(self.unexpected(column, other, "a text")),
            None => Err(self.no_column(column)),
        }
    }

    pub(super) fn no_column(&self, column: &str) -> Error {
        const MOST: usize = 12;
        let columns: Vec<String> = match &self.cells {
            Cells::Object(cells) => cells.keys().take(MOST).map(|name| excerpt(name)).collect(),
            Cells::Table(columns, _) => columns
                .iter()
                .take(MOST)
                .map(|name| excerpt(name))
                .collect(),
        };
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
            reason: format!("not a JSON object: {}", excerpt(&error.to_string())),
        })?;
        rows.push(Row {
            file,
            number: i + 1,
            cells: Cells::Object(cells),
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
    let columns: Rc<[String]> = header
        .iter()
        .map(|name| name.trim_start_matches('\u{feff}').trim().to_owned())
        .collect();
    reader
        .records()
        .enumerate()
        .map(|(i, record)| {
            let record = record.map_err(|error| csv_error(file, i + 1, &error))?;
            let cells = record.iter().map(Value::from).collect();
            Ok(Row {
                file,
                number: i + 1,
                cells: Cells::Table(columns.clone(), cells),
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

pub(super) fn open(file: &Path) -> Result<File> {
    File::open(file).map_err(|source| Error::Read {
        file: file.to_owned(),
        source,
    })
}
