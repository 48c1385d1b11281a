//! Continues an interrupted run: keeps the sequences that it had finished.

use std::path::Path;

use super::layout::parts_in;
use super::parquet_writer::ParquetWriter;
use super::read::TraceReader;
use super::schema::Columns;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::TokenBatch;

/// What is kept of an interrupted run.
pub(super) struct KeptParts {
    /// The description of the run, with what it learned on the way.
    pub(super) info: TraceInfo,
    /// The number that the next part gets.
    pub(super) n_parts: usize,
    pub(super) n_tokens: u64,
}

/// Removes from the parts what was recorded of unfinished sequences.
///
/// The last part is changed first. It is the one that says how many sequences are finished, so a process that is killed
/// between two parts leaves a folder that counts fewer sequences as finished, and never more.
///
/// # Errors
/// [`Error::OtherRun`] if the parts are those of a run with other settings; nothing is changed then.
pub(super) fn keep_whole_sequences(folder: &Path, info: &TraceInfo) -> Result<KeptParts> {
    let found = TraceReader::open(folder)?.info().clone();
    let differences = found.differences(info);
    if !differences.is_empty() {
        return Err(Error::OtherRun {
            path: folder.to_owned(),
            differences: differences.join("; "),
        });
    }
    let mut info = found;
    let n_whole = info.whole_sequences;
    info.unfed.retain(|&sequence, _| sequence < n_whole);
    let mut n_parts = 0;
    let mut n_tokens = 0;
    for (part_idx, path) in parts_in(folder)?.into_iter().enumerate().rev() {
        let part = TraceReader::open(&path)?;
        let mut kept = TokenBatch::new(info.n_layers);
        for batch in part.batches() {
            kept.append_where(&batch?, |sequence| sequence < n_whole);
        }
        if kept.is_empty() {
            std::fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            continue;
        }
        if (kept.len() as u64) < part.n_tokens() {
            let mut writer = ParquetWriter::create(&path, &info, &Columns::of(&kept))?;
            writer.write(&kept)?;
            writer.finish()?;
        }
        n_parts = n_parts.max(part_idx + 1);
        n_tokens += kept.len() as u64;
    }
    Ok(KeptParts {
        info,
        n_parts,
        n_tokens,
    })
}
