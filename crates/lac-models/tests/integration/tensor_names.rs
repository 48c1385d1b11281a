//! Weights whose tensors have other names than transformers gives them, and more tensors than the model uses.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use lac_models::{ModelFolder, WeightDtype};
use lac_test_corruption::message;
use safetensors::tensor::{Dtype, TensorView, serialize};

use crate::fingerprint::{Stored, fingerprint, logits, model_of, tensors, write};

const WEIGHTS: &str = "model.safetensors";
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// Writes a file as `safetensors.torch.save_model` does: with the names that were left out.
fn write_shared(path: &Path, tensors: &BTreeMap<String, Stored>, shared: &[(&str, &str)]) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    let mut metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    metadata.extend(
        shared
            .iter()
            .map(|(name, kept)| ((*name).to_owned(), (*kept).to_owned())),
    );
    fs::write(path, serialize(views, Some(metadata)).unwrap()).unwrap();
}

fn error_of(folder: &Path) -> String {
    let folder = ModelFolder::open(folder).unwrap();
    message(
        &folder
            .load(WeightDtype::F32, &Device::flex(), &mut |_| {})
            .unwrap_err(),
    )
}

/// Every name behind a prefix that programs of training leave there; the head is beside the model or in it.
#[test]
fn a_model_behind_a_known_prefix_is_the_same_model() {
    for fixture in ["llama", "llama3-scaled"] {
        let folder = model_of(fixture);
        let path = folder.path().join(WEIGHTS);
        let whole = tensors(&path);
        let before = (logits(folder.path()), fingerprint(folder.path()));
        for (of_model, of_head) in [
            ("module.model.", "module."),
            ("_orig_mod.model.", "_orig_mod."),
            ("module._orig_mod.model.", "module._orig_mod."),
            ("language_model.model.", "language_model."),
            ("model.language_model.", ""),
            ("model.language_model.", "model."),
            ("base_model.model.model.", "base_model.model."),
            ("", ""),
            (
                "_fsdp_wrapped_module.model._fsdp_wrapped_module.",
                "_fsdp_wrapped_module.",
            ),
        ] {
            let renamed = whole.iter().map(|(name, tensor)| {
                let name = match name.strip_prefix("model.") {
                    Some(own) => format!("{of_model}{own}"),
                    None => format!("{of_head}{name}"),
                };
                (name, tensor.clone())
            });
            write(&path, &renamed.collect());
            let after = (logits(folder.path()), fingerprint(folder.path()));
            assert!(after == before, "{fixture}: {of_model}");
        }
    }
}

#[test]
fn a_prefix_that_is_not_known_is_named() {
    let folder = model_of("llama");
    let path = folder.path().join(WEIGHTS);
    let whole = tensors(&path);
    let with = |prefix: &str| {
        let renamed = whole.iter();
        let renamed = renamed.map(|(name, tensor)| (format!("{prefix}{name}"), tensor.clone()));
        renamed.collect::<BTreeMap<_, _>>()
    };
    write(&path, &with("thing."));
    let error = error_of(folder.path());
    for part in [
        EMBEDDING,
        "missing",
        "thing.model.embed_tokens.weight",
        "prefix, thing.model., ",
    ] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    // Two models in one file, as an average of weights beside them.
    let mut both = with("module.");
    both.extend(with("model."));
    write(&path, &both);
    let error = error_of(folder.path());
    assert!(error.contains("nothing says which"), "{error}");
    // One of them has the model's own names: the other one is too much.
    let mut both = with("module.");
    both.extend(whole.clone());
    write(&path, &both);
    let error = error_of(folder.path());
    assert!(
        error.contains("unexpected") && error.contains("module."),
        "{error}"
    );
    // Another architecture.
    write(
        &path,
        &BTreeMap::from([(
            "transformer.wte.weight".to_owned(),
            whole[EMBEDDING].clone(),
        )]),
    );
    let error = error_of(folder.path());
    assert!(error.contains("GPT-2"), "{error}");
}

/// The configuration ties the head to the embedding, and the file has one of them.
#[test]
fn a_tied_pair_is_found_under_either_name() {
    let folder = model_of("llama3-scaled");
    let path = folder.path().join(WEIGHTS);
    let before = (logits(folder.path()), fingerprint(folder.path()));
    let mut weights = tensors(&path);
    let embedding = weights.remove(EMBEDDING).unwrap();
    for (kept, shared) in [
        (HEAD, &[(EMBEDDING, HEAD)][..]),
        (HEAD, &[]),
        (EMBEDDING, &[(HEAD, EMBEDDING)]),
        (
            "module.lm_head.weight",
            &[("module.model.embed_tokens.weight", "module.lm_head.weight")],
        ),
        ("module.lm_head.weight", &[]),
        // Notes about tensors that are not there, and about themselves.
        (EMBEDDING, &[(EMBEDDING, "nothing"), (HEAD, HEAD)]),
    ] {
        let mut weights = weights.clone();
        weights.insert(kept.to_owned(), embedding.clone());
        write_shared(&path, &weights, shared);
        let after = (logits(folder.path()), fingerprint(folder.path()));
        assert!(after == before, "{kept}, {shared:?}");
    }
}

