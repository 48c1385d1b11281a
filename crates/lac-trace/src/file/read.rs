//! Reads traces: the file, or the folder of parts that an interrupted run left.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lac_files::parquet::ParquetFile;

use super::layout::parts_in;
use super::row_group::{column_idx, read_row_group};
use super::schema::{FLAG_LISTS, FLOAT_LISTS, SCALARS};
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::token::{Token, TokenBatch};

/// Whether a trace is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceState {
    /// The run was recorded to its end.
    Complete,
    /// The run was interrupted: the trace holds the parts that were on disk.
    Interrupted,
}

/// A trace on disk. Tokens are read on demand, one row group at a time.
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
    /// - [`Error::Io`] if the file cannot be read
    /// - [`Error::NotATrace`] if it is something else
    /// - [`Error::UnknownVersion`] if a newer version of lac wrote it
    /// - [`Error::Damaged`], [`Error::Metadata`] or [`Error::Column`] if it is damaged
    /// - [`Error::Empty`] if it holds no token
    /// - [`Error::Mismatch`] if the folder holds parts of several runs
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

    /// Returns the file or folder that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the description of the run: the model, the policy, the gate.
    pub fn info(&self) -> &TraceInfo {
        &self.info
    }

    /// Returns the number of tokens.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// Returns whether the run was recorded to its end.
    pub fn state(&self) -> TraceState {
        self.state
    }

    /// Iterates over all tokens in the order in which they were recorded, one row group at a time. The iterator ends
    /// after its first error.
    pub fn batches(&self) -> impl Iterator<Item = Result<TokenBatch>> + '_ {
        let groups = self.parts.iter().flat_map(move |part| {
            let file = open_part(part);
            let n_groups = file
                .as_ref()
                .map_or(1, |file| file.metadata().num_row_groups());
            let mut file = Some(file);
            let mut opened = None;
            (0..n_groups).map(move |group_idx| {
                if let Some(file) = file.take() {
                    opened = Some(file?);
                }
                // The first round opened the file or ended with the error.
                let Some(file) = &opened else {
                    return Err(Error::damaged(part, "it was not opened"));
                };
                catch_panic(part, || read_row_group(file, group_idx, &self.info, part))
            })
        });
        let mut has_failed = false;
        groups.take_while(move |batch| {
            let goes_on = !has_failed;
            has_failed |= batch.is_err();
            goes_on
        })
    }

    /// Calls a function once for every token, in the order in which they were recorded.
    ///
    /// # Errors
    /// The errors of [`open`](Self::open), for what is found on the way. The function has then been called for the
    /// tokens before the error.
    pub fn for_each(&self, mut visit: impl FnMut(Token<'_>)) -> Result<()> {
        for batch in self.batches() {
            batch?.tokens().for_each(&mut visit);
        }
        Ok(())
    }
}

/// Returns the number of tokens, on which the file and its row groups have to agree.
fn count_rows(file: &ParquetFile, path: &Path) -> Result<u64> {
    let metadata = file.metadata();
    let groups = metadata.row_groups().iter();
    let n_rows = groups
        .map(|group| u64::try_from(group.num_rows()).ok())
        .try_fold(0u64, |sum, n| sum.checked_add(n?));
    let announced = metadata.file_metadata().num_rows();
    match n_rows {
        // A bound far above any run: positions are numbers of 32 bits.
        Some(n_rows) if n_rows < 1 << 48 && u64::try_from(announced) == Ok(n_rows) => Ok(n_rows),
        _ => Err(Error::damaged(
            path,
            format!("it announces {announced} tokens, and its row groups another number"),
        )),
    }
}

fn open_part(path: &Path) -> Result<ParquetFile> {
    let mut file = File::open(path).map_err(Error::io("read", path))?;
    let length = file.metadata().map_err(Error::io("read", path))?.len();
    check_magic(&mut file, length, path)?;
    catch_panic(path, || {
        ParquetFile::new(file).map_err(|error| Error::damaged(path, error))
    })
}

/// Distinguishes a foreign file from a truncated one before the footer is read.
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

/// Turns a panic of the Parquet library into an error. It checks what it reads, but a damaged file may still make it panic.
fn catch_panic<T>(path: &Path, read: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(read))
        .unwrap_or_else(|_| Err(Error::damaged(path, "the Parquet library cannot read it")))
}

fn check_columns(file: &ParquetFile, path: &Path) -> Result<()> {
    for name in SCALARS.iter().chain(&FLOAT_LISTS).chain(&FLAG_LISTS) {
        column_idx(file, name).ok_or_else(|| Error::column(path, name, "is missing"))?;
    }
    Ok(())
}
