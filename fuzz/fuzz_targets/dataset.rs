//! Data sets: the input's first byte says of which benchmark and in which format.
#![no_main]

use std::sync::LazyLock;

use lac_eval::data::Split;
use lac_eval::{Benchmark, DataSet};
use lac_fuzz::{Folder, check};
use libfuzzer_sys::fuzz_target;

static FOLDER: LazyLock<Folder> = LazyLock::new(|| {
    // What the Parquet library's panics say is of no interest: they become errors.
    std::panic::set_hook(Box::new(|_| {}));
    Folder::default()
});

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let (benchmark, name) = match choice % 7 {
        0 => (Benchmark::Mmlu, "mmlu.parquet"),
        1 => (Benchmark::Mmlu, "pets_test.csv"),
        2 => (Benchmark::Mmlu, "mmlu.jsonl"),
        3 => (Benchmark::Gpqa, "gpqa.csv"),
        4 => (Benchmark::Boolq, "boolq.parquet"),
        5 => (Benchmark::Boolq, "boolq.jsonl"),
        _ => (Benchmark::Samples, "samples_x_1.jsonl"),
    };
    let path = FOLDER.write(name, rest);
    check(DataSet::load(benchmark, &path, Split::Test));
});
