//! The tables of docs/findings.md, from the results that are there.

use std::fmt::Write;
use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use super::numbers::{at, correlation, decimals, number, numbers, percent, read, share, table};
use super::plan::{
    ALPHAS, DTYPES, Inputs, POLICIES, QUIRKS, RANKINGS, SEEDS, SHARE_OF_BENCHMARKS, SHARES,
};

/// Makes all tables. One whose results are missing is left out.
pub fn all(out: &Path, inputs: &Inputs) -> Result<String> {
    let mut text = format!(
        "Model {}, {} windows of {} tokens, {} questions of each benchmark.\n",
        inputs
            .model
            .file_name()
            .unwrap_or_default()
            .to_string_lossy(),
        inputs.windows,
        inputs.context,
        inputs.limit
    );
    let parts = [
        ("(a) Usage per layer", usage(out)?),
        ("(b) Perplexity over α", perplexity_over_alpha(out)?),
        ("(b) Accuracy over α", accuracy_over_alpha(out, inputs)?),
        ("(c) Perplexity against the layers run", rankings(out)?),
        ("(c) Accuracy under plans", accuracy_of_plans(out, inputs)?),
        ("(d) Are voids decided?", relations(out)?),
        (
            "(e) Which masks flip",
            flips(out, "e-report/statistics.json", &dtype_names())?,
        ),
        ("(f) Massive activations", massive(out)?),
        (
            "(g) Rounding as the released code does",
            flips(out, "g-report/statistics.json", &ROUNDED)?,
        ),
        ("(g) The released code's defects", quirks(out)?),
    ];
    for (title, part) in parts {
        if let Some(part) = part {
            write!(text, "\n## {title}\n\n{part}")?;
        }
    }
    Ok(text)
}

const STATISTICS: &str = "a-report/statistics.json";
const PHASES: [&str; 2] = ["prompt", "response"];
const ROUNDED: [&str; 2] = ["bf16", "bf16, gate rounded"];

fn dtype_names() -> Vec<&'static str> {
    DTYPES.iter().map(|(name, _)| *name).collect()
}

fn usage(out: &Path) -> Result<Option<String>> {
    let Some(statistics) = read(out, STATISTICS)? else {
        return Ok(None);
    };
    let trace = at(&statistics, "traces.0");
    let n_layers = number(trace, "info.n_layers").unwrap_or(0.0) as usize;
    let mut head = vec!["layer".to_owned()];
    for phase in PHASES {
        for column in ["usage", "norm", "influence", "contribution"] {
            head.push(format!("{phase}: {column}"));
        }
    }
    let rows = (0..n_layers).map(|layer| {
        let mut row = vec![layer.to_string()];
        for phase in PHASES {
            let of = |path: &str| number(trace, &format!("{phase}.{path}"));
            row.push(share(at(
                trace,
                &format!("{phase}.usage_per_layer.{layer}"),
            )));
            row.push(decimals(of(&format!("norms.{}.mean", layer + 1)), 1));
            let cosine = of(&format!("cosines.{layer}.mean"));
            row.push(decimals(cosine.map(|cosine| 1.0 - cosine), 4));
            row.push(decimals(of(&format!("contributions.{layer}.mean")), 3));
        }
        row
    });
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let mut text = String::new();
    for phase in PHASES {
        let usage = at(trace, &format!("{phase}.usage"));
        let n_tokens = number(trace, &format!("{phase}.n_tokens"));
        writeln!(
            text,
            "{phase}: {} of the layers over {} tokens.",
            percent(usage.as_f64()),
            decimals(n_tokens, 0)
        )?;
    }
    Ok(Some(text + "\n" + &table(&head, &rows.collect::<Vec<_>>())))
}

/// The numbers of a perplexity as the cells of a row.
fn perplexity_cells(result: &Value) -> Vec<String> {
    let perplexity = decimals(number(result, "perplexity"), 2);
    let error = decimals(number(result, "standard_error"), 2);
    vec![
        format!("{perplexity} ± {error}"),
        decimals(number(result, "full.kl"), 3),
        percent(number(result, "full.top1_agreement")),
        percent(number(result, "active.prompt")),
        decimals(number(result, "executed.prompt"), 1),
    ]
}

fn perplexity_over_alpha(out: &Path) -> Result<Option<String>> {
    let mut rows = Vec::new();
    let mut add = |name: &str, policy: &str, alpha: &str| -> Result<()> {
        if let Some(result) = read(out, &format!("{name}.json"))? {
            let mut row = vec![policy.to_owned(), alpha.to_owned()];
            row.extend(perplexity_cells(&result));
            rows.push(row);
        }
        Ok(())
    };
    add("b-off", "off", "–")?;
    for policy in POLICIES {
        for alpha in ALPHAS {
            add(&format!("b-{policy}-{alpha}"), policy, alpha)?;
        }
    }
    let head = [
        "policy",
        "α",
        "perplexity",
        "KL",
        "same top token",
        "active",
        "layers run",
    ];
    Ok((!rows.is_empty()).then(|| table(&head, &rows)))
}

