//! Reading traces: the file, or the folder of parts of a run that was interrupted.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lac_core::Phase;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_typed_column_reader};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};

use super::schema::{FLAG_LISTS, FLOAT_LISTS, HIDDEN_PREFIX, PROBED_LISTS, SCALARS};
use super::write::{FlushLimits, join_parts};
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::{HiddenStates, Token, TokenBatch};

/// What is added to a file's name for the folder of its parts.
pub(super) const PARTS_SUFFIX: &str = ".parts";

/// Whether a trace is all there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceState {
    /// The run was recorded to its end.
    Complete,
    /// These are the parts that were on disk when the run was interrupted.
    Interrupted,
}

/// A trace on disk. What it holds is read when it is asked for, a little at a time.
#[derive(Debug)]
pub struct TraceReader {
    path: PathBuf,
    parts: Vec<PathBuf>,
    info: TraceInfo,
    n_tokens: u64,
    state: TraceState,
}

impl TraceReader {
    /// Opens a trace's file, or the folder of parts that an interrupted run left.
    ///
    /// # Errors
    /// An error that names the file and what is wrong with it, when it cannot be read, ends too
    /// early, is something else, or comes from a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        let (parts, state) = if metadata.is_dir() {
            (parts_in(path)?, TraceState::Interrupted)
        } else {
            (vec![path.to_owned()], TraceState::Complete)
        };
        let mut found: Option<TraceInfo> = None;
        let mut n_tokens = 0;
        for part in &parts {
            let file = open_part(part)?;
            let metadata = file.metadata().file_metadata();
            let info = TraceInfo::from_metadata(metadata.key_value_metadata(), part)?;
            n_tokens += metadata.num_rows().max(0) as u64;
            check_columns(&file, part)?;
            match &mut found {
                None => found = Some(info),
                Some(first) => {
                    // Sequences end while a run goes on.
                    first.unfed.clone_from(&info.unfed);
                    if *first != info {
                        return Err(Error::Mismatch {
                            left: parts[0].display().to_string(),
                            right: part.display().to_string(),
                            reason: "they are parts of different runs".to_owned(),
                        });
                    }
                }
            }
        }
        match found {
            Some(info) if n_tokens > 0 => Ok(Self {
                path: path.to_owned(),
                parts,
                info,
                n_tokens,
                state,
            }),
            _ => Err(Error::Empty {
                path: path.to_owned(),
            }),
        }
    }

    /// Where the trace lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the trace says of itself.
    pub fn info(&self) -> &TraceInfo {
        &self.info
    }

    /// Number of tokens.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// Whether the run was recorded to its end.
    pub fn state(&self) -> TraceState {
        self.state
    }

    /// All tokens, in the order in which they were recorded, some at a time. Nothing follows
    /// after an error.
    pub fn batches(&self) -> impl Iterator<Item = Result<TokenBatch>> + '_ {
        let groups = self.parts.iter().flat_map(move |part| {
            let file = open_part(part);
            let n_groups = file.as_ref().map_or(1, FileReader::num_row_groups);
            let mut file = Some(file);
            let mut opened = None;
            (0..n_groups).map(move |group_idx| {
                if let Some(file) = file.take() {
                    opened = Some(file?);
                }
                // The file was opened in the first round, or that round ended in its error.
                let Some(file) = &opened else {
                    return Err(Error::damaged(part, "it was not opened"));
                };
                unpanicked(part, || {
                    read_row_group(file, group_idx, self.info.n_layers, part)
                })
            })
        });
        let mut has_failed = false;
        groups.take_while(move |batch| {
            let goes_on = !has_failed;
            has_failed |= batch.is_err();
            goes_on
        })
    }

    /// Hands every token to a function, in the order in which they were recorded.
    ///
    /// # Errors
    /// As [`open`](Self::open), for what is found on the way.
    pub fn for_each(&self, mut visit: impl FnMut(Token<'_>)) -> Result<()> {
        for batch in self.batches() {
            batch?.tokens().for_each(&mut visit);
        }
        Ok(())
    }

    /// Writes the trace as one file, whatever it was read from. Returns the number of tokens.
    ///
    /// # Errors
    /// What is found wrong with the trace, and what the system reports.
    pub fn write_parquet(&self, path: &Path) -> Result<u64> {
        join_parts(&self.path, path, None, FlushLimits::default())
    }
}

/// The parts in a folder, in their order; temporary files are none.
fn parts_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut parts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let path = entry.map_err(Error::io("read", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("part-") && name.ends_with(".parquet") {
            parts.push(path);
        }
    }
    if parts.is_empty() {
        return Err(Error::not_a_trace(
            folder,
            "a folder without part-*.parquet in it",
        ));
    }
    parts.sort();
    Ok(parts)
}

type Reader = SerializedFileReader<File>;

fn open_part(path: &Path) -> Result<Reader> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    check_magic(&mut file, length, path)?;
    unpanicked(path, || {
        SerializedFileReader::new(file).map_err(|error| Error::damaged(path, error))
    })
}

