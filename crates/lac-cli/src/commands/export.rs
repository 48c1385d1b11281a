//! `lac export`: a trace in another format.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lac_trace::TraceReader;

use crate::numbers::whole;
use crate::out_file;

/// Write a trace as JSON, CSV or Parquet
///
/// What an interrupted run left in FILE.parquet.parts is a trace too: export it to FILE.parquet.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac export trace.parquet --out trace.csv\n  lac export trace.parquet --sequence 3 --out third.json\n  lac export trace.parquet.parts --out trace.parquet"
)]
pub struct Export {
    /// A trace's file, or the folder of parts of an interrupted run
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// The file to write; its ending says the format: .json, .csv or .parquet
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The sequence to write as JSON
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole(0..=u32::MAX))]
    sequence: u32,
}

impl Export {
    pub fn run(&self) -> Result<()> {
        let out = ("--out", self.out.as_path());
        out_file::check_apart(out, &[Some(("TRACE", &self.trace))])?;
        let trace = TraceReader::open(&self.trace)?;
        match self.out.extension().and_then(|ending| ending.to_str()) {
            Some("json") => trace.write_json(&self.out, self.sequence)?,
            Some("csv") => trace.write_csv(&self.out)?,
            Some("parquet") => {
                trace.write_parquet(&self.out)?;
            }
            _ => bail!(
                "--out {}: the ending says the format, .json, .csv or .parquet",
                self.out.display()
            ),
        }
        Ok(())
    }
}