/// The rows of a report of results: every variant with its accuracy, and how it differs from the first.
fn accuracy_rows(out: &Path, name: &str, benchmark: &str) -> Result<Vec<Vec<String>>> {
    let Some(report) = read(out, &format!("{name}-{benchmark}.report.json"))? else {
        return Ok(Vec::new());
    };
    let mut rows = Vec::new();
    for table in report["tables"].as_array().into_iter().flatten() {
        for row in table["rows"].as_array().into_iter().flatten() {
            rows.push(vec![
                benchmark.to_owned(),
                row["label"].as_str().unwrap_or("–").to_owned(),
                decimals(number(row, "overall.n"), 0),
                accuracy(row),
                percent(number(row, "overall.usage_prompt").map(|usage| usage / 100.0)),
                decimals(number(row, "overall.executed_prompt"), 1),
                against_full(row),
            ]);
        }
    }
    Ok(rows)
}

/// Writes an accuracy with its standard error, in per cents.
fn accuracy(row: &Value) -> String {
    let accuracy = decimals(number(row, "overall.accuracy"), 1);
    let error = decimals(number(row, "overall.standard_error"), 1);
    format!("{accuracy} ± {error}")
}

/// Writes how a variant compares with the full model question by question, where the table has that.
fn against_full(row: &Value) -> String {
    let points = |path: &str| number(row, path).map(|share| 100.0 * share);
    let (first, second) = (points("against_full.first"), points("against_full.second"));
    match (
        first.zip(second).map(|(first, second)| second - first),
        points("against_full.interval.0"),
        points("against_full.interval.1"),
        number(row, "against_full.p_value"),
    ) {
        (Some(mean), Some(low), Some(high), Some(p)) => {
            let p = match p {
                0.0..0.001 => "p < 0.001".to_owned(),
                _ => format!("p = {p:.3}"),
            };
            format!("{mean:+.1} ({low:+.1} to {high:+.1}), {p}")
        }
        _ => "–".to_owned(),
    }
}

const ACCURACY: [&str; 7] = [
    "benchmark",
    "variant",
    "questions",
    "accuracy %",
    "active",
    "layers run",
    "against the full model, points (95 %), McNemar's p",
];

fn accuracy_over_alpha(out: &Path, inputs: &Inputs) -> Result<Option<String>> {
    let mut rows = Vec::new();
    for (benchmark, _, _) in inputs.benchmarks() {
        for (idx, policy) in POLICIES.iter().enumerate() {
            let mut of_policy = accuracy_rows(out, &format!("b-{policy}"), benchmark)?;
            if idx > 0 {
                // The full model is the same one.
                of_policy.retain(|row| row[1] != "off");
            }
            rows.append(&mut of_policy);
        }
    }
    Ok((!rows.is_empty()).then(|| table(&ACCURACY, &rows)))
}

/// Perplexities under a ranking, at every share.
fn at_shares(out: &Path, ranking: &str) -> Result<Vec<Option<Value>>> {
    SHARES
        .iter()
        .map(|share| read(out, &format!("c-{ranking}-{share}.json")))
        .collect()
}

fn rankings(out: &Path) -> Result<Option<String>> {
    let mut head = vec!["ranking".to_owned()];
    head.extend(SHARES.iter().map(|share| format!("{share} of the layers")));
    let mut rows = Vec::new();
    for ranking in RANKINGS {
        let found = at_shares(out, ranking)?;
        if found.iter().all(Option::is_none) {
            continue;
        }
        let cell = |result: &Option<Value>| {
            let result = result.as_ref();
            let part = |path| decimals(result.and_then(|result| number(result, path)), 2);
            format!("{} ± {}", part("perplexity"), part("standard_error"))
        };
        let mut row = vec![(*ranking).to_owned()];
        row.extend(found.iter().map(cell));
        rows.push(row);
    }
    let mut drawn: Vec<Vec<f64>> = vec![Vec::new(); SHARES.len()];
    for seed in SEEDS {
        for (of_share, result) in drawn
            .iter_mut()
            .zip(at_shares(out, &format!("random{seed}"))?)
        {
            of_share.extend(result.and_then(|result| number(&result, "perplexity")));
        }
    }
    if drawn.iter().any(|values| !values.is_empty()) {
        let mut row = vec![format!(
            "random, {} seeds: median (least to most)",
            SEEDS.len()
        )];
        row.extend(drawn.iter_mut().map(|values| {
            values.sort_by(f64::total_cmp);
            let middle = values.get(values.len() / 2).copied();
            let ends = (values.first().copied(), values.last().copied());
            format!(
                "{} ({} to {})",
                decimals(middle, 2),
                decimals(ends.0, 2),
                decimals(ends.1, 2)
            )
        }));
        rows.push(row);
    }
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    Ok((!rows.is_empty()).then(|| table(&head, &rows)))
}

