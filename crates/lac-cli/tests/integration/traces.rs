//! Traces that are kept: `lac trace --out`, `lac export`, `lac report`.

use serde_json::Value;
use tempfile::TempDir;

use super::{lac, stdout};

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

/// A trace of two prompts of the embedded model.
fn trace(folder: &TempDir, name: &str, more: &[&str]) -> String {
    let prompts = path(folder, "prompts.txt");
    std::fs::write(&prompts, "Tell me about Kodo.\n\nWhere does Kodo live?\n").unwrap();
    let out = path(folder, name);
    let mut args = vec![
        "trace",
        "--model",
        "demo",
        "--prompts",
        &prompts,
        "--max-new-tokens",
        "12",
        "--out",
        &out,
    ];
    args.extend(more);
    let said = stdout(&args);
    assert!(said.contains("tokens of 2 sequences"), "{said}");
    out
}

fn read(path: &str) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn an_exported_sequence_is_the_json_of_the_same_run() {
    let folder = TempDir::new().unwrap();
    let file = path(&folder, "trace.parquet");
    let args = [
        "trace",
        "--model",
        "demo",
        "--prompt",
        "Tell me about Kodo.",
    ];
    let written = path(&folder, "trace.json");
    let both = [
        &args[..],
        &["--max-new-tokens", "9", "--out", &file, "--json", &written],
    ];
    stdout(&both.concat());
    let exported = path(&folder, "exported.json");
    stdout(&["export", &file, "--out", &exported]);
    let (written, exported) = (read(&written), read(&exported));
    for field in [
        "prompt_ids",
        "layers",
        "alpha",
        "policy",
        "dtype",
        "device",
        "embedding_norms",
        "norms",
        "deltas",
        "thresholds",
        "active",
        "generated",
        "rg_norms",
        "rg_deltas",
        "rg_thresholds",
        "rg_active",
    ] {
        assert_eq!(written[field], exported[field], "{field}");
    }
}

/// A trained model's masks under another α, without running it again.
#[test]
fn a_report_recomputes_other_alphas() {
    let folder = TempDir::new().unwrap();
    let out = path(&folder, "report");
    let at = |alpha: &str| {
        let file = trace(&folder, &format!("{alpha}.parquet"), &["--alpha", alpha]);
        stdout(&["report", &file, "--out", &out]);
        read(&path(&folder, "report/statistics.json"))["traces"][0].clone()
    };
    let recorded = at("0.8");
    let alphas = recorded["alpha_sweep"]["alphas"].as_array().unwrap();
    for alpha in ["0.4", "1"] {
        let gated = at(alpha);
        let wanted: f32 = alpha.parse().unwrap();
        let idx = alphas
            .iter()
            .position(|swept| swept.as_f64().unwrap() as f32 == wanted)
            .unwrap();
        for phase in ["prompt", "response"] {
            let swept = &recorded["alpha_sweep"][format!("{phase}_per_layer")][idx];
            let shares = gated[phase]["usage_per_layer"].as_array().unwrap();
            let shares: Vec<&Value> = shares.iter().map(|share| &share["share"]).collect();
            assert_eq!(swept.as_array().unwrap().iter().collect::<Vec<_>>(), shares);
        }
        assert_ne!(gated["prompt"]["usage"], recorded["prompt"]["usage"]);
    }
}

#[test]
fn reports_are_printed_or_written() {
    let folder = TempDir::new().unwrap();
    let f32_file = trace(&folder, "f32.parquet", &["--similarity", "--hidden", "3"]);
    let bf16_file = trace(&folder, "bf16.parquet", &["--dtype", "bf16"]);
    let text = stdout(&["report", &f32_file, &bf16_file, "--width", "60"]);
    assert!(text.contains("prompt: 30 tokens"), "{text}");
    assert!(text.contains("f32 against bf16"), "{text}");
    assert!(
        !text.contains('\u{1b}'),
        "no colours where there is no terminal"
    );

    let out = path(&folder, "report");
    let files = stdout(&["report", &f32_file, &bf16_file, "--out", &out]);
    for name in [
        "report.html",
        "statistics.json",
        "1-heat-map.svg",
        "compare-alpha-prompt.png",
    ] {
        assert!(files.contains(name), "{name}: {files}");
        assert!(folder.path().join("report").join(name).exists(), "{name}");
    }
    let numbers = read(&path(&folder, "report/statistics.json"));
    assert_eq!(numbers["traces"][0]["info"]["dtype"], "f32");
    assert_eq!(
        numbers["traces"][0]["prompt"]["cosines"]
            .as_array()
            .unwrap()
            .len(),
        12
    );
    assert!(numbers["agreements"][0]["prompt"]["n_tokens"].as_u64() == Some(30));

    let csv = path(&folder, "trace.csv");
    stdout(&["export", &f32_file, "--out", &csv]);
    let header = std::fs::read_to_string(&csv).unwrap();
    assert!(header.lines().next().unwrap().ends_with("contribution_11"));
}

