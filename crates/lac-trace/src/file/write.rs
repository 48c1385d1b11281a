//! The recorder that writes to disk while the model runs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lac_core::{BoxError, Observer, PassRecord};
use lac_files::FolderLock;

use super::part::PartWriter;
use super::parts::{has_parts, keep_whole_sequences, lock_parts, part_path};
use super::read::{PARTS_SUFFIX, TraceReader};
use super::schema::Columns;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::probe::{Probe, ProbeReadings};
use crate::token::{HiddenStates, TokenBatch};

/// When what was recorded goes to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushLimits {
    /// Once this many bytes wait in memory.
    pub bytes: usize,
    /// Once the oldest of them has waited this long.
    pub after: Duration,
}

impl Default for FlushLimits {
    /// 4 MiB, or half a minute.
    fn default() -> Self {
        Self {
            bytes: 4 << 20,
            after: Duration::from_secs(30),
        }
    }
}

/// Records every token of every row of every pass into a file, with bounded memory.
///
/// One recorder serves any number of generations of one model: each starts with a pass over
/// prompts, whose rows continue the numbering of sequences. Finished parts go into the folder
/// `FILE.parts`; [`finish`](Self::finish) makes the file of them and removes the folder. Dropped
/// or killed before that, a recorder leaves the folder, which [`TraceReader`] and every Parquet
/// reader open, and which [`resume`](Self::resume) goes on with. One recorder at a time writes to a file.
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
    /// Held until the end.
    lock: Option<FolderLock>,
    info: TraceInfo,
    pieces: Box<dyn Fn(u32) -> Option<String> + 'a>,
    probe: Option<Probe>,
    limits: FlushLimits,
    buffer: TokenBatch,
    /// When the buffer's first token came.
    waiting_since: Option<Instant>,
    n_parts: usize,
    n_tokens: u64,
    /// Sequences of earlier generations, and rows of the present one.
    n_earlier: u32,
    n_rows: u32,
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
    /// [`Error::InterruptedRun`] when an earlier run left its parts there; [`Error::Io`] with
    /// [`lac_files::Busy`] as its source when another process records to the file; what the system reports.
    pub fn create(path: &Path, info: TraceInfo) -> Result<Self> {
        let writer = Self::start(path, info)?;
        match has_parts(&writer.parts)? {
            true => Err(Error::InterruptedRun {
                path: writer.parts.clone(),
            }),
            false => Ok(writer),
        }
    }

    /// The same, going on with what an interrupted run of the same settings had recorded: the sequences that
    /// [`sequences_are_whole`](Self::sequences_are_whole) was said of are kept, what was recorded of later ones
    /// is dropped. [`n_sequences`](Self::n_sequences) says how many need not be run again.
    ///
    /// Two runs are taken for the same when everything in their [`TraceInfo`] is; what else their texts depend on
    /// belongs into a note.
    ///
    /// # Errors
    /// [`Error::OtherRun`] when the interrupted run had other settings; as [`create`](Self::create).
    pub fn resume(path: &Path, info: TraceInfo) -> Result<Self> {
        let mut writer = Self::start(path, info)?;
        if has_parts(&writer.parts)? {
            let kept = keep_whole_sequences(&writer.parts, &writer.info)?;
            writer.info = kept.info;
            writer.n_parts = kept.n_parts;
            writer.n_tokens = kept.n_tokens;
            writer.n_earlier = writer.info.whole_sequences;
        }
        Ok(writer)
    }

    fn start(path: &Path, info: TraceInfo) -> Result<Self> {
        let mut parts = path.as_os_str().to_owned();
        parts.push(PARTS_SUFFIX);
        let parts = PathBuf::from(parts);
        let lock = lock_parts(&parts)?;
        Ok(Self {
            path: path.to_owned(),
            parts,
            lock: Some(lock),
            buffer: TokenBatch::new(info.n_layers),
            info,
            pieces: Box::new(|_| None),
            probe: None,
            limits: FlushLimits::default(),
            waiting_since: None,
            n_parts: 0,
            n_tokens: 0,
            n_earlier: 0,
            n_rows: 0,
        })
    }

    /// The same with the vocabulary's spelling of ids, such as a tokenizer gives it.
    pub fn with_pieces(mut self, pieces: impl Fn(u32) -> Option<String> + 'a) -> Self {
        self.pieces = Box::new(pieces);
        self
    }

    /// The same with what a probe reads beside the gate.
    pub fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = (!probe.is_empty()).then_some(probe);
        self
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: FlushLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Number of tokens recorded so far.
    pub fn n_tokens(&self) -> u64 {
        self.n_tokens
    }

    /// Number of sequences recorded so far.
    pub fn n_sequences(&self) -> u32 {
        self.n_earlier + self.n_rows
    }

    /// Notes a sequence's last token, which was chosen but not fed: no pass is to be expected of
    /// it.
    pub fn unfed(&mut self, sequence: u32, token_id: u32) {
        self.info.unfed.insert(sequence, token_id);
    }

    /// Notes that all sequences so far are over: a run that is interrupted later keeps them.
    pub fn sequences_are_whole(&mut self) {
        self.info.whole_sequences = self.n_sequences();
    }

    /// Writes what waits in memory to disk, as a finished part.
    ///
    /// # Errors
    /// What the system reports.
    pub fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let path = part_path(&self.parts, self.n_parts);
        let columns = Columns::of(&self.buffer);
        let mut part = PartWriter::create(&path, &self.info, &columns)?;
        part.write(&path, &self.buffer)?;
        part.finish(&path)?;
        self.n_parts += 1;
        self.buffer.clear();
        self.waiting_since = None;
        Ok(())
    }

    /// Makes the file of the parts and removes them. Returns the number of tokens in it.
    ///
    /// # Errors
    /// What the system reports; the parts stay then. [`Error::Empty`] when nothing was recorded.
    pub fn finish(mut self) -> Result<u64> {
        self.flush()?;
        if self.n_parts == 0 {
            return Err(Error::Empty {
                path: self.path.clone(),
            });
        }
        self.info.whole_sequences = 0;
        let n_tokens = join_parts(&self.parts, &self.path, Some(&self.info), self.limits)?;
        std::fs::remove_dir_all(&self.parts).map_err(Error::io("remove", &self.parts))?;
        Ok(n_tokens)
    }

    fn record(&mut self, record: &PassRecord) -> Result<()> {
        let pass = &record.pass;
        let Some(gate) = &record.gate else {
            return Err(Error::NotGated {
                policy: self.info.policy.clone(),
            });
        };
        if record.n_layers() != self.info.n_layers {
            return Err(Error::UnexpectedPass {
                what: "layers",
                found: record.n_layers(),
                expected: self.info.n_layers,
            });
        }
        if pass.past() == 0 {
            self.n_earlier += self.n_rows;
            self.n_rows = pass.batch() as u32;
        } else if pass.batch() as u32 != self.n_rows {
            return Err(Error::UnexpectedPass {
                what: "rows",
                found: pass.batch(),
                expected: self.n_rows as usize,
            });
        }
        let probed = match &self.probe {
            Some(probe) => Some(probe.read()?),
            None => None,
        };
        if let Some(probed) = &probed
            && probed.n_tokens != pass.batch() * pass.seq()
        {
            return Err(Error::UnexpectedPass {
                what: "probed tokens",
                found: probed.n_tokens,
                expected: pass.batch() * pass.seq(),
            });
        }
        let executed = record.executed();
        let batch = &mut self.buffer;
        let n_before = batch.len();
        for (row, slot) in record.counted() {
            let token = row * pass.seq() + slot;
            let at = |layer_idx| record.at(layer_idx, row, slot);
            let layers = 0..record.n_layers();
            let id = pass.token_ids().get(token).copied();
            batch.sequences.push(self.n_earlier + row as u32);
            batch.phases.push(pass.phase());
            // What counts has a position.
            let position = pass.position(row, slot).unwrap_or_default();
            batch.positions.push(position as u32);
            batch.token_ids.push(id);
            batch
                .pieces
                .push(id.and_then(&self.pieces).map(String::into_boxed_str));
            batch.embedding_norms.push(gate.embedding_norms[token]);
            batch
                .norms
                .extend(layers.clone().map(|layer| gate.norms[at(layer)]));
            batch
                .deltas
                .extend(layers.clone().map(|layer| gate.deltas[at(layer)]));
            batch
                .thresholds
                .extend(layers.clone().map(|layer| gate.thresholds[at(layer)]));
            batch
                .active
                .extend(layers.map(|layer| gate.active[at(layer)]));
            batch.executed.extend_from_slice(&executed);
            if let Some(probed) = &probed {
                push_probed(batch, probed, token);
            }
        }
        self.n_tokens += (batch.len() - n_before) as u64;
        self.flush_if_due()
    }

    fn flush_if_due(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let waited = match self.waiting_since {
            Some(since) => since.elapsed(),
            None => {
                self.waiting_since = Some(Instant::now());
                Duration::ZERO
            }
        };
        if self.buffer.n_bytes() >= self.limits.bytes || waited >= self.limits.after {
            self.flush()?;
        }
        Ok(())
    }
}

