//! A generated closed world and small benchmark sets about it, made by this project.
//!
//! A random model has no behaviour to lose when layers are skipped, and a real
//! one has to be downloaded. This crate is for a third kind: a Qwen2 of twelve
//! layers that `cargo xtask train-demo` trains from nothing on a generated
//! [`World`](world::World), told in plain English. Three benchmark sets about that
//! world have exactly the file formats of MMLU, GPQA and BoolQ.
//!
//! | feature | gives |
//! | --- | --- |
//! | `sets` (default) | `embedded::set_files`: the benchmark files |
//! | `generate` | what made both: the tokenizer's training, batches, file formats |
//!
//! The world, its questions and its texts need no feature and no dependency:
//!
//! ```
//! use lac_demo::{questions, random::Random, split::Split, world::World};
//!
//! let world = World::new(lac_demo::SEED);
//! let item = questions::choice(&world, "addition", Split::Test, &mut Random::new(1));
//! assert_eq!(item.choices.len(), 4);
//! assert!(item.question.contains(" adds ") || item.question.contains(" finds "));
//! ```
#![deny(missing_docs)]

#[cfg(feature = "generate")]
pub mod batches;
pub mod conversation;
pub mod document;
#[cfg(feature = "sets")]
pub mod embedded;
pub mod error;
pub mod exercises;
#[cfg(feature = "generate")]
pub mod formats;
pub mod prompts;
pub mod questions;
pub mod random;
pub mod sets;
pub mod split;
pub mod text;
pub mod tokenizer;
pub mod two_steps;
pub mod world;
pub mod yes_no;

pub use error::Error;

/// The seed of the world that the benchmark sets are about.
pub const SEED: u64 = 7;
