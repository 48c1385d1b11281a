//! The folder of a run's parts: who writes into it, and what an interrupted run left in it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use lac_files::{FolderLock, is_leftover};

use super::part::PartWriter;
use super::read::{TraceReader, parts_in};
use super::schema::Columns;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::TokenBatch;

/// Where a part lies.
pub(super) fn part_path(folder: &Path, part_idx: usize) -> PathBuf {
    folder.join(format!("part-{part_idx:06}.parquet"))
}

/// Makes the folder if need be, and takes it for one writer.
pub(super) fn lock_parts(folder: &Path) -> Result<FolderLock> {
    /// How often the folder is made anew when the run before removes it at its end.
    const ATTEMPTS: usize = 100;
    for _ in 0..ATTEMPTS {
        match std::fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(Error::io("create", folder)(error)),
        }
        match FolderLock::take(folder) {
            Ok(lock) => return Ok(lock),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("record into", folder)(error)),
        }
    }
    Err(Error::io("record into", folder)(ErrorKind::NotFound.into()))
}

/// Whether an earlier run has left something. A lock, or a part that was not finished when its process was killed,
/// is nothing.
pub(super) fn has_parts(folder: &Path) -> Result<bool> {
    for entry in std::fs::read_dir(folder).map_err(Error::io("read", folder))? {
        let entry = entry.map_err(Error::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_leftover(&name) {
            std::fs::remove_file(entry.path()).map_err(Error::io("remove", &entry.path()))?;
        } else if name != FolderLock::FILE_NAME {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What is left of an interrupted run.
pub(super) struct Kept {
    /// The run's, with what it had learned.
    pub(super) info: TraceInfo,
    /// Parts are numbered from 0 to this.
    pub(super) n_parts: usize,
    pub(super) n_tokens: u64,
}

/// Takes what was recorded of sequences that were not over out of the parts.
///
/// The last part comes first: it says how many sequences are whole, and a process that is killed between two
/// parts leaves a folder that says of fewer sequences that they are.
pub(super) fn keep_whole_sequences(folder: &Path, info: &TraceInfo) -> Result<Kept> {
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
            let mut writer = PartWriter::create(&path, &info, &Columns::of(&kept))?;
            writer.write(&path, &kept)?;
            writer.finish(&path)?;
        }
        n_parts = n_parts.max(part_idx + 1);
        n_tokens += kept.len() as u64;
    }
    Ok(Kept {
        info,
        n_parts,
        n_tokens,
    })
}
