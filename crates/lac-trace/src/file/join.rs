//! Parts joined into one file.

use std::path::Path;

use super::parquet_writer::{ParquetWriter, ROW_GROUP_BYTES};
use super::read::TraceReader;
use super::schema::Columns;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::TokenBatch;

impl TraceReader {
    /// Writes the trace as one file, whether it was read from a file or from parts. Returns the number of tokens.
    ///
    /// # Errors
    /// The errors of [`for_each`](Self::for_each); [`Error::Io`] if the file cannot be written.
    pub fn write_parquet(&self, path: &Path) -> Result<u64> {
        join(self, path, self.info(), ROW_GROUP_BYTES)
    }
}

/// Copies a trace into one file, in row groups of about `group_bytes` bytes in memory. Returns the number of tokens.
pub(super) fn join(
    trace: &TraceReader,
    to: &Path,
    info: &TraceInfo,
    group_bytes: usize,
) -> Result<u64> {
    let mut file = None;
    let mut buffer = TokenBatch::new(info.n_layers);
    let mut n_tokens = 0;
    let mut write = |buffer: &mut TokenBatch| -> Result<()> {
        let writer = match &mut file {
            Some(writer) => writer,
            None => file.insert(ParquetWriter::create(to, info, &Columns::of(buffer))?),
        };
        writer.write(buffer)?;
        buffer.clear();
        Ok(())
    };
    for batch in trace.batches() {
        let batch = batch?;
        n_tokens += batch.len() as u64;
        buffer.append(&batch);
        if buffer.n_bytes() >= group_bytes {
            write(&mut buffer)?;
        }
    }
    if !buffer.is_empty() {
        write(&mut buffer)?;
    }
    match file {
        Some(writer) => writer.finish()?,
        None => {
            return Err(Error::Empty {
                path: trace.path().to_owned(),
            });
        }
    }
    Ok(n_tokens)
}