/// Tells a foreign file from a truncated one before the footer is looked at.
fn check_magic(file: &mut File, length: u64, path: &Path) -> Result<()> {
    use std::io::{Read, Seek, SeekFrom};

    const MAGIC: [u8; 4] = *b"PAR1";
    if length == 0 {
        return Err(Error::damaged(path, "the file is empty"));
    }
    let mut ends = [[0u8; 4]; 2];
    let mut read = || -> std::io::Result<()> {
        let n_head = length.min(4) as usize;
        file.read_exact(&mut ends[0][..n_head])?;
        file.seek(SeekFrom::Start(length.saturating_sub(4)))?;
        file.read_exact(&mut ends[1][..n_head])?;
        file.seek(SeekFrom::Start(0)).map(|_| ())
    };
    read().map_err(Error::io("read", path))?;
    if ends[0] != MAGIC {
        let found = match &ends[0] {
            [b'{' | b'[', ..] => "JSON by its first character; traces are Parquet files",
            _ => "it does not begin as a Parquet file does",
        };
        return Err(Error::not_a_trace(path, found));
    }
    if length < 12 || ends[1] != MAGIC {
        return Err(Error::damaged(
            path,
            "it begins as a Parquet file and does not end as one: it was cut short",
        ));
    }
    Ok(())
}

/// The Parquet library checks what it reads, but a damaged file may still make it panic.
fn unpanicked<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| {
        Err(Error::damaged(
            path,
            "the Parquet library could not make sense of it",
        ))
    })
}

fn check_columns(file: &Reader, path: &Path) -> Result<()> {
    for name in SCALARS.iter().chain(&FLOAT_LISTS).chain(&FLAG_LISTS) {
        column_idx(file, name).ok_or_else(|| Error::column(path, name, "is missing"))?;
    }
    Ok(())
}

/// The place of a column among the leaves of the schema; those of lists have longer paths.
fn column_idx(file: &Reader, name: &str) -> Option<usize> {
    let schema = file.metadata().file_metadata().schema_descr();
    schema.columns().iter().position(|column| {
        column
            .path()
            .parts()
            .first()
            .is_some_and(|root| root == name)
    })
}

/// One row group being read.
struct Group<'a> {
    file: &'a Reader,
    group: Box<dyn RowGroupReader + 'a>,
    n_rows: usize,
    path: &'a Path,
}

/// What a column of a row group holds: values that are there, and the levels that say where.
struct Column<T> {
    values: Vec<T>,
    /// For each place, whether there is a value; empty when there always is.
    definition: Vec<i16>,
    max_definition: i16,
    repetition: Vec<i16>,
}

fn read_row_group(
    file: &Reader,
    group_idx: usize,
    n_layers: usize,
    path: &Path,
) -> Result<TokenBatch> {
    let group = file
        .get_row_group(group_idx)
        .map_err(|error| Error::damaged(path, error))?;
    let n_rows = usize::try_from(group.metadata().num_rows())
        .map_err(|_| Error::damaged(path, "a row group has a negative number of rows"))?;
    let group = Group {
        file,
        group,
        n_rows,
        path,
    };
    let unsigned = |values: Vec<i32>| values.into_iter().map(|value| value as u32).collect();
    let mut batch = TokenBatch::new(n_layers);
    batch.sequences = unsigned(group.required::<Int32Type>("sequence")?);
    batch.positions = unsigned(group.required::<Int32Type>("position")?);
    batch.phases = group
        .required::<ByteArrayType>("phase")?
        .iter()
        .map(|name| group.phase(name))
        .collect::<Result<_>>()?;
    batch.token_ids = group
        .optional::<Int32Type>("token_id")?
        .into_iter()
        .map(|id| id.map(|id| id as u32))
        .collect();
    batch.pieces = group
        .optional::<ByteArrayType>("piece")?
        .into_iter()
        .map(|piece| piece.map(|piece| group.text(&piece)).transpose())
        .collect::<Result<_>>()?;
    batch.embedding_norms = group.floats("embedding_norm")?;
    batch.norms = group.float_lists("norm", n_layers)?;
    batch.deltas = group.float_lists("delta", n_layers)?;
    batch.thresholds = group.float_lists("threshold", n_layers)?;
    batch.active = group.lists::<BoolType>("active", n_layers)?;
    batch.executed = group.lists::<BoolType>("executed", n_layers)?;
    if PROBED_LISTS.iter().all(|name| group.has(name)) {
        // A state without length has no direction: these need not be finite.
        batch.cosines = Some(group.lists::<FloatType>("cosine", n_layers)?);
        batch.contributions = Some(group.lists::<FloatType>("contribution", n_layers)?);
    }
    for layer_idx in 0..n_layers {
        let name = format!("{HIDDEN_PREFIX}{layer_idx}");
        if group.has(&name) {
            batch.hidden.push(group.hidden(&name, layer_idx)?);
        }
    }
    Ok(batch)
}