/// Adds what a probe read of a token; `token` counts slots of the pass, row after row.
fn push_probed(batch: &mut TokenBatch, probed: &ProbeReadings, token: usize) {
    let n_tokens = probed.n_tokens;
    let layers = |values: &[f32]| {
        (0..batch.n_layers)
            .map(|layer_idx| values[layer_idx * n_tokens + token])
            .collect::<Vec<_>>()
    };
    if let Some((cosines, contributions)) = &probed.similarity {
        let (cosines, contributions) = (layers(cosines), layers(contributions));
        batch.cosines.get_or_insert_default().extend(cosines);
        batch
            .contributions
            .get_or_insert_default()
            .extend(contributions);
    }
    for (hidden_idx, (layer_idx, values)) in probed.hidden.iter().enumerate() {
        let width = values.len() / n_tokens;
        if batch.hidden.len() == hidden_idx {
            batch.hidden.push(HiddenStates {
                layer_idx: *layer_idx,
                width,
                values: Vec::new(),
            });
        }
        batch.hidden[hidden_idx]
            .values
            .extend_from_slice(&values[token * width..(token + 1) * width]);
    }
}

impl Observer for TraceWriter<'_> {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        Ok(self.record(record)?)
    }
}

/// What was recorded before an error is kept.
impl Drop for TraceWriter<'_> {
    fn drop(&mut self) {
        // Nobody is left to be told of a failure.
        let _ = self.flush();
        // Its file would keep the folder from being empty.
        self.lock = None;
        if self.n_parts == 0 {
            let _ = std::fs::remove_dir(&self.parts);
        }
    }
}

/// Streams a trace into one file, in row groups of the limit's size.
pub(super) fn join_parts(
    from: &Path,
    to: &Path,
    info: Option<&TraceInfo>,
    limits: FlushLimits,
) -> Result<u64> {
    let reader = TraceReader::open(from)?;
    let info = info.unwrap_or(reader.info());
    let mut file = None;
    let mut buffer = TokenBatch::new(info.n_layers);
    let mut n_tokens = 0;
    let mut write = |buffer: &mut TokenBatch| -> Result<()> {
        let writer = match &mut file {
            Some(writer) => writer,
            None => file.insert(PartWriter::create(to, info, &Columns::of(buffer))?),
        };
        writer.write(to, buffer)?;
        buffer.clear();
        Ok(())
    };
    for batch in reader.batches() {
        let batch = batch?;
        n_tokens += batch.len() as u64;
        buffer.append(&batch);
        if buffer.n_bytes() >= limits.bytes {
            write(&mut buffer)?;
        }
    }
    if !buffer.is_empty() {
        write(&mut buffer)?;
    }
    match file {
        Some(writer) => writer.finish(to)?,
        None => {
            return Err(Error::Empty {
                path: from.to_owned(),
            });
        }
    }
    Ok(n_tokens)
}
