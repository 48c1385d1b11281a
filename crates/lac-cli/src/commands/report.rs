//! `lac report`: what traces say, in numbers and pictures.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;
use lac_trace::file::TraceState;
use lac_trace::report::{ReportConfig, TerminalConfig};
use lac_trace::{Style, TraceReader, TraceReport};

use crate::numbers::whole;
use crate::out_file;
use crate::output::{print_line, print_picture, warn_user};

/// Statistics and pictures of traces: usage, voids, PP against RG, other α, several models
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac report trace.parquet\n  lac report trace.parquet --out report\n  lac report f32.parquet bf16.parquet --out compared"
)]
pub struct Report {
    /// Traces of `lac trace --out`, or the folders of parts of interrupted runs
    #[arg(value_name = "TRACE", required = true)]
    traces: Vec<PathBuf>,
    /// Write report.html, statistics.json and the pictures as SVG and PNG into this folder
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Tokens of each trace that the page shows one by one; charts and tables count all
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = whole(0..=usize::MAX))]
    max_tokens: usize,
    /// Without --out: tokens of each phase that are drawn in the terminal
    #[arg(long, value_name = "N", default_value_t = 40, conflicts_with = "out", value_parser = whole(0..=usize::MAX))]
    tokens: usize,
    /// Without --out: characters in a line, in place of the terminal's own width
    #[arg(long, value_name = "N", conflicts_with = "out", value_parser = whole(0..=usize::MAX))]
    width: Option<usize>,
}

/// Returns the terminal's width; 100 where the output is not a terminal.
fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0))
}

impl Report {
    pub fn run(&self) -> Result<()> {
        if let Some(out) = &self.out {
            out_file::check_not_stdout(("--out", out), "a report is a folder of files")?;
            ensure!(
                out.is_dir() || !out.exists(),
                "--out {} is a file: a report is a folder of files",
                out.display()
            );
        }
        let traces = self
            .traces
            .iter()
            .map(|path| TraceReader::open(path))
            .collect::<Result<Vec<_>, _>>()?;
        for trace in &traces {
            if trace.state() == TraceState::Interrupted {
                warn_user!(
                    "{} is of an interrupted run: {} tokens had been written",
                    trace.path().display(),
                    trace.n_tokens()
                );
            }
        }
        let config = ReportConfig {
            max_tokens: self.max_tokens,
        };
        let report = TraceReport::read(&traces, &config)?;
        if let Some(folder) = &self.out {
            for path in report.write(folder)? {
                print_line(&path.display().to_string())?;
            }
            return Ok(());
        }
        let config = TerminalConfig {
            width: self.width.unwrap_or_else(terminal_width),
            max_tokens: self.tokens,
            style: Style::Coloured,
        };
        print_picture(report.to_terminal(&config).trim_end())
    }
}
