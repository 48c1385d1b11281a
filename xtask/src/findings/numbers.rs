//! Numbers out of the results' JSON, and tables of them.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// Reads a result; `None` if its step was not run.
pub fn read(out: &Path, name: &str) -> Result<Option<Value>> {
    let path = out.join(name);
    let Ok(text) = std::fs::read_to_string(&path) else {
        return Ok(None);
    };
    let value = serde_json::from_str(&text);
    let value = value.with_context(|| format!("{} is damaged: remove it", path.display()))?;
    Ok(Some(value))
}

/// Follows keys and indices separated by points.
pub fn at<'v>(value: &'v Value, path: &str) -> &'v Value {
    path.split('.')
        .fold(value, |value, key| match key.parse::<usize>() {
            Ok(idx) => &value[idx],
            Err(_) => &value[key],
        })
}

/// Returns a number, or `None` where there is none.
pub fn number(value: &Value, path: &str) -> Option<f64> {
    at(value, path).as_f64()
}

/// Returns the numbers of a list.
pub fn numbers(value: &Value, path: &str) -> Vec<f64> {
    let list = at(value, path).as_array();
    list.map(|list| list.iter().filter_map(Value::as_f64).collect())
        .unwrap_or_default()
}

/// Writes a number with so many decimals, or a dash.
pub fn decimals(value: Option<f64>, n: usize) -> String {
    value.map_or("–".to_owned(), |value| format!("{value:.n$}"))
}

/// Writes a share as per cents.
pub fn percent(share: Option<f64>) -> String {
    share.map_or("–".to_owned(), |share| format!("{:.1} %", 100.0 * share))
}

/// Writes a share with its 95 % interval, as `{share, low, high}` has it.
pub fn share(value: &Value) -> String {
    let part = |key| number(value, key).map(|share| 100.0 * share);
    match (part("share"), part("low"), part("high")) {
        (Some(share), Some(low), Some(high)) => format!("{share:.1} % ({low:.1} to {high:.1})"),
        _ => "–".to_owned(),
    }
}

/// Writes a correlation with its 95 % interval.
pub fn correlation(value: &Value) -> String {
    match (
        number(value, "correlation"),
        number(value, "interval.low"),
        number(value, "interval.high"),
    ) {
        (Some(r), Some(low), Some(high)) => format!("{r:+.2} ({low:+.2} to {high:+.2})"),
        _ => "–".to_owned(),
    }
}

/// Writes a table in Markdown.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: Vec<&str>| format!("| {} |", cells.join(" | "));
    let mut lines = vec![
        line(head.to_vec()),
        line(head.iter().map(|_| "---").collect()),
    ];
    let rows = rows.iter();
    lines.extend(rows.map(|row| line(row.iter().map(String::as_str).collect())));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_missing_is_a_dash() {
        let value = json!({"a": [{"b": 0.25}, null], "s": {"share": 0.5, "low": 0.4, "high": 0.6}});
        assert_eq!(number(&value, "a.0.b"), Some(0.25));
        assert_eq!(number(&value, "a.1.b"), None);
        assert_eq!(number(&value, "x.y.0"), None);
        assert_eq!(percent(number(&value, "a.0.b")), "25.0 %");
        assert_eq!(decimals(None, 2), "–");
        assert_eq!(share(&value["s"]), "50.0 % (40.0 to 60.0)");
        assert_eq!(correlation(&value), "–");
        let expected = "| a | b |\n| --- | --- |\n| 1 | 2 |\n";
        assert_eq!(
            table(&["a", "b"], &[vec!["1".into(), "2".into()]]),
            expected
        );
    }
}
