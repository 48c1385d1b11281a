//! Records to disk while the model runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lac_core::{BoxError, Observer, PassRecord};
use lac_files::FolderLock;

use super::join::join;
use super::layout::{has_parts, lock_parts, part_path, parts_folder, remove_unfinished_files};
use super::parquet_writer::{ParquetWriter, ROW_GROUP_BYTES};
use super::pass_rows::PassRows;
use super::read::TraceReader;
use super::resume::keep_whole_sequences;
use super::schema::Columns;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::probe::Probe;

/// When recorded tokens are written to disk: as soon as one of the limits is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// Number of bytes that wait in memory at most.
    pub bytes: usize,
    /// How long the oldest token waits at most.
    pub after: Duration,
}

impl Default for FlushLimits {
    /// Returns the default: 4 MiB, or half a minute.
    fn default() -> Self {
        Self {
            bytes: ROW_GROUP_BYTES,
            after: Duration::from_secs(30),
        }
    }
}

/// Records every token of every row of every pass into a file, with bounded memory.
///
/// One writer serves any number of generations of one model. Each generation starts with a pass over prompts, whose
/// rows continue the numbering of sequences. Finished parts are written into the folder `FILE.parts`;
/// [`finish`](Self::finish) joins them into the file and removes the folder. A writer that is dropped or killed before
/// that leaves the folder: [`TraceReader`] and every Parquet reader can open it, and [`resume`](Self::resume)
/// continues it. One writer at a time writes to a file.
///
/// ```
/// # use lac_core::{Decision, GateRecord, Observer, Pass, PassRecord};
/// use lac_core::{GateConfig, Trace};
/// use lac_trace::{TraceInfo, TraceReader, TraceWriter};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("trace.parquet");
/// let policy = Trace::new(GateConfig::new(0.8));
/// let info = TraceInfo::new("my-model", 2, &policy)?;
/// let mut recorder = TraceWriter::create(&path, info)?
///     .with_pieces(|id| Some(format!("<{id}>")));
/// // `recorder` is the observer of any number of generations; here, of one pass.
/// # let record = PassRecord {
/// #     pass: Pass::prompt(&[[7, 8]], 0)?,
/// #     decisions: vec![Decision::Run; 2],
/// #     gate: Some(GateRecord {
/// #         embedding_norms: vec![1.0, 1.0],
/// #         norms: vec![2.0, 3.0, 1.5, 5.0],
/// #         deltas: vec![1.0, 2.0, -0.5, 2.0],
/// #         thresholds: vec![0.0; 4],
/// #         active: vec![true, true, false, true],
/// #     }),
/// #     routing: Vec::new(),
/// #     measures: None,
/// #     lens: None,
/// # };
/// recorder.pass(&record)?;
/// recorder.finish()?;
///
/// let trace = TraceReader::open(&path)?;
/// assert_eq!((trace.n_tokens(), trace.info().model.as_str()), (2, "my-model"));
/// let mut active = Vec::new();
/// trace.for_each(|token| active.push((token.label(), token.n_active())))?;
/// assert_eq!(active, [("<7>".to_owned(), 1), ("<8>".to_owned(), 2)]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct TraceWriter<'a> {
    path: PathBuf,
    parts: PathBuf,
    /// The lock on the folder of parts, held until the end.
    lock: Option<FolderLock>,
    info: TraceInfo,
    probe: Option<Probe>,
    limits: FlushLimits,
    /// The tokens that wait in memory.
    rows: PassRows<'a>,
    /// When the buffer's first token was recorded.
    waiting_since: Option<Instant>,
    n_parts: usize,
    n_tokens: u64,
}

impl fmt::Debug for TraceWriter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TraceWriter")
            .field("path", &self.path)
            .field("info", &self.info)
            .field("n_tokens", &self.n_tokens)
            .finish_non_exhaustive()
    }
}

impl<'a> TraceWriter<'a> {
    /// Starts recording to a file, which appears under its name when it is finished.
    ///
    /// # Errors
    /// - [`Error::InterruptedRun`] if an earlier run left its parts there; they are not changed
    /// - [`Error::Io`], with [`lac_files::Busy`] as its source, if another process records to the file
    /// - [`Error::Io`] for any other error of the operating system
    pub fn create(path: &Path, info: TraceInfo) -> Result<Self> {
        let writer = Self::start(path, info)?;
        if has_parts(&writer.parts)? {
            return Err(Error::InterruptedRun {
                path: writer.parts.clone(),
            });
        }
        remove_unfinished_files(&writer.parts)?;
        Ok(writer)
    }

