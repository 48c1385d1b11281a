//! Reading traces: the file, or the folder of parts of a run that was interrupted.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::file::reader::{FileReader, SerializedFileReader};

use super::group::{Reader, column_idx, read_row_group};
use super::schema::{FLAG_LISTS, FLOAT_LISTS, SCALARS};
use super::write::{FlushLimits, join_parts};
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::{Token, TokenBatch};

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
            n_tokens += count_rows(&file, part)?;
            check_columns(&file, part)?;
            match &mut found {
                None => found = Some(info),
                Some(first) => {
                    // Sequences end while a run goes on.
                    first.unfed.clone_from(&info.unfed);
                    first.whole_sequences = info.whole_sequences;
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
pub(super) fn parts_in(folder: &Path) -> Result<Vec<PathBuf>> {
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

/// The number of tokens, on which the file and its row groups have to agree.
fn count_rows(file: &Reader, path: &Path) -> Result<u64> {
    let metadata = file.metadata();
    let groups = metadata.row_groups().iter();
    let n_rows = groups
        .map(|group| u64::try_from(group.num_rows()).ok())
        .try_fold(0u64, |sum, n| sum.checked_add(n?));
    let announced = metadata.file_metadata().num_rows();
    match n_rows {
        // Positions of tokens count to 2³².
        Some(n_rows) if n_rows < 1 << 48 && u64::try_from(announced) == Ok(n_rows) => Ok(n_rows),
        _ => Err(Error::damaged(
            path,
            format!("it announces {announced} tokens, and its row groups another number"),
        )),
    }
}

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
