//! Traces.
#![no_main]

use std::sync::LazyLock;

use lac_fuzz::{Folder, check};
use lac_trace::{Statistics, TraceReader};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    // What the Parquet library's panics say is of no interest: they become errors.
    std::panic::set_hook(Box::new(|_| {}));
    Folder::default()
});

fuzz_target!(|bytes: &[u8]| {
    let path = FOLDER.write("trace.parquet", bytes);
    if let Some(trace) = check(TraceReader::open(&path)) {
        if let Some(statistics) = check(Statistics::of(&trace)) {
            statistics.summary();
        }
    }
});
