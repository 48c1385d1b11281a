//! Writes a report as Markdown.

use std::collections::BTreeMap;

use super::format::SubjectTables;
use super::score::Score;
use super::table::{EvalReport, ReportTable, VariantRow};

/// Stands for a missing number.
const NONE: &str = "–";

fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or(NONE.to_owned(), |value| format!("{value:.digits$}"))
}

pub(super) fn markdown(report: &EvalReport, subjects: SubjectTables) -> String {
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
            text.push_str(&score_table(table, "category", |row| &row.groups));
        }
        if subjects == SubjectTables::Apart {
            text.push_str(&score_table(table, "subject", |row| &row.subjects));
        }
    }
    text
}

fn heading(table: &ReportTable) -> String {
    let settings = &table.settings;
    let prompt = &settings.prompt;
    let mut how = vec![format!("protocol {}", prompt.protocol)];
    if let Some(task) = prompt.task {
        how.push(format!("task {task}"));
        how.push(format!("{}-shot", prompt.few_shot));
    }
    how.push(
        if prompt.chat {
            "chat template"
        } else {
            "plain text"
        }
        .to_owned(),
    );
    for quirk in prompt.quirks.iter() {
        how.push(format!("quirk {}", quirk.name()));
    }
    if let Some(members) = &prompt.batch_members {
        how.push(format!("batches of {}", members.batch_size));
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

fn overall(table: &ReportTable) -> String {
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

fn drafts(table: &ReportTable) -> String {
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
    if lines.is_empty() {
        String::new()
    } else {
        lines.concat() + "\n"
    }
}

fn differences(table: &ReportTable) -> String {
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

/// Writes a table of scores, with a line for each category or each subject.
fn score_table<'a>(
    table: &'a ReportTable,
    name: &str,
    of: impl Fn(&'a VariantRow) -> &'a BTreeMap<String, Score>,
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
    for name in names {
        let scores: Vec<Option<&Score>> = table.rows.iter().map(|row| of(row).get(name)).collect();
        let n = scores.iter().flatten().map(|score| score.n).max();
        let cells: Vec<String> = scores
            .iter()
            .map(|score| format!(" {} |", number(score.map(|score| score.accuracy), 2)))
            .collect();
        text.push_str(&format!(
            "| {name} | {} |{}\n",
            n.unwrap_or(0),
            cells.concat()
        ));
    }
    text.push('\n');
    text
}
