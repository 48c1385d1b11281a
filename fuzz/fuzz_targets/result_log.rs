//! Files of results.
#![no_main]

use std::sync::LazyLock;

use lac_eval::{EvalReport, Results};
use lac_fuzz::{Folder, check};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(Folder::default);

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.write("results.jsonl", bytes);
    if let Some(results) = check(Results::read(&path)) {
        EvalReport::new(std::slice::from_ref(&results));
        results.to_lines();
    }
});
