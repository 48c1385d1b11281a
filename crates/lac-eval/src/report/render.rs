//! A report as Markdown, JSON or CSV.

use super::{Report, Row, Score, Table};
use crate::error::{Error, Result};

/// The form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Tables to read.
    #[default]
    Markdown,
    /// Every number, shares in percent.
    Json,
    /// A line per variant and subject.
    Csv,
}

/// Renders a report. Markdown has the subjects only if they are asked for.
///
/// # Errors
/// [`Error::Mismatch`] when a number cannot be written, which a full memory could cause.
pub fn render(report: &Report, format: Format, subjects: Subjects) -> Result<String> {
    match format {
        Format::Markdown => Ok(markdown(report, subjects)),
        Format::Json => serde_json::to_string_pretty(report)
            .map(|text| text + "\n")
            .map_err(|error| Error::Mismatch(error.to_string())),
        Format::Csv => csv_text(report).map_err(|error| Error::Mismatch(error.to_string())),
    }
}

/// Whether Markdown has a table of subjects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subjects {
    /// The overall rows alone.
    #[default]
    Together,
    /// A table of every subject, too.
    Apart,
}

const NONE: &str = "–";

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or(NONE.to_owned(), |value| format!("{value:.digits$}"))
}

fn markdown(report: &Report, subjects: Subjects) -> String {
    let mut text = String::new();
    for table in &report.tables {
        text.push_str(&heading(table));
        text.push_str(&overall(table));
        text.push_str(&drafts(table));
        let differences = differences(table);
        if !differences.is_empty() {
            text.push_str(&differences);
        }
        let has_groups = table.rows.iter().any(|row| !row.groups.is_empty());
        if has_groups {
            text.push_str(&parts(table, "category", |row| &row.groups));
        }
        if subjects == Subjects::Apart {
            text.push_str(&parts(table, "subject", |row| &row.subjects));
        }
    }
    text
}

fn heading(table: &Table) -> String {
    let settings = &table.settings;
    let asking = &settings.asking;
    let mut how = vec![format!("protocol {}", asking.protocol)];
    if let Some(task) = asking.task {
        // A unit variant is written as a plain string.
        let name = serde_json::to_value(task).unwrap_or_default();
        how.push(format!("task {}", name.as_str().unwrap_or_default()));
        how.push(format!("{}-shot", asking.few_shot));
    }
    how.push(
        if asking.chat {
            "chat template"
        } else {
            "plain text"
        }
        .to_owned(),
    );
    for quirk in &asking.quirks {
        how.push(format!("quirk {}", quirk.name()));
    }
    if let Some(neighbours) = &asking.neighbours {
        how.push(format!("batches of {}", neighbours.batch_size));
    }
    format!(
        "## {} on {}\n\n{}; {} questions (hash {}); model {} ({}, fingerprint {})\n\n",
        settings.model.name,
        settings.benchmark,
        how.join(", "),
        settings.data.n_items,
        settings.data.hash,
        settings.model.name,
        settings.model.dtype,
        settings.model.fingerprint,
    )
}

fn overall(table: &Table) -> String {
    let mut text = "| policy | questions | accuracy % | ± | per character % | no answer | usage PP % | usage RG % \
                    | layers run PP | layers run RG | s per question |\n\
                    | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n"
        .to_owned();
    for row in &table.rows {
        let score = &row.overall;
        let n = if score.n == table.settings.data.n_items {
            score.n.to_string()
        } else {
            format!("{} of {}", score.n, table.settings.data.n_items)
        };
        text.push_str(&format!(
            "| {} | {n} | {:.2} | {} | {} | {} | {} | {} | {} | {} | {:.4} |\n",
            row.label,
            score.accuracy,
            number(score.standard_error, 2),
            number(score.accuracy_norm, 2),
            score.n_no_answer,
            number(score.usage_prompt, 1),
            number(score.usage_response, 1),
            number(score.executed_prompt, 1),
            number(score.executed_response, 1),
            score.seconds_per_item,
        ));
    }
    text.push('\n');
    text
}

