//! Measures and lenses against transformers, per layer and token.
//!
//! `fixtures/make_lens.py` wrote what transformers 4.50.1 and torch make of two checkpoints.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lac_core::{
    CausalLm, LayerStack, Observed, Off, PassRecord,
    generation::prompt_pass,
    lens::{Lens, LensRecord},
    measures::Measures,
};
use lac_models::tuned_lens::{read_tuned_lens, read_vector};
use serde::Deserialize;

use crate::devices::devices;
use crate::parity::load;

/// Measures and log-probabilities agree to this: the sums of f32 layers in another order.
const TOLERANCE: f64 = 1e-4;

#[derive(Deserialize)]
struct Fixture {
    n_top: usize,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    checkpoint: String,
    prompt_ids: Vec<u32>,
    /// For each layer, by name, `[tokens]`.
    measures: Vec<BTreeMap<String, Vec<f64>>>,
    /// For the embedding and each layer.
    lens: Vec<Seen>,
    tuned: Option<Vec<Seen>>,
}

/// What is seen of a state, `[tokens]`.
#[derive(Deserialize)]
struct Seen {
    ids: Vec<Vec<u32>>,
    logprobs: Vec<Vec<f64>>,
    /// How many of the first tokens are no near ties.
    n_clear: Vec<usize>,
    entropy: Vec<f64>,
    kl: Vec<f64>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lens")
}

fn fixture() -> Fixture {
    let text = std::fs::read_to_string(folder().join("lens.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn near(found: f32, expected: f64, what: &str) {
    let apart = (f64::from(found) - expected).abs();
    assert!(
        apart <= TOLERANCE * expected.abs().max(1.0),
        "{what}: {found}, expected {expected}"
    );
}

fn check_measures(case: &Case, record: &PassRecord) {
    let seen = record.measures.as_ref().unwrap();
    let mut n_checked = 0;
    for (measure, values) in seen.iter() {
        for (layer_idx, expected) in case.measures.iter().enumerate() {
            let expected = &expected[measure.name()];
            assert_eq!(expected.len(), case.prompt_ids.len());
            for (slot, &expected) in expected.iter().enumerate() {
                let what = format!(
                    "{} {measure:?}, layer {layer_idx}, token {slot}",
                    case.checkpoint
                );
                near(values[record.at(layer_idx, 0, slot)], expected, &what);
                n_checked += 1;
            }
        }
    }
    assert_eq!(n_checked, 7 * case.measures.len() * case.prompt_ids.len());
}

fn check_lens(name: &str, expected: &[Seen], lens: &LensRecord) {
    assert_eq!(lens.n_states(), expected.len());
    for (state_idx, expected) in expected.iter().enumerate() {
        for slot in 0..lens.n_slots {
            let found = lens.at(state_idx, slot);
            let what = format!("{name}, state {state_idx}, token {slot}");
            let n_clear = expected.n_clear[slot];
            assert_eq!(
                found.ids[..n_clear],
                expected.ids[slot][..n_clear],
                "{what}"
            );
            for (logprob, &expected) in found.logprobs.iter().zip(&expected.logprobs[slot]) {
                near(*logprob, expected, &what);
            }
            near(found.entropy, expected.entropy[slot], &what);
            near(found.kl, expected.kl[slot], &what);
        }
    }
}

#[test]
fn measures_and_lenses_are_those_of_transformers() {
    let fixture = fixture();
    let mut n_tuned = 0;
    for (backend, device) in devices() {
        for case in &fixture.cases {
            let model = load(&case.checkpoint, &device);
            let seen = |lens: Lens| {
                let mut policy = Observed::new(Off)
                    .with_measures(Measures::Sublayers)
                    .with_lens(Some(lens));
                let prompts = std::slice::from_ref(&case.prompt_ids);
                prompt_pass(&model, prompts, 0, &mut policy).unwrap().1
            };
            let lens = Lens::new(fixture.n_top).unwrap();
            let record = seen(lens.clone());
            check_measures(case, &record);
            let name = format!("{backend} {}", case.checkpoint);
            check_lens(&name, &case.lens, record.lens.as_ref().unwrap());
            let Some(expected) = &case.tuned else {
                continue;
            };
            let path = folder().join("tuned_lens.safetensors");
            let hidden = model.config().hidden_size;
            let maps = read_tuned_lens(&path, model.n_layers(), hidden, &model.device()).unwrap();
            let record = seen(lens.with_maps(Arc::new(maps)));
            check_lens(&name, expected, record.lens.as_ref().unwrap());
            n_tuned += 1;
        }
    }
    assert!(n_tuned > 0 && fixture.cases.len() == 2);
}

#[test]
fn files_of_another_model_are_named() {
    let path = folder().join("tuned_lens.safetensors");
    let (_, device) = devices().remove(0);
    let error = |n_layers, hidden| {
        let lens = read_tuned_lens(&path, n_layers, hidden, &device);
        lens.err().unwrap().to_string()
    };
    assert!(error(9, 32).contains("the tensor 8.weight [32, 32] is missing"));
    assert!(
        error(8, 16).contains("0.weight has the shape [32, 32], config.json makes it [16, 16]")
    );
    let vector = read_vector(&path, 32, &device).err().unwrap().to_string();
    assert!(
        vector.contains("holds 16 tensors, expected one vector"),
        "{vector}"
    );
    // Fewer layers than the file has maps are another model's, and its first maps.
    assert_eq!(
        read_tuned_lens(&path, 7, 32, &device).unwrap().n_layers(),
        7
    );
}
