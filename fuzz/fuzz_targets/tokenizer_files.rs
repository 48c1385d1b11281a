//! The files beside `tokenizer.json`: the first byte says which one.
#![no_main]

use std::sync::LazyLock;

use lac_fuzz::{Folder, check};
use lac_models::{AddSpecialTokens, ChatMessage, ChatOptions, DecodedSpecialTokens, Tokenizer};
use libfuzzer_sys::fuzz_target;

const TOKENIZER: &[u8] =
    include_bytes!("../../crates/lac-models/tests/fixtures/chat/mistral/tokenizer.json");

/// Files in the order of the first byte.
const FILES: [&str; 7] = [
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "config.json",
    "chat_template.json",
    "chat_template.jinja",
];

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    // What the library's panics say is of no interest: they become errors.
    std::panic::set_hook(Box::new(|_| {}));
    let folder = Folder::default();
    folder.write("tokenizer.json", TOKENIZER);
    folder
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, bytes)) = bytes.split_first() else {
        return;
    };
    let file = FOLDER.write(FILES[usize::from(*choice) % FILES.len()], bytes);
    if let Some(tokenizer) = check(Tokenizer::from_folder(FOLDER.path())) {
        let ids = check(tokenizer.encode("Hi  <s> é <|user|>x", AddSpecialTokens::Always));
        if let Some(ids) = ids {
            check(tokenizer.decode(&ids, DecodedSpecialTokens::Skip));
        }
        let messages = [ChatMessage::new("user", "Hi"), ChatMessage::new("assistant", "é")];
        if tokenizer.has_chat_template() {
            check(tokenizer.render_chat(&messages, &ChatOptions::default()));
        }
    }
    // The next input finds a folder without it.
    std::fs::remove_file(file).expect("the file was just written");
});
