//! Reads the rows of Parquet, CSV and JSON lines files, each as JSON values by column.

pub(crate) mod files;
mod parquet;
pub(crate) mod row;

use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use lac_files::{FileForm, LineEnds, check_form, read_text};
use serde_json::{Map, Value};

use self::parquet::parquet_rows;
use self::row::{Cells, DataRow};
use crate::error::{Error, Result};
use crate::excerpt::excerpt;

/// Reads a file in the format that the end of its name says: `.parquet`, `.jsonl`, or `.csv` with a
/// header.
pub(crate) fn rows(file: &Path) -> Result<Vec<DataRow<'_>>> {
    let end = file.extension().and_then(|end| end.to_str());
    check(file)?;
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

fn json_rows(file: &Path) -> Result<Vec<DataRow<'_>>> {
    let text = read(file)?;
    // Some programs write one list in the place of lines.
    if text.trim_start().starts_with('[')
        && let Ok(objects) = serde_json::from_str::<Vec<Map<String, Value>>>(&text)
    {
        let rows = objects.into_iter().enumerate().map(|(i, cells)| DataRow {
            file,
            number: i + 1,
            cells: Cells::Object(cells),
        });
        return Ok(rows.collect());
    }
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
        rows.push(DataRow {
            file,
            number: i + 1,
            cells: Cells::Object(cells),
        });
    }
    Ok(rows)
}

fn csv_rows(file: &Path) -> Result<Vec<DataRow<'_>>> {
    let text = read(file)?;
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|error| csv_error(file, 0, &error))?;
    let columns: Rc<[String]> = header.iter().map(|name| name.trim().to_owned()).collect();
    reader
        .records()
        .enumerate()
        .map(|(i, record)| {
            let record = record.map_err(|error| csv_error(file, i + 1, &error))?;
            let cells = record.iter().map(Value::from).collect();
            Ok(DataRow {
                file,
                number: i + 1,
                cells: Cells::Table(columns.clone(), cells),
            })
        })
        .collect()
}

/// Reads the records of a CSV file without a header. Every record has to have `n_columns` cells,
/// which are returned as they are in the file.
pub(crate) fn bare_records(file: &Path, n_columns: usize) -> Result<Vec<Vec<String>>> {
    check(file)?;
    let text = read(file)?;
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
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

/// Checks that a file is not something else that was downloaded in its place.
fn check(file: &Path) -> Result<()> {
    let form = |mut opened| check_form(&mut opened, FileForm::Data);
    File::open(file)
        .and_then(form)
        .map_err(|source| Error::Read {
            file: file.to_owned(),
            source,
        })
}

/// Reads a text. Line ends stay as they are: a quoted cell of a CSV file may hold one, and lines of JSON are found with
/// either.
fn read(file: &Path) -> Result<String> {
    read_text(file, LineEnds::AsWritten).map_err(|source| Error::Read {
        file: file.to_owned(),
        source,
    })
}
