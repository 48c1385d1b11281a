//! Makes tables of results, and text of the tables.

mod csv;
mod format;
mod markdown;
mod score;
mod table;

pub use self::format::{ReportFormat, SubjectTables};
pub use self::score::Score;
pub use self::table::{EvalReport, ReportTable, VariantRow, compare_records};

use crate::error::{Error, Result};

/// Renders a report. Markdown has the subjects only if they are asked for.
///
/// # Errors
/// [`Error::Mismatch`] when a number cannot be written.
pub fn render(
    report: &EvalReport,
    format: ReportFormat,
    subjects: SubjectTables,
) -> Result<String> {
    match format {
        ReportFormat::Markdown => Ok(markdown::markdown(report, subjects)),
        ReportFormat::Json => serde_json::to_string_pretty(report)
            .map(|text| text + "\n")
            .map_err(|error| Error::Mismatch(error.to_string())),
        ReportFormat::Csv => {
            csv::csv_text(report).map_err(|error| Error::Mismatch(error.to_string()))
        }
    }
}
