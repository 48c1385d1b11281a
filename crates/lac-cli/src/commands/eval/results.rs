//! Commands that read files of results: merge, report, compare.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use lac_eval::report::{ReportFormat, SubjectTables, compare_records, render};
use lac_eval::results::{Record, merge};
use lac_eval::{EvalReport, Results};
use serde::Serialize;

use crate::one_of::one_of_explained;
use crate::out_file;
use crate::output::{note, print_line, write_json, write_text};

/// Returns the text of `--help` about a form of a report.
pub fn explain_format(format: ReportFormat) -> Option<&'static str> {
    match format {
        ReportFormat::Markdown => Some("Tables to read"),
        ReportFormat::Json => Some("Every number"),
        ReportFormat::Csv => Some("A line per variant and subject"),
        _ => None,
    }
}

/// Join the results of several shards into one file
#[derive(Args)]
#[command(after_help = "Examples:\n  lac eval merge part0.jsonl part1.jsonl --out mmlu.jsonl")]
pub struct Merge {
    /// Files of results with the same settings
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The file to write, whole or not at all
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Merge {
    pub fn run(&self) -> Result<()> {
        let out = ("--out", self.out.as_path());
        out_file::check_not_stdout(out, "a file of results is continued")?;
        let parts = self
            .files
            .iter()
            .map(|file| Ok((file.display().to_string(), read_results(file)?)))
            .collect::<Result<Vec<_>>>()?;
        let merged = merge(&parts)?;
        write_text(&self.out, &merged.to_lines())?;
        let n_items = merged
            .settings
            .first()
            .map_or(0, |first| first.data.n_items);
        for settings in &merged.settings {
            let n = merged.of(settings).count();
            let label = settings.policy.label();
            note!("{label}: {n} of {n_items} questions");
        }
        Ok(())
    }
}

/// Make tables of results: accuracy, usage, executed layers, time
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac eval report full.jsonl skipped.jsonl\n  lac eval report mmlu.jsonl --subjects --out mmlu.md\n  lac eval report *.jsonl --format csv"
)]
pub struct ReportCommand {
    /// Files of results; results that cannot be compared get tables of their own
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Form of the report
    #[arg(
        long,
        value_parser = one_of_explained(ReportFormat::ALL, ReportFormat::name, explain_format),
        default_value = ReportFormat::Markdown.name(),
    )]
    format: ReportFormat,
    /// Add a table of every subject
    #[arg(long)]
    subjects: bool,
    /// Write to this file in place of stdout (-)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl ReportCommand {
    pub fn run(&self) -> Result<()> {
        if let Some(out) = &self.out {
            let files = self.files.iter().map(|file| Some(("FILE", file.as_path())));
            let files: Vec<_> = files.collect();
            out_file::check_apart(("--out", out), &files)?;
        }
        let files = self
            .files
            .iter()
            .map(|file| read_results(file))
            .collect::<Result<Vec<_>>>()?;
        let subjects = if self.subjects {
            SubjectTables::Apart
        } else {
            SubjectTables::Together
        };
        let text = render(&EvalReport::new(&files), self.format, subjects)?;
        match &self.out {
            Some(path) if path != Path::new("-") => write_text(path, &text),
            _ => print_line(text.trim_end()),
        }
    }
}

/// Say whether two runs differ by more than chance: paired bootstrap and McNemar's test
#[derive(Args)]
#[command(
    after_help = "Examples:\n  lac eval compare full.jsonl skipped.jsonl\n  lac eval compare mmlu.jsonl mmlu.jsonl --first off --second \"last-active, α 0.4\" --json"
)]
pub struct Compare {
    /// The first file of results
    #[arg(value_name = "FILE")]
    first_file: PathBuf,
    /// The second; the same file serves when it holds several variants
    #[arg(value_name = "FILE")]
    second_file: PathBuf,
    /// Which variant of the first file, as its report names it; needed when it holds several
    #[arg(long, value_name = "VARIANT")]
    first: Option<String>,
    /// Which variant of the second file
    #[arg(long, value_name = "VARIANT")]
    second: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct ComparisonJson {
    first: String,
    second: String,
    #[serde(flatten)]
    comparison: lac_eval::statistics::PairedComparison,
    difference: f64,
}

impl Compare {
    pub fn run(&self) -> Result<()> {
        let first = read_results(&self.first_file)?;
        let second = read_results(&self.second_file)?;
        let first = variant(&self.first_file, &first, self.first.as_deref(), "--first")?;
        let second = variant(
            &self.second_file,
            &second,
            self.second.as_deref(),
            "--second",
        )?;
        if first.0.benchmark != second.0.benchmark || first.0.data != second.0.data {
            bail!(
                "the runs asked different questions: {} ({}) and {} ({})",
                first.0.benchmark,
                first.0.data.hash,
                second.0.benchmark,
                second.0.data.hash
            );
        }
        if first.0.prompt.protocol != second.0.prompt.protocol {
            bail!(
                "the runs have different protocols, {} and {}: they measure different things",
                first.0.prompt.protocol,
                second.0.prompt.protocol
            );
        }
        let seen = compare_records(&first.1, &second.1)
            .context("there is no question that both runs answered")?;
        let name = |settings: &lac_eval::Settings| {
            format!("{}, {}", settings.model.name, settings.policy.label())
        };
        let (first, second) = (name(first.0), name(second.0));
        if self.json {
            let difference = seen.difference();
            return write_json(
                "-".as_ref(),
                &ComparisonJson {
                    first,
                    second,
                    comparison: seen,
                    difference,
                },
            );
        }
        let (low, high) = seen.interval;
        print_line(&format!(
            "first            {first}: {:.2} %\nsecond           {second}: {:.2} %\n\
             questions        {}\n\
             difference       {:+.2} points, 95 % interval {:+.2} to {:+.2} (paired bootstrap)\n\
             gained, lost     {}, {}\n\
             p                {:.4} (McNemar, exact, two-sided)\n\
             same answer      {:.1} %",
            100.0 * seen.first,
            100.0 * seen.second,
            seen.n,
            100.0 * seen.difference(),
            100.0 * low,
            100.0 * high,
            seen.only_second,
            seen.only_first,
            seen.p_value,
            100.0 * seen.agreement
        ))
    }
}

/// Reads a file of results, and fails where it holds none.
fn read_results(path: &Path) -> Result<Results> {
    let results = Results::read(path)?;
    ensure!(
        !results.settings.is_empty(),
        "{} holds no results: it is empty, or its run ended before the first answer",
        path.display()
    );
    Ok(results)
}

/// Returns the variant of a file that a flag names, or its only one.
fn variant<'a>(
    path: &Path,
    results: &'a Results,
    name: Option<&str>,
    flag: &str,
) -> Result<(&'a lac_eval::Settings, Vec<&'a Record>)> {
    let labels: Vec<String> = results
        .settings
        .iter()
        .map(|settings| settings.policy.label())
        .collect();
    let place = match name {
        Some(name) => labels.iter().position(|label| label == name),
        None if labels.len() == 1 => Some(0),
        None => None,
    };
    let Some(place) = place else {
        bail!(
            "{flag}: {} holds {}; name one of them",
            path.display(),
            labels
                .iter()
                .map(|label| format!("{label:?}"))
                .collect::<Vec<_>>()
                .join(", ")
        );
    };
    let settings = &results.settings[place];
    Ok((settings, results.of(settings).collect()))
}
