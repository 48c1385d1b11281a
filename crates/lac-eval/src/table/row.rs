//! A row of a data file, as JSON values by column.

use std::fs::File;
use std::path::Path;
use std::rc::Rc;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::excerpt::excerpt;

/// A row of a data file, and where it stands.
pub(crate) struct DataRow<'a> {
    pub(crate) file: &'a Path,
    /// The row, counted from 1, headers not counted.
    pub(crate) number: usize,
    pub(crate) cells: Cells,
}

/// The cells of a row.
pub(crate) enum Cells {
    /// A line of JSON.
    Object(Map<String, Value>),
    /// A row of a table, whose rows share the names of their columns.
    Table(Rc<[String]>, Vec<Value>),
}

impl DataRow<'_> {
    /// Makes an error about the row.
    pub(crate) fn fail(&self, reason: impl Into<String>) -> Error {
        Error::Row {
            file: self.file.to_owned(),
            row: self.number,
            reason: reason.into(),
        }
    }

    /// Makes an error about a cell that does not hold what is expected.
    pub(crate) fn unexpected(&self, column: &str, found: &Value, expected: &str) -> Error {
        let found = excerpt(&found.to_string());
        self.fail(format!(
            "column {column} holds {found}, expected {expected}"
        ))
    }

    /// Returns a cell, if the row has that column and its cell is not null.
    pub(crate) fn cell(&self, column: &str) -> Option<&Value> {
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

    /// Returns the text of a cell. A cell without one, or with an empty one, is an error.
    pub(crate) fn text(&self, column: &str) -> Result<String> {
        match self.any_cell(column) {
            Some(Value::String(text)) if !text.trim().is_empty() => Ok(text.clone()),
            Some(Value::String(_) | Value::Null) => {
                Err(self.fail(format!("column {column} is empty")))
            }
            Some(other) => Err(self.unexpected(column, other, "a text")),
            None => Err(self.no_column(column)),
        }
    }

    /// Makes an error about a column that the row does not have.
    pub(crate) fn no_column(&self, column: &str) -> Error {
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

/// Opens a data file.
pub(crate) fn open(file: &Path) -> Result<File> {
    File::open(file).map_err(|source| Error::Read {
        file: file.to_owned(),
        source,
    })
}
