//! Reports of traces: pictures as SVG and PNG, one self-contained page, and the numbers as JSON.

mod content;
mod folder;
mod page;
mod pictures;
mod terminal;
mod token_columns;

pub use content::{ReportConfig, TraceReport};
pub use terminal::TerminalConfig;
