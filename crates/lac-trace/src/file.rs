//! The file of a trace: Parquet, with one row per token and one list per row for what the layers did.
//!
//! A run writes finished parts into the folder `FILE.parts`, each of them a complete trace; at the end of the run
//! they are joined into the one file. A reader takes the file or the folder.

mod export;
mod join;
mod layout;
mod memory;
mod pages;
mod parquet_writer;
mod pass_rows;
mod read;
mod resume;
mod row_group;
mod schema;
mod write;

pub use crate::info::{FORMAT_VERSION, TraceInfo};
pub use crate::token::{HiddenStates, Token, TokenBatch};
pub use export::{LensFields, SequenceJson};
pub use memory::MemoryTrace;
pub use read::{TraceReader, TraceState};
pub use write::{FlushLimits, TraceWriter};
