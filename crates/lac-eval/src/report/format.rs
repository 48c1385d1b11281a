//! The forms of a report.

use std::str::FromStr;

use lac_core::named::{UnknownName, by_name};

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReportFormat {
    /// Tables to read.
    #[default]
    Markdown,
    /// Every number, shares in percent.
    Json,
    /// A line for each variant and subject.
    Csv,
}

impl ReportFormat {
    /// All forms.
    pub const ALL: &'static [ReportFormat] = &[
        ReportFormat::Markdown,
        ReportFormat::Json,
        ReportFormat::Csv,
    ];

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            ReportFormat::Markdown => "markdown",
            ReportFormat::Json => "json",
            ReportFormat::Csv => "csv",
        }
    }
}

impl FromStr for ReportFormat {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("format", Self::ALL, Self::name, name)
    }
}

/// Whether Markdown has a table of subjects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SubjectTables {
    /// The overall rows only.
    #[default]
    Together,
    /// A table of every subject as well.
    Apart,
}
