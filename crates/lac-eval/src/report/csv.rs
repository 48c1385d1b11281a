//! Writes a report as CSV.

use super::score::Score;
use super::table::{EvalReport, ReportTable, VariantRow};

pub(super) fn csv_text(report: &EvalReport) -> Result<String, Box<dyn std::error::Error>> {
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
        "accuracy_mutual_info",
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
            let named = row.groups.iter().chain(&row.subjects);
            let all = std::iter::once((None, &row.overall))
                .chain(named.map(|(name, score)| (Some(name), score)));
            for (subject, score) in all {
                writer.write_record(csv_record(table, row, subject, score))?;
            }
        }
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn csv_record(
    table: &ReportTable,
    row: &VariantRow,
    subject: Option<&String>,
    score: &Score,
) -> Vec<String> {
    let settings = &table.settings;
    let plain = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
    let against = row.against_full.as_ref().filter(|_| subject.is_none());
    vec![
        settings.model.name.clone(),
        settings.benchmark.to_string(),
        settings.prompt.protocol.to_string(),
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
        plain(score.accuracy_mutual_info),
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
