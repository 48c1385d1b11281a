//! Models without some of their layers, as folders of their own.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use lac_core::{
    GenerateArgs, GenerationConfig, LayerPolicy, LayerStack, Off, Planned, SkippedKeys, generate,
    generation::PromptLogits, plan::PhasePlan,
};
use lac_models::{Decoder, ModelFolder, PruneError, WeightDtype};
use serde_json::Value;
use tempfile::TempDir;

use crate::demo::Demo;
use crate::parity::fixture;

fn families() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut families: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("config.json").exists())
        .collect();
    families.sort();
    families
}

fn load(folder: &ModelFolder) -> Decoder {
    folder
        .load(WeightDtype::F32, &Device::flex(), &mut |_| {})
        .unwrap()
}

/// New tokens and the logits of the prompt's last position.
fn generated(model: &Decoder, policy: &mut dyn LayerPolicy) -> (Vec<u32>, Vec<Vec<f32>>) {
    let args = GenerateArgs::new(policy).prompt_logits(PromptLogits::Return);
    // Longer than the small windows of the fixtures.
    let prompt: Vec<u32> = (5..25).collect();
    let output = generate(model, &[prompt], &GenerationConfig::greedy(5), args).unwrap();
    (output.rows[0].ids.clone(), output.prompt_logits.unwrap())
}

fn all_but(n_layers: usize, left_out: &[usize]) -> Vec<bool> {
    (0..n_layers)
        .map(|layer_idx| !left_out.contains(&layer_idx))
        .collect()
}

fn check(path: &Path, left_out: &[usize]) {
    let whole = ModelFolder::open(path).unwrap();
    let model = load(&whole);
    let n_layers = model.n_layers();
    let kept = all_but(n_layers, left_out);
    let place = TempDir::new().unwrap();
    let out = place.path().join("pruned");
    let mut n_written = 0;
    let progress = &mut |n_bytes| n_written = n_bytes;
    let summary = whole.write_pruned(&kept, &out, progress).unwrap();
    let what = format!("{} without {left_out:?}", path.display());
    assert_eq!(summary.n_layers, n_layers - left_out.len(), "{what}");
    assert_eq!(summary.n_bytes, n_written);
    // Nothing but the folder is left.
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 1);

    let pruned = load(&ModelFolder::open(&out).unwrap());
    assert_eq!(pruned.n_layers(), summary.n_layers);
    let plan = PhasePlan::keeping(&kept);
    let mut planned = Planned::from_phases(plan.clone(), plan, SkippedKeys::Fill);
    assert_eq!(
        generated(&pruned, &mut Off),
        generated(&model, &mut planned),
        "{what}"
    );
}

#[test]
fn a_pruned_model_computes_what_its_plan_does() {
    for name in ["llama", "mistral-window", "qwen2", "llama-f16"] {
        check(&fixture(name), &[1]);
    }
    check(&fixture("llama"), &[0, 3, 7]);
}

/// Families that say of single layers which have windows, rotation or experts.
#[test]
fn every_family_can_be_pruned() {
    let families = families();
    assert!(families.len() > 10);
    for path in families {
        let n_layers = ModelFolder::open(&path).unwrap().config().decoder.n_layers;
        check(&path, &[0]);
        if n_layers > 2 {
            check(&path, &[n_layers - 2]);
        }
    }
}

#[test]
fn shards_and_small_files_are_those_of_the_model() {
    let place = TempDir::new().unwrap();
    let out = place.path().join("pruned");
    let folder = ModelFolder::open(fixture("qwen2")).unwrap();
    let n_layers = folder.config().decoder.n_layers;
    let kept = all_but(n_layers, &[n_layers - 1]);
    folder.write_pruned(&kept, &out, &mut |_| {}).unwrap();
    let index = std::fs::read_to_string(out.join("model.safetensors.index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    for (name, file) in index["weight_map"].as_object().unwrap() {
        assert!(out.join(file.as_str().unwrap()).exists(), "{name}");
        assert!(
            !name.contains(&format!("layers.{}.", n_layers - 1)),
            "{name}"
        );
    }

    let demo = Demo::load(&Device::flex());
    let out = place.path().join("demo");
    let kept = all_but(demo.model.n_layers(), &[4, 5]);
    demo.folder.write_pruned(&kept, &out, &mut |_| {}).unwrap();
    let pruned = ModelFolder::open(&out).unwrap();
    let tokenizer = pruned.tokenizer().unwrap();
    assert!(tokenizer.has_chat_template());
    assert_eq!(tokenizer.stop_ids(), demo.tokenizer.stop_ids());
}

#[test]
fn what_cannot_be_pruned_is_named() {
    let place = TempDir::new().unwrap();
    let folder = ModelFolder::open(fixture("llama")).unwrap();
    let prune =
        |kept: &[bool], out: &Path| folder.write_pruned(kept, out, &mut |_| {}).unwrap_err();
    let out = place.path().join("out");
    for kept in [&[true; 7][..], &[false; 8]] {
        assert!(matches!(
            prune(kept, &out),
            PruneError::Layers { n_layers: 8, .. }
        ));
    }
    assert!(matches!(
        prune(&[true; 8], place.path()),
        PruneError::Exists { .. }
    ));
    let below = out.join("missing/folder");
    assert!(matches!(prune(&[true; 8], &below), PruneError::Io { .. }));
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
