//! The trainer learns, repeats itself, and goes on where it was interrupted.

use std::fs;
use std::path::Path;

use lac_training::SEED;
use lac_training::train::{Scoring, TrainArgs, train};

/// A run that is far shorter than a real one, with the same model and data.
fn args(out: &Path, steps: usize, until: Option<usize>) -> TrainArgs {
    TrainArgs {
        out: out.into(),
        seed: SEED,
        steps,
        until,
        tokens: 128,
        workers: 2,
        groups: 1,
        lr: 1.6e-3,
        checkpoint_every: 1000,
        scoring: Scoring::Never,
        device: "cpu".into(),
    }
}

/// The losses of the log's steps.
fn losses(out: &Path) -> Vec<f64> {
    let text = fs::read_to_string(out.join("log.jsonl")).expect("there is a log");
    text.lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line of JSON"))
        .filter_map(|line| line["loss"].as_f64())
        .collect()
}

#[test]
fn an_interrupted_run_goes_on_as_if_nothing_had_happened() {
    let folder = tempfile::tempdir().expect("a folder");
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    train(&args(&whole, 8, None)).expect("trains");
    train(&args(&parts, 8, Some(3))).expect("trains");
    train(&args(&parts, 8, None)).expect("goes on");
    assert_eq!(losses(&whole), losses(&parts));
    let weights = |out: &Path| fs::read(out.join("model/model.safetensors")).expect("is there");
    assert!(weights(&whole) == weights(&parts), "the weights differ");
}

#[test]
fn training_lowers_the_loss() {
    let folder = tempfile::tempdir().expect("a folder");
    train(&args(folder.path(), 50, None)).expect("trains");
    let losses = losses(folder.path());
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&losses[..5]), mean(&losses[45..]));
    // From guessing among a thousand tokens, ln 1024 = 6.9, to knowing which are frequent.
    assert!(first > 5.0 && last < first - 1.0, "{first} to {last}");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    train(&args(folder.path(), 2, Some(1))).expect("trains");
    let progress = folder.path().join("checkpoint/progress.json");
    fs::write(&progress, "{").expect("writes");
    let error = train(&args(folder.path(), 2, None)).expect_err("is damaged");
    assert!(
        format!("{error:#}").contains("progress.json is damaged"),
        "{error:#}"
    );
}
