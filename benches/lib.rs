//! Criterion benches of lac's functions; `cargo bench -p lac-benches` runs them all.
