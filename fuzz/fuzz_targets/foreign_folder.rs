//! A folder that holds something else than a model: the input's first byte chooses a file's name, the rest is in it.
#![no_main]

use std::sync::LazyLock;

use lac_fuzz::{Folder, check};
use lac_models::{ModelFolder, checkpoint::Checkpoint};
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 6] = [
    "adapter_config.json",
    "config.json",
    "refs/main",
    "tokenizer.json",
    "model.gguf",
    "chat_template.jinja",
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    let folder = Folder::default();
    for inner in ["refs", "snapshots/a"] {
        let inner = folder.path().join(inner);
        std::fs::create_dir_all(inner).expect("a folder in a temporary folder");
    }
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    for name in NAMES {
        let _ = std::fs::remove_file(FOLDER.path().join(name));
    }
    let file = FOLDER.write(NAMES[usize::from(*choice) % NAMES.len()], bytes);
    check(ModelFolder::open(file));
    if let Some(folder) = check(ModelFolder::open(FOLDER.path())) {
        assert!(Checkpoint::open(FOLDER.path()).is_err(), "it has no weights");
        check(folder.tokenizer());
    }
});
