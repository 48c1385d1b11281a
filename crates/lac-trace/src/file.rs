//! The file of a trace: Parquet, one row per token, one list per row for what layers did.
//!
//! A run writes finished parts, each a whole trace of its own, into the folder `FILE.parts`; at
//! its end they become the one file. A reader takes the file or the folder.

mod group;
mod pages;
mod part;
mod parts;
mod read;
mod schema;
mod write;

pub use read::{TraceReader, TraceState};
pub use write::{FlushLimits, TraceWriter};

pub(crate) use part::write_whole;
pub(crate) use schema::SCALARS;
