//! A GGUF file: its header, its tensors and its vocabulary.
#![no_main]

use std::sync::LazyLock;

use burn::tensor::Device;
use lac_fuzz::{Folder, check};
use lac_models::{AddSpecialTokens, ModelFolder, WeightDtype};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::default);

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.write("m.gguf", bytes);
    let Some(folder) = check(ModelFolder::open(path)) else {
        return;
    };
    check(folder.weights_summary());
    check(folder.fingerprint());
    if let Some(tokenizer) = check(folder.tokenizer()) {
        check(tokenizer.encode("ab c\n1", AddSpecialTokens::Always));
    }
    check(folder.load(WeightDtype::F16, &Device::flex(), &mut |_| {}));
});
