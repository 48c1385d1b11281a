//! The result as Markdown.

use std::fmt::Write;

use super::report::{Case, Report, Summary};

pub fn markdown(report: &Report) -> String {
    let mut text = String::new();
    let threads = report
        .threads
        .map_or_else(String::new, |n_threads| format!(", {n_threads} threads"));
    // Writing to a string does not fail.
    let _ = writeln!(
        text,
        "{}: {:.2} million parameters, {} layers; {}{threads}; reads {:.1} GB/s; {} prompt tokens, {} new \
         ones, mean ± sd of {}\n",
        report.model,
        report.parameters as f64 / 1e6,
        report.layers,
        report.device,
        report.read_bandwidth / 1e9,
        report.prompt_tokens,
        report.new_tokens,
        report.repeats,
    );
    text.push_str(
        "| dtype | policy | batch | prefill, tokens/s | TFLOP/s | decode, tokens/s | GB/s | of bandwidth \
         | executed: prompt, response | active: prompt, response |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for case in &report.cases {
        line(&mut text, case);
    }
    for case in &report.cases {
        if let Some(speculation) = &case.speculation {
            let _ = writeln!(
                text,
                "\n{}, speculative; the prompt is random tokens, which no model continues with certainty; on your own \
                 text: lac generate --speculative --stats\n{}",
                case.dtype,
                speculation.to_string().trim_end()
            );
        }
    }
    text
}

fn line(text: &mut String, case: &Case) {
    let layers = |layers: Option<f64>| layers.map_or("–".to_owned(), |n| format!("{n:.1}"));
    let percent = |share: Option<f64>| {
        share.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share))
    };
    let _ = writeln!(
        text,
        "| {} | {} | {} | {} | {:.3} | {} | {:.1} | {:.0} % | {}, {} | {}, {} |",
        case.dtype,
        case.policy,
        case.batch,
        speed(&case.prefill),
        case.prefill_flops / 1e12,
        speed(&case.decode),
        case.bytes_per_second / 1e9,
        100.0 * case.share_of_bandwidth,
        layers(case.executed.prompt),
        layers(case.executed.response),
        percent(case.active.prompt),
        percent(case.active.response),
    );
}

fn speed(summary: &Summary) -> String {
    format!("{:.1} ± {:.1}", summary.mean, summary.sd)
}
