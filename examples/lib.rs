//! Programs that show what lac does; each explains itself where it stands.
//!
//! - `skip_voids`: the main job. A prompt answered by the full model and with its voids skipped.
//! - `evaluate`: MMLU, GPQA and BoolQ, full and with voids skipped, in one table.
//! - `custom_architecture`: a model of your own, made traceable by implementing two traits.
//! - `trace_phases`: a chat traced into a file, its statistics, and a page to look at.

/// Compiles and runs the guide's examples.
#[cfg(all(doctest, feature = "flex"))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;
