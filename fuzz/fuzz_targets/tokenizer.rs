//! `tokenizer.json`, and a text through what it describes.
#![no_main]

use std::sync::LazyLock;

use lac_fuzz::{Folder, check};
use lac_models::{AddSpecialTokens, DecodedSpecialTokens, Tokenizer};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    // What the library's panics say is of no interest: they become errors.
    std::panic::set_hook(Box::new(|_| {}));
    Folder::default()
});

fuzz_target!(|bytes: &[u8]| {
    FOLDER.write("tokenizer.json", bytes);
    let Some(tokenizer) = check(Tokenizer::from_folder(FOLDER.path())) else {
        return;
    };
    let text = "Hello  wörld, it's 2024!\n <s> 日本語 \u{1F600} aaaaaaaa";
    let Some(ids) = check(tokenizer.encode(text, AddSpecialTokens::Always)) else {
        return;
    };
    check(tokenizer.decode(&ids, DecodedSpecialTokens::Skip));
    let mut stream = tokenizer.stream(DecodedSpecialTokens::Keep);
    for id in ids.into_iter().chain([0, 1, u32::MAX]) {
        check(stream.push(id));
    }
    check(stream.finish());
});