    /// Starts recording to a file, or continues an interrupted run with the same settings.
    ///
    /// The sequences before the last call of [`sequences_are_whole`](Self::sequences_are_whole) are kept; what was
    /// recorded of later ones is removed. [`n_sequences`](Self::n_sequences) then returns how many prompts need not be
    /// run again.
    ///
    /// Two runs have the same settings if everything in their [`TraceInfo`] is equal. Record whatever else their
    /// texts depend on as a note.
    ///
    /// # Errors
    /// - [`Error::OtherRun`] if the interrupted run had other settings; its parts are not changed
    /// - the errors of [`create`](Self::create), except [`Error::InterruptedRun`]
    pub fn resume(path: &Path, info: TraceInfo) -> Result<Self> {
        let mut writer = Self::start(path, info)?;
        if has_parts(&writer.parts)? {
            let kept = keep_whole_sequences(&writer.parts, &writer.info)?;
            writer.info = kept.info;
            writer.n_parts = kept.n_parts;
            writer.n_tokens = kept.n_tokens;
            writer.rows.n_earlier = writer.info.whole_sequences;
        }
        remove_unfinished_files(&writer.parts)?;
        Ok(writer)
    }

    fn start(path: &Path, info: TraceInfo) -> Result<Self> {
        let parts = parts_folder(path);
        let lock = lock_parts(&parts)?;
        Ok(Self {
            path: path.to_owned(),
            parts,
            lock: Some(lock),
            rows: PassRows::new(info.n_layers),
            info,
            probe: None,
            limits: FlushLimits::default(),
            waiting_since: None,
            n_parts: 0,
            n_tokens: 0,
        })
    }

    /// Sets the function that returns the vocabulary's spelling of an id, such as a tokenizer's. It is called once for
    /// every recorded token.
    pub fn with_pieces(mut self, pieces: impl Fn(u32) -> Option<String> + 'a) -> Self {
        self.rows.pieces = Box::new(pieces);
        self
    }

    /// Sets the probe whose readings are recorded beside the gate's. It is read once per pass.
    pub fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = (!probe.is_empty()).then_some(probe);
        self
    }

    /// Sets when recorded tokens are written to disk.
    pub fn with_limits(mut self, limits: FlushLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the number of tokens recorded so far.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// Returns the number of sequences recorded so far.
    pub fn n_sequences(&self) -> u32 {
        self.rows.n_sequences()
    }

    /// Notes a sequence's last token, which was chosen but not fed to the model: no pass follows with it.
    pub fn unfed(&mut self, sequence: u32, token_id: u32) {
        self.info.unfed.insert(sequence, token_id);
    }

    /// Notes that all sequences so far are finished: if the run is interrupted later, they are kept.
    pub fn sequences_are_whole(&mut self) {
        self.info.whole_sequences = self.n_sequences();
    }

    /// Writes the tokens that wait in memory to disk, as a finished part.
    ///
    /// # Errors
    /// [`Error::Io`] for any error of the operating system.
    pub fn flush(&mut self) -> Result<()> {
        if self.rows.tokens.is_empty() {
            return Ok(());
        }
        let path = part_path(&self.parts, self.n_parts);
        let columns = Columns::of(&self.rows.tokens);
        let mut part = ParquetWriter::create(&path, &self.info, &columns)?;
        part.write(&self.rows.tokens)?;
        part.finish()?;
        self.n_parts += 1;
        self.rows.tokens.clear();
        self.waiting_since = None;
        Ok(())
    }

    /// Joins the parts into the file and removes them. Returns the number of tokens in the file.
    ///
    /// # Errors
    /// - [`Error::Empty`] if nothing was recorded
    /// - [`Error::Io`] for any error of the operating system; the parts then stay
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        if self.n_parts == 0 {
            return Err(Error::Empty {
                path: self.path.clone(),
            });
        }
        self.info.whole_sequences = 0;
        let parts = TraceReader::open(&self.parts)?;
        let n_tokens = join(&parts, &self.path, &self.info, self.limits.bytes)?;
        std::fs::remove_dir_all(&self.parts).map_err(Error::io("remove", &self.parts))?;
        Ok(n_tokens)
    }

    fn record(&mut self, record: &PassRecord) -> Result<()> {
        let probed = match &self.probe {
            Some(probe) => Some(probe.read()?),
            None => None,
        };
        let n_before = self.rows.tokens.len();
        self.rows.push(&self.info, record, probed.as_ref())?;
        self.n_tokens += (self.rows.tokens.len() - n_before) as u64;
        self.flush_if_due()
    }

    fn flush_if_due(&mut self) -> Result<()> {
        if self.rows.tokens.is_empty() {
            return Ok(());
        }
        let waited = match self.waiting_since {
            Some(since) => since.elapsed(),
            None => {
                self.waiting_since = Some(Instant::now());
                Duration::ZERO
            }
        };
        if self.rows.tokens.n_bytes() >= self.limits.bytes || waited >= self.limits.after {
            self.flush()?;
        }
        Ok(())
    }
}

impl Observer for TraceWriter<'_> {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        Ok(self.record(record)?)
    }
}

/// Keeps what was recorded before an error.
impl Drop for TraceWriter<'_> {
    fn drop(&mut self) {
        // A failure cannot be reported from here.
        let _ = self.flush();
        // Its file would keep the folder from being empty.
        self.lock = None;
        if self.n_parts == 0 {
            let _ = std::fs::remove_dir(&self.parts);
        }
    }
}
