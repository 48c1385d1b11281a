//! Writes one Parquet file: atomically on a disk, or into memory.

use std::io::Write;
use std::path::{Path, PathBuf};

use lac_core::Phase;
use lac_files::AtomicFile;
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, FloatType, Int32Type};
use parquet::errors::ParquetError;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};

use super::schema::Columns;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::TokenBatch;

/// How many bytes of a row group wait in memory before it is written, unless a caller says otherwise.
pub(super) const ROW_GROUP_BYTES: usize = 4 << 20;

/// A Parquet file that is being written.
pub(super) struct ParquetWriter<W: Write + Send> {
    path: PathBuf,
    file: SerializedFileWriter<W>,
}

impl ParquetWriter<AtomicFile> {
    /// Starts a file that appears under its name when it is finished, and not before.
    pub(super) fn create(path: &Path, info: &TraceInfo, columns: &Columns) -> Result<Self> {
        let file = AtomicFile::create(path).map_err(Error::io("write", path))?;
        Self::start(file, path, info, columns)
    }

    /// Writes the footer, syncs the file and gives it its name.
    pub(super) fn finish(self) -> Result<()> {
        let path = self.path.clone();
        let file = self.into_inner()?;
        file.finish().map_err(Error::io("write", &path))
    }
}

impl<W: Write + Send> ParquetWriter<W> {
    /// Starts a file; `path` names it in errors.
    pub(super) fn start(file: W, path: &Path, info: &TraceInfo, columns: &Columns) -> Result<Self> {
        let writer = SerializedFileWriter::new(file, columns.schema()?, columns.properties(info));
        Ok(Self {
            path: path.to_owned(),
            file: writer.map_err(|error| write_error(path, error))?,
        })
    }

    /// Writes a row group.
    pub(super) fn write(&mut self, batch: &TokenBatch) -> Result<()> {
        write_row_group(&mut self.file, batch).map_err(|error| write_error(&self.path, error))
    }

    /// Writes the footer, and returns what was written to.
    pub(super) fn into_inner(self) -> Result<W> {
        let Self { path, file } = self;
        file.into_inner().map_err(|error| write_error(&path, error))
    }
}

/// Takes the operating system's error out of the Parquet library's, where there is one.
fn write_error(path: &Path, error: ParquetError) -> Error {
    let source = match error {
        ParquetError::External(error) => match error.downcast::<std::io::Error>() {
            Ok(error) => *error,
            Err(error) => std::io::Error::other(error),
        },
        error => std::io::Error::other(error),
    };
    Error::io("write", path)(source)
}

fn write_row_group<W: Write + Send>(
    file: &mut SerializedFileWriter<W>,
    batch: &TokenBatch,
) -> Result<(), ParquetError> {
    let mut group = file.next_row_group()?;
    let unsigned = |values: &[u32]| values.iter().map(|&value| value as i32).collect::<Vec<_>>();

    write_values::<Int32Type, _>(&mut group, &unsigned(&batch.sequences), None)?;
    let (prompt, response) = (
        ByteArray::from(Phase::Prompt.name()),
        ByteArray::from(Phase::Response.name()),
    );
    let phases: Vec<ByteArray> = batch
        .phases
        .iter()
        .map(|phase| match phase {
            Phase::Prompt => prompt.clone(),
            Phase::Response => response.clone(),
        })
        .collect();
    write_values::<ByteArrayType, _>(&mut group, &phases, None)?;
    write_values::<Int32Type, _>(&mut group, &unsigned(&batch.positions), None)?;

    let ids: Vec<u32> = batch.token_ids.iter().flatten().copied().collect();
    write_values::<Int32Type, _>(
        &mut group,
        &unsigned(&ids),
        Some(&presence(&batch.token_ids)),
    )?;
    let pieces: Vec<ByteArray> = batch
        .pieces
        .iter()
        .flatten()
        .map(|piece| ByteArray::from(&**piece))
        .collect();
    write_values::<ByteArrayType, _>(&mut group, &pieces, Some(&presence(&batch.pieces)))?;

    if let Some(mut column) = group.next_column()? {
        column
            .typed::<FloatType>()
            .write_batch(&batch.embedding_norms, None, None)?;
        column.close()?;
    }
    let levels = Levels::new(batch.len(), batch.n_layers);
    for flags in [&batch.active, &batch.executed] {
        if let Some(mut column) = group.next_column()? {
            column.typed::<BoolType>().write_batch(
                flags,
                Some(&levels.definition),
                Some(&levels.repetition),
            )?;
            column.close()?;
        }
    }
    let lists = [&batch.norms, &batch.deltas, &batch.thresholds];
    let measured = batch.measures.iter().flat_map(|columns| &columns.values);
    for list in lists.into_iter().chain(measured) {
        write_lists::<FloatType, _>(&mut group, list, &levels)?;
    }
    if let Some(lens) = &batch.lens {
        let top = Levels::new(batch.len(), batch.n_layers * lens.n_top);
        write_lists::<FloatType, _>(&mut group, &lens.logprobs, &top)?;
        write_lists::<FloatType, _>(&mut group, &lens.entropy, &levels)?;
        write_lists::<FloatType, _>(&mut group, &lens.kl, &levels)?;
    }
    for states in &batch.hidden {
        let levels = Levels::new(batch.len(), states.width);
        write_lists::<FloatType, _>(&mut group, &states.values, &levels)?;
    }
    if let Some(routing) = &batch.routing {
        let levels = Levels::new(batch.len(), batch.n_layers * routing.n_chosen);
        write_lists::<FloatType, _>(&mut group, &routing.weights, &levels)?;
        write_lists::<Int32Type, _>(&mut group, &unsigned(&routing.experts), &levels)?;
    }
    if let Some(lens) = &batch.lens {
        let levels = Levels::new(batch.len(), batch.n_layers * lens.n_top);
        write_lists::<Int32Type, _>(&mut group, &unsigned(&lens.ids), &levels)?;
    }
    group.close()?;
    Ok(())
}

/// Parquet's definition and repetition levels of lists that all have the same length.
struct Levels {
    definition: Vec<i16>,
    repetition: Vec<i16>,
}

impl Levels {
    fn new(n_lists: usize, length: usize) -> Self {
        let repetition = (0..n_lists * length)
            .map(|idx| i16::from(idx % length != 0))
            .collect();
        Self {
            definition: vec![1; n_lists * length],
            repetition,
        }
    }
}

fn presence<T>(values: &[Option<T>]) -> Vec<i16> {
    values
        .iter()
        .map(|value| i16::from(value.is_some()))
        .collect()
}

fn write_values<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    definition: Option<&[i16]>,
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, definition, None)?;
        column.close()?;
    }
    Ok(())
}

fn write_lists<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: &Levels,
) -> Result<(), ParquetError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(
            values,
            Some(&levels.definition),
            Some(&levels.repetition),
        )?;
        column.close()?;
    }
    Ok(())
}