fn accuracy_of_plans(out: &Path, inputs: &Inputs) -> Result<Option<String>> {
    let mut rows = Vec::new();
    let seeds = SEEDS.iter().map(|seed| format!("random{seed}"));
    let rankings: Vec<String> = RANKINGS
        .iter()
        .map(|&name| name.to_owned())
        .chain(seeds)
        .collect();
    for (benchmark, _, _) in inputs.benchmarks() {
        for ranking in &rankings {
            let name = format!("c-{ranking}-{SHARE_OF_BENCHMARKS}");
            // The report has the full model, and what else was run beside it.
            let mut planned = accuracy_rows(out, &name, benchmark)?;
            planned.retain(|row| row[1].starts_with("planned"));
            for mut row in planned {
                row[1] = format!("{ranking}, {SHARE_OF_BENCHMARKS} of the layers");
                rows.push(row);
            }
        }
    }
    Ok((!rows.is_empty()).then(|| table(&ACCURACY, &rows)))
}

fn relations(out: &Path) -> Result<Option<String>> {
    let Some(statistics) = read(out, STATISTICS)? else {
        return Ok(None);
    };
    let mut text = String::new();
    let mut rows = Vec::new();
    for phase in PHASES {
        let relations = at(&statistics, &format!("traces.0.{phase}.relations"));
        if relations.is_null() {
            continue;
        }
        for (key, first, second) in [
            (
                "norm_and_influence",
                "void by the norm",
                "void by influence",
            ),
            ("norm_and_decided", "void by the norm", "decided"),
            ("influence_and_decided", "void by influence", "decided"),
        ] {
            let two_way = &relations[key];
            rows.push(vec![
                phase.to_owned(),
                format!("{second}, if {first}"),
                share(&two_way["given"]),
                share(&two_way["otherwise"]),
                decimals(number(two_way, "phi"), 2),
            ]);
        }
        let decided_at = number(relations, "decided_at");
        writeln!(
            text,
            "{phase}: answers are decided at layer {} on average.",
            decimals(decided_at, 1)
        )?;
    }
    writeln!(text)?;
    text += &table(
        &[
            "phase",
            "share of tokens and layers",
            "if so",
            "if not",
            "φ",
        ],
        &rows,
    );
    for phase in PHASES {
        let layers = at(&statistics, &format!("traces.0.{phase}.relations.layers"));
        let layers = layers.as_array().cloned().unwrap_or_default();
        let rows: Vec<Vec<String>> = layers
            .iter()
            .enumerate()
            .map(|(idx, layer)| {
                let mean = |key| decimals(number(layer, key), 3);
                vec![
                    idx.to_string(),
                    mean("influence_active"),
                    mean("influence_void"),
                    correlation(&layer["influence_and_delta"]),
                    mean("gain_active"),
                    mean("gain_void"),
                    correlation(&layer["gain_and_delta"]),
                    correlation(&layer["gain_and_influence"]),
                ]
            })
            .collect();
        let head = [
            "layer",
            "influence, active",
            "influence, void",
            "influence and Δ",
            "gain, active",
            "gain, void",
            "gain and Δ",
            "gain and influence",
        ];
        write!(text, "\n{phase}:\n\n{}", table(&head, &rows))?;
    }
    Ok(Some(text))
}

