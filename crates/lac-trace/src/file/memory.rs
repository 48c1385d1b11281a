//! A trace in memory, for programs that show it at once and have no files.

use std::fmt;
use std::path::Path;

use lac_core::{BoxError, Observer, PassRecord, PerPhase};

use super::export::{LensFields, SequenceJson};
use super::parquet_writer::ParquetWriter;
use super::pass_rows::PassRows;
use super::schema::Columns;
use crate::error::{Error, Result};
use crate::info::TraceInfo;
use crate::lens::PhaseLens;
use crate::token::TokenBatch;

/// Records every token of every row of every pass into memory.
///
/// ```
/// # use lac_core::{Decision, GateRecord, Observer, Pass, PassRecord};
/// use lac_core::{GateConfig, Trace};
/// use lac_trace::file::MemoryTrace;
/// use lac_trace::{TraceInfo, TraceReader};
///
/// let info = TraceInfo::new("my-model", 1, &Trace::new(GateConfig::new(0.8)))?;
/// let mut trace = MemoryTrace::new(info).with_pieces(|id| Some(format!("<{id}>")));
/// # let record = PassRecord {
/// #     pass: Pass::prompt(&[[7, 8]], 0)?,
/// #     decisions: vec![Decision::Run],
/// #     gate: Some(GateRecord {
/// #         embedding_norms: vec![1.0, 1.0],
/// #         norms: vec![2.0, 3.0],
/// #         deltas: vec![1.0, 2.0],
/// #         thresholds: vec![0.0; 2],
/// #         active: vec![true, true],
/// #     }),
/// #     routing: Vec::new(),
/// #     measures: None,
/// #     lens: None,
/// # };
/// trace.pass(&record)?;
/// trace.unfed(0, 9);
/// assert_eq!(trace.tokens().token(1).label(), "<8>");
/// assert_eq!(trace.sequence(0).deltas, [[1.0, 2.0]]);
///
/// // What was recorded is the same file that a `TraceWriter` leaves.
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("trace.parquet");
/// std::fs::write(&path, trace.to_parquet()?)?;
/// assert_eq!(TraceReader::open(&path)?.n_tokens(), 2);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct MemoryTrace<'a> {
    info: TraceInfo,
    rows: PassRows<'a>,
}

impl fmt::Debug for MemoryTrace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryTrace")
            .field("info", &self.info)
            .field("n_tokens", &self.rows.tokens.len())
            .finish_non_exhaustive()
    }
}

impl<'a> MemoryTrace<'a> {
    /// Starts without a token.
    pub fn new(info: TraceInfo) -> Self {
        Self {
            rows: PassRows::new(info.n_layers),
            info,
        }
    }

    /// Sets the function that returns the vocabulary's spelling of an id, as
    /// [`TraceWriter::with_pieces`](super::TraceWriter::with_pieces) does.
    pub fn with_pieces(mut self, pieces: impl Fn(u32) -> Option<String> + 'a) -> Self {
        self.rows.pieces = Box::new(pieces);
        self
    }

    /// Notes a sequence's last token, which was chosen but not fed to the model: no pass follows with it.
    pub fn unfed(&mut self, sequence: u32, token_id: u32) {
        self.info.unfed.insert(sequence, token_id);
    }

    /// Returns the description of the run.
    pub fn info(&self) -> &TraceInfo {
        &self.info
    }

    /// Returns all tokens so far.
    pub fn tokens(&self) -> &TokenBatch {
        &self.rows.tokens
    }

    /// Returns one sequence in the fields of `lac trace --json`, as [`TraceReader::sequence`](super::TraceReader::sequence)
    /// does. A sequence without a token is empty.
    pub fn sequence(&self, sequence: u32) -> SequenceJson {
        let mut json = SequenceJson::new(&self.info, sequence);
        let mut lens = PerPhase::<PhaseLens>::default();
        let tokens = self.rows.tokens.tokens();
        for token in tokens.filter(|token| token.sequence == sequence) {
            json.push(&token);
            if let Some(seen) = &token.lens {
                lens.get_mut(token.phase).push(seen);
            }
        }
        json.lens = LensFields::new(lens.prompt, lens.response);
        json.generated
            .extend(self.info.unfed.get(&sequence).map(|&id| Some(id)));
        json
    }

    /// Returns the bytes of the file that [`TraceReader`](super::TraceReader) reads.
    ///
    /// # Errors
    /// [`Error::Empty`] if nothing was recorded.
    pub fn to_parquet(&self) -> Result<Vec<u8>> {
        let path = Path::new("a trace in memory");
        let tokens = &self.rows.tokens;
        if tokens.is_empty() {
            return Err(Error::Empty {
                path: path.to_owned(),
            });
        }
        let mut file = ParquetWriter::start(Vec::new(), path, &self.info, &Columns::of(tokens))?;
        file.write(tokens)?;
        file.into_inner()
    }
}

impl Observer for MemoryTrace<'_> {
    fn pass(&mut self, record: &PassRecord) -> Result<(), BoxError> {
        Ok(self.rows.push(&self.info, record, None)?)
    }
}