impl Group<'_> {
    fn has(&self, name: &str) -> bool {
        column_idx(self.file, name).is_some()
    }

    fn error(&self, name: &str, problem: impl Into<String>) -> Error {
        Error::column(self.path, name, problem)
    }

    fn column<T: DataType>(&self, name: &str) -> Result<Column<T::T>> {
        let idx = column_idx(self.file, name).ok_or_else(|| self.error(name, "is missing"))?;
        let schema = self.file.metadata().file_metadata().schema_descr();
        let found = schema.column(idx).physical_type();
        let expected = T::get_physical_type();
        if found != expected {
            return Err(self.error(name, format!("holds {found}, expected {expected}")));
        }
        let read = || -> Result<Column<T::T>, ParquetError> {
            let reader: ColumnReader = self.group.get_column_reader(idx)?;
            let mut reader: ColumnReaderImpl<T> = get_typed_column_reader(reader);
            let mut column = Column {
                values: Vec::new(),
                definition: Vec::new(),
                max_definition: schema.column(idx).max_def_level(),
                repetition: Vec::new(),
            };
            let mut n_rows = 0;
            while n_rows < self.n_rows {
                let (n_read, _, _) = reader.read_records(
                    self.n_rows - n_rows,
                    Some(&mut column.definition),
                    Some(&mut column.repetition),
                    &mut column.values,
                )?;
                if n_read == 0 {
                    return Err(ParquetError::EOF(format!(
                        "{n_rows} rows where {} are announced",
                        self.n_rows
                    )));
                }
                n_rows += n_read;
            }
            Ok(column)
        };
        read().map_err(|error| self.error(name, format!("cannot be read: {error}")))
    }

    /// A column with a value in every row.
    fn required<T: DataType>(&self, name: &str) -> Result<Vec<T::T>> {
        let column = self.column::<T>(name)?;
        if column.values.len() != self.n_rows {
            return Err(self.error(name, "does not have one value per row"));
        }
        Ok(column.values)
    }

    fn optional<T: DataType>(&self, name: &str) -> Result<Vec<Option<T::T>>> {
        let column = self.column::<T>(name)?;
        if column.max_definition == 0 {
            return Ok(column.values.into_iter().map(Some).collect());
        }
        if column.definition.len() != self.n_rows {
            return Err(self.error(name, "does not have one place per row"));
        }
        let mut values = column.values.into_iter();
        Ok(column
            .definition
            .iter()
            .map(|&level| (level == column.max_definition).then(|| values.next())?)
            .collect())
    }

    /// A column of lists, all of the same length; returns their values, flat.
    fn lists<T: DataType>(&self, name: &str, length: usize) -> Result<Vec<T::T>> {
        let column = self.column::<T>(name)?;
        let is_list = |list: &[i16]| list[0] == 0 && list[1..].iter().all(|&level| level != 0);
        let is_whole = column.repetition.len() == column.values.len()
            && column.values.len() == self.n_rows * length
            && column.repetition.chunks(length.max(1)).all(is_list);
        if !is_whole {
            return Err(self.error(
                name,
                format!("does not have a list of {length} values in every row"),
            ));
        }
        Ok(column.values)
    }

    fn floats(&self, name: &str) -> Result<Vec<f32>> {
        let values = self.required::<FloatType>(name)?;
        self.finite(name, &values, 1)?;
        Ok(values)
    }

    fn float_lists(&self, name: &str, length: usize) -> Result<Vec<f32>> {
        let values = self.lists::<FloatType>(name, length)?;
        self.finite(name, &values, length)?;
        Ok(values)
    }

    fn finite(&self, name: &str, values: &[f32], length: usize) -> Result<()> {
        match values.iter().position(|value| !value.is_finite()) {
            None => Ok(()),
            Some(idx) => Err(self.error(
                name,
                format!(
                    "holds {} in row {} of a row group; the gate's numbers are finite",
                    values[idx],
                    idx / length
                ),
            )),
        }
    }

    fn hidden(&self, name: &str, layer_idx: usize) -> Result<HiddenStates> {
        let column = self.column::<FloatType>(name)?;
        let width = column.values.len() / self.n_rows.max(1);
        if width == 0 || width * self.n_rows != column.values.len() {
            return Err(self.error(name, "does not have lists of one length"));
        }
        Ok(HiddenStates {
            layer_idx,
            width,
            values: column.values,
        })
    }

    fn phase(&self, name: &ByteArray) -> Result<Phase> {
        [Phase::Prompt, Phase::Response]
            .into_iter()
            .find(|phase| phase.name().as_bytes() == name.data())
            .ok_or_else(|| {
                let found = String::from_utf8_lossy(name.data()).into_owned();
                self.error(
                    "phase",
                    format!("holds {found:?}, expected prompt or response"),
                )
            })
    }

    fn text(&self, bytes: &ByteArray) -> Result<Box<str>> {
        match std::str::from_utf8(bytes.data()) {
            Ok(text) => Ok(text.into()),
            Err(error) => Err(self.error("piece", format!("holds a text that is none: {error}"))),
        }
    }
}