/// The flags that differ between the first of several traces and each of the others.
fn flips(out: &Path, name: &str, names: &[&str]) -> Result<Option<String>> {
    let Some(statistics) = read(out, name)? else {
        return Ok(None);
    };
    let pairs = statistics["agreements"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let pairs: Vec<&Value> = pairs.iter().filter(|pair| pair["left"] == 0).collect();
    let mut rows = Vec::new();
    let mut per_layer: Vec<(String, Vec<f64>)> = Vec::new();
    for pair in pairs {
        let right = number(pair, "right").unwrap_or(0.0) as usize;
        let other = names.get(right).copied().unwrap_or("–");
        for phase in PHASES {
            let n_tokens = number(pair, &format!("{phase}.n_tokens")).unwrap_or(0.0);
            let equal = numbers(pair, &format!("{phase}.equal"));
            let flipped: Vec<f64> = equal
                .iter()
                .map(|equal| 1.0 - equal / n_tokens.max(1.0))
                .collect();
            let mean = flipped.iter().sum::<f64>() / flipped.len().max(1) as f64;
            let masks = number(pair, &format!("{phase}.equal_masks"));
            rows.push(vec![
                format!("{} → {other}", names[0]),
                phase.to_owned(),
                decimals(Some(n_tokens), 0),
                percent(Some(mean)),
                percent(masks.map(|masks| masks / n_tokens.max(1.0))),
            ]);
            per_layer.push((format!("{other}, {phase}"), flipped));
        }
    }
    let head = [
        "",
        "phase",
        "tokens",
        "flags that flip",
        "tokens with the same mask",
    ];
    let mut text = table(&head, &rows);
    let n_layers = per_layer
        .iter()
        .map(|(_, layers)| layers.len())
        .max()
        .unwrap_or(0);
    let mut head = vec!["layer"];
    head.extend(per_layer.iter().map(|(name, _)| name.as_str()));
    let rows: Vec<Vec<String>> = (0..n_layers)
        .map(|layer| {
            let cells = per_layer
                .iter()
                .map(|(_, layers)| percent(layers.get(layer).copied()));
            std::iter::once(layer.to_string()).chain(cells).collect()
        })
        .collect();
    write!(
        text,
        "\nFlags that flip, per layer:\n\n{}",
        table(&head, &rows)
    )?;
    Ok(Some(text))
}

/// How many times the median of its layer a norm has to be, to count as massive.
const MASSIVE: f64 = 20.0;

fn massive(out: &Path) -> Result<Option<String>> {
    let Some(trace) = read(out, "f-massive.json")? else {
        return Ok(None);
    };
    let n_layers = number(&trace, "layers").unwrap_or(0.0) as usize;
    let n_tokens = trace["prompt_ids"].as_array().map_or(0, Vec::len);
    let column = |field: &str, token: usize| -> Vec<f64> {
        (0..n_layers)
            .filter_map(|layer| number(&trace, &format!("{field}.{layer}.{token}")))
            .collect()
    };
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    };
    let medians: Vec<f64> = (0..n_layers)
        .map(|layer| median(numbers(&trace, &format!("norms.{layer}"))))
        .collect();
    let is_massive = |token: usize| {
        let norms = column("norms", token);
        norms
            .iter()
            .zip(&medians)
            .any(|(norm, median)| *norm > MASSIVE * median)
    };
    let (massive, others): (Vec<usize>, Vec<usize>) =
        (0..n_tokens).partition(|&token| is_massive(token));
    let mut rows = Vec::new();
    for layer in 0..n_layers {
        let mean = |field: &str, tokens: &[usize]| {
            let values = tokens
                .iter()
                .filter_map(|token| number(&trace, &format!("{field}.{layer}.{token}")));
            let values: Vec<f64> = values.collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        rows.push(vec![
            layer.to_string(),
            decimals(mean("norms", &massive), 1),
            decimals(mean("thresholds", &massive), 1),
            percent(mean("active", &massive)),
            decimals(mean("norms", &others), 1),
            decimals(mean("thresholds", &others), 2),
            percent(mean("active", &others)),
        ]);
    }
    let places: Vec<String> = massive
        .iter()
        .map(|&token| format!("{token} (id {})", trace["prompt_ids"][token]))
        .collect();
    let head = [
        "layer",
        "norm, massive",
        "λ, massive",
        "active, massive",
        "norm, others",
        "λ, others",
        "active, others",
    ];
    let found = if places.is_empty() {
        "no token".to_owned()
    } else {
        format!("positions {}", places.join(", "))
    };
    Ok(Some(format!(
        "Tokens of the prompt whose norm exceeds {MASSIVE} times its layer's median somewhere: {found}, of {n_tokens}.\n\n{}",
        table(&head, &rows)
    )))
}

fn quirks(out: &Path) -> Result<Option<String>> {
    let mut rows = Vec::new();
    for name in std::iter::once("none").chain(QUIRKS.iter().copied()) {
        let Some(report) = read(out, &format!("g-{name}.report.json"))? else {
            continue;
        };
        let row = at(&report, "tables.0.rows.0");
        rows.push(vec![
            name.to_owned(),
            decimals(number(row, "overall.n"), 0),
            accuracy(row),
            decimals(number(row, "overall.n_no_answer"), 0),
            percent(number(row, "overall.usage_prompt").map(|usage| usage / 100.0)),
            percent(number(row, "overall.usage_response").map(|usage| usage / 100.0)),
        ]);
    }
    let head = [
        "defect",
        "questions",
        "accuracy %",
        "no answer",
        "usage PP",
        "usage RG",
    ];
    Ok((!rows.is_empty()).then(|| table(&head, &rows)))
}
