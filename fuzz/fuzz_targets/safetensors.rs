//! A safetensors file and an index: the input's first part is the header, or the index where it
//! begins with `{"weight_map`, and the rest the data.
#![no_main]

use std::sync::LazyLock;

use burn::tensor::Device;
use lac_fuzz::{Folder, check};
use lac_models::{ModelFolder, WeightDtype};
use libfuzzer_sys::fuzz_target;

const CONFIG: &[u8] = br#"{"model_type": "llama", "vocab_size": 4, "hidden_size": 2,
    "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1,
    "tie_word_embeddings": true}"#;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::default();
    folder.write("config.json", CONFIG);
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let (index, weights) = ("model.safetensors.index.json", "model.safetensors");
    let _ = std::fs::remove_file(FOLDER.path().join(index));
    let _ = std::fs::remove_file(FOLDER.path().join(weights));
    if bytes.starts_with(br#"{"weight_map"#) {
        FOLDER.write(index, bytes);
    } else {
        FOLDER.write(weights, bytes);
    }
    let Some(folder) = check(ModelFolder::open(FOLDER.path())) else {
        return;
    };
    check(folder.fingerprint());
    check(folder.load(WeightDtype::F16, &Device::flex(), &mut |_| {}));
});