/// The configuration says that there are two tensors, and the file that they are one.
#[test]
fn a_shared_tensor_serves_under_both_names() {
    let folder = model_of("llama");
    let path = folder.path().join(WEIGHTS);
    let mut weights = tensors(&path);
    let embedding = weights[EMBEDDING].clone();
    weights.insert(HEAD.to_owned(), embedding);
    write(&path, &weights);
    let before = logits(folder.path());
    for (left_out, kept) in [(EMBEDDING, HEAD), (HEAD, EMBEDDING)] {
        let mut weights = weights.clone();
        weights.remove(left_out);
        write_shared(&path, &weights, &[(left_out, kept)]);
        assert!(logits(folder.path()) == before, "{left_out}");
        // Without the note it is missing.
        write(&path, &weights);
        let error = error_of(folder.path());
        assert!(
            error.contains(left_out) && error.contains("missing"),
            "{error}"
        );
    }
}

#[test]
fn tables_are_passed_over_and_other_tensors_are_not() {
    let folder = model_of("llama");
    let path = folder.path().join(WEIGHTS);
    let before = (logits(folder.path()), fingerprint(folder.path()));
    let whole = tensors(&path);
    let with = |name: &str, tensor: Stored| {
        let mut weights = whole.clone();
        weights.insert(name.to_owned(), tensor);
        write(&path, &weights);
    };
    let ids: Stored = (Dtype::I64, vec![1, 4], vec![1; 32]);
    let mask: Stored = (Dtype::BOOL, vec![1, 1, 4, 4], vec![1; 16]);
    for (name, tensor) in [
        ("model.embed_positions.position_ids", &ids),
        ("position_ids", &ids),
        ("model.layers.0.self_attn.rotary_emb.inv_freq", &ids),
        ("model.rotary_emb.inv_freq", &ids),
        ("module.model.layers.0.self_attn.rotary_emb.inv_freq", &ids),
        ("model.layers.0.self_attn.rotary_emb.cos_cached", &ids),
        ("model.layers.0.self_attn.rotary_emb.sin_cached", &ids),
        ("model.layers.0.self_attn.masked_bias", &ids),
        ("model.layers.0.self_attn.bias", &mask),
    ] {
        with(name, tensor.clone());
        let after = (logits(folder.path()), fingerprint(folder.path()));
        assert!(after == before, "{name}");
    }
    for (name, part) in [
        ("model.layers.0.self_attn.bias", "self_attn.bias"),
        ("model.layers.0.self_attn.q_norm.weight", "q_norm"),
        (
            "model.layers.0.self_attn.q_proj.lora_A.weight",
            "merge_and_unload",
        ),
        ("vision_tower.patch.weight", "pictures"),
        ("model.layers.0.mlp.up_proj.weight_scale_inv", "fp8"),
        ("model.embed_positions.weight", "embed_positions"),
    ] {
        with(name, ids.clone());
        let error = error_of(folder.path());
        assert!(
            error.contains("unexpected") && error.contains(part),
            "{part:?} is not in: {error}"
        );
    }
}

#[test]
fn doubles_are_cast() {
    let folder = model_of("llama");
    let path = folder.path().join(WEIGHTS);
    let before = logits(folder.path());
    let mut weights = tensors(&path);
    for (dtype, _, bytes) in weights.values_mut() {
        assert_eq!(*dtype, Dtype::F32);
        *dtype = Dtype::F64;
        let (values, _) = bytes.as_chunks::<4>();
        let wide = values
            .iter()
            .flat_map(|&value| f64::from(f32::from_le_bytes(value)).to_le_bytes());
        *bytes = wide.collect();
    }
    write(&path, &weights);
    assert!(logits(folder.path()) == before);
    let (dtype, _, bytes) = weights.get_mut(EMBEDDING).unwrap();
    *dtype = Dtype::I64;
    bytes.fill(0);
    write(&path, &weights);
    let error = error_of(folder.path());
    assert!(
        error.contains("I64, expected F32, F16, BF16 or F64"),
        "{error}"
    );
}