#[test]
fn measures_and_lenses_are_in_json_files_and_tables() {
    let folder = TempDir::new().unwrap();
    let (written, file) = (path(&folder, "t.json"), path(&folder, "t.parquet"));
    let base = [
        "trace",
        "--model",
        "demo",
        "--prompt",
        "Tell me about Kodo.",
        "--greedy",
    ];
    let look = [
        "--lens",
        "3",
        "--measures",
        "sublayers",
        "--max-new-tokens",
        "9",
    ];
    stdout(&[&base[..], &look, &["--json", &written, "--out", &file]].concat());
    let trace = read(&written);
    let n_tokens = trace["prompt_ids"].as_array().unwrap().len();
    let shape = |value: &Value| {
        let rows = value.as_array().unwrap();
        (rows.len(), rows[0].as_array().unwrap().len())
    };
    let measures = trace["measures"].as_object().unwrap();
    assert_eq!(measures.len(), 7);
    assert!(
        measures
            .values()
            .all(|measure| shape(measure) == (12, n_tokens))
    );
    assert_eq!(shape(&trace["rg_measures"]["attention_share"]), (12, 8));
    assert_eq!(shape(&trace["lens"]), (12, n_tokens));
    // What is seen after the last layer is what was chosen.
    let generated = trace["generated"].as_array().unwrap();
    assert_eq!(trace["lens"][11][n_tokens - 1]["ids"][0], generated[0]);
    for (step, seen) in trace["rg_lens"][11].as_array().unwrap().iter().enumerate() {
        assert_eq!(seen["ids"][0], generated[step + 1]);
        assert_eq!(seen["ids"].as_array().unwrap().len(), 3);
        assert_eq!(seen["kl"], 0.0);
        let decided_at = trace["rg_decided_at"][step].as_u64().unwrap() as usize;
        let answer = |layer: usize| &trace["rg_lens"][layer][step]["ids"][0];
        assert!((decided_at..12).all(|layer| answer(layer) == answer(11)));
        assert!(decided_at == 0 || answer(decided_at - 1) != answer(11));
    }
    // The trace in the file says the same.
    let exported = path(&folder, "exported.json");
    stdout(&["export", &file, "--out", &exported]);
    let exported = read(&exported);
    for field in [
        "measures",
        "rg_measures",
        "lens",
        "rg_lens",
        "decided_at",
        "rg_decided_at",
    ] {
        assert_eq!(exported[field], trace[field], "{field}");
    }
    // Looking changes no text and no norm.
    let plain = stdout(&[&base[..], &["--max-new-tokens", "9", "--json", "-"]].concat());
    let plain: Value = serde_json::from_str(&plain).unwrap();
    for field in ["generated", "norms", "rg_norms", "active"] {
        assert_eq!(plain[field], trace[field], "{field}");
    }
    let table = stdout(&[&base[..], &look].concat());
    for title in ["influence", "attention's share", "KL to last", "decided"] {
        assert_eq!(table.matches(title).count(), 2, "{title}: {table}");
    }
}

#[test]
fn wrong_uses_are_explained() {
    let folder = TempDir::new().unwrap();
    let file = path(&folder, "trace.parquet");
    let text = path(&folder, "notes.txt");
    std::fs::write(&text, "no trace").unwrap();
    let blank = path(&folder, "blank.txt");
    std::fs::write(&blank, "\n\n").unwrap();
    let demo = ["trace", "--model", "demo"];
    let prompt = ["--prompt", "Tell me about Kodo."];
    let cases: [(Vec<&str>, &str); 8] = [
        (
            [&demo[..], &prompt, &["--policy", "off", "--out", &file]].concat(),
            "the policy off measures nothing",
        ),
        (
            [&demo[..], &prompt, &["--hidden", "12", "--out", &file]].concat(),
            "--hidden 12: the model's layers count from 0 to 11",
        ),
        (
            [&demo[..], &prompt, &["--lens-file", &text]].concat(),
            "--lens <K>",
        ),
        (
            [&demo[..], &["--prompts", &blank, "--out", &file]].concat(),
            "blank.txt holds no prompt",
        ),
        (vec!["report", &text], "notes.txt is not a trace"),
        (vec!["report", &file], "cannot read"),
        (
            vec!["export", &text, "--out", "x.json"],
            "notes.txt is not a trace",
        ),
        (vec!["report"], "<TRACE>"),
    ];
    for (args, expected) in cases {
        let output = lac(&args);
        assert!(!output.status.success(), "{args:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert!(!folder.path().join("trace.parquet").exists());
    }
    let made = trace(&folder, "made.parquet", &[]);
    let output = lac(&["export", &made, "--out", &path(&folder, "made.xlsx")]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains(".json, .csv or .parquet"), "{stderr}");
}