fn drafts(table: &Table) -> String {
    let lines: Vec<String> = table
        .rows
        .iter()
        .filter_map(|row| {
            let drafts = row.drafts?;
            let share = 100.0 * drafts.accepted as f64 / drafts.drafted.max(1) as f64;
            Some(format!(
                "{}: {} tokens drafted, {} accepted ({share:.1} %); {} full passes for {} tokens; layers run RG \
                 are per token, the drafts' included.\n",
                row.label, drafts.drafted, drafts.accepted, drafts.full_passes, drafts.tokens,
            ))
        })
        .collect();
    match lines.is_empty() {
        true => String::new(),
        false => lines.concat() + "\n",
    }
}

fn differences(table: &Table) -> String {
    let rows: Vec<String> = table
        .rows
        .iter()
        .filter_map(|row| {
            let seen = row.against_full.as_ref()?;
            let (low, high) = seen.interval;
            Some(format!(
                "| {} | {} | {:+.2} | {:+.2} to {:+.2} | {} / {} | {:.3} | {:.1} |\n",
                row.label,
                seen.n,
                100.0 * seen.difference(),
                100.0 * low,
                100.0 * high,
                seen.only_second,
                seen.only_first,
                seen.p_value,
                100.0 * seen.agreement
            ))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "Against the full model, question by question:\n\n\
         | policy | pairs | difference | 95 % interval | gained / lost | p (McNemar) | same answer % |\n\
         | --- | --: | --: | --: | --: | --: | --: |\n{}\n",
        rows.concat()
    )
}

fn parts<'a>(
    table: &'a Table,
    name: &str,
    of: impl Fn(&'a Row) -> &'a std::collections::BTreeMap<String, Score>,
) -> String {
    let labels: Vec<String> = table
        .rows
        .iter()
        .map(|row| format!(" {} |", row.label))
        .collect();
    let mut text = format!(
        "| {name} | questions |{}\n| --- | --: |{}\n",
        labels.concat(),
        " --: |".repeat(table.rows.len())
    );
    let mut names: Vec<&String> = table.rows.iter().flat_map(|row| of(row).keys()).collect();
    names.sort();
    names.dedup();
    for part in names {
        let scores: Vec<Option<&Score>> = table.rows.iter().map(|row| of(row).get(part)).collect();
        let n = scores.iter().flatten().map(|score| score.n).max();
        let cells: Vec<String> = scores
            .iter()
            .map(|score| format!(" {} |", number(score.map(|score| score.accuracy), 2)))
            .collect();
        text.push_str(&format!(
            "| {part} | {} |{}\n",
            n.unwrap_or(0),
            cells.concat()
        ));
    }
    text.push('\n');
    text
}

fn csv_text(report: &Report) -> Result<String, Box<dyn std::error::Error>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        "model",
        "benchmark",
        "protocol",
        "policy",
        "alpha",
        "settings",
        "subject",
        "questions",
        "right",
        "no_answer",
        "accuracy",
        "standard_error",
        "accuracy_per_character",
        "usage_prompt",
        "usage_response",
        "executed_prompt",
        "executed_response",
        "seconds_per_question",
        "difference",
        "p_value",
        "agreement",
    ])?;
    for table in &report.tables {
        for row in &table.rows {
            let parts = row.groups.iter().chain(&row.subjects);
            let all = std::iter::once((None, &row.overall))
                .chain(parts.map(|(name, score)| (Some(name), score)));
            for (subject, score) in all {
                writer.write_record(csv_record(table, row, subject, score))?;
            }
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn csv_record(table: &Table, row: &Row, subject: Option<&String>, score: &Score) -> Vec<String> {
    let settings = &table.settings;
    let plain = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let against = row.against_full.as_ref().filter(|_| subject.is_none());
    vec![
        settings.model.name.clone(),
        settings.benchmark.to_string(),
        settings.asking.protocol.to_string(),
        row.policy.clone(),
        row.alpha.map_or(String::new(), |alpha| alpha.to_string()),
        row.hash.clone(),
        subject.cloned().unwrap_or_else(|| "all".to_owned()),
        score.n.to_string(),
        score.n_right.to_string(),
        score.n_no_answer.to_string(),
        score.accuracy.to_string(),
        plain(score.standard_error),
        plain(score.accuracy_norm),
        plain(score.usage_prompt),
        plain(score.usage_response),
        plain(score.executed_prompt),
        plain(score.executed_response),
        score.seconds_per_item.to_string(),
        plain(against.map(|seen| 100.0 * seen.difference())),
        plain(against.map(|seen| seen.p_value)),
        plain(against.map(|seen| 100.0 * seen.agreement)),
    ]
}
