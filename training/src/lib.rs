//! What made the embedded demo: a generated closed world told in plain English, benchmark sets
//! about it in the file formats of MMLU, GPQA and BoolQ, and the training of a small Qwen2 on it,
//! in burn.
//!
//! Everything follows from a seed. `cargo xtask train-demo` trains; `cargo run --release -p
//! lac-training -- --help` lists the rest.
//!
//! ```
//! use lac_training::{SEED, questions, random::Random, split::Split, world::World};
//!
//! let world = World::new(SEED);
//! let item = questions::choice(&world, "addition", Split::Test, &mut Random::new(1));
//! assert_eq!(item.choices.len(), 4);
//! assert!(item.question.contains(" adds ") || item.question.contains(" finds "));
//! ```
#![deny(missing_docs)]

pub mod batches;
pub mod card;
pub mod chat_format;
pub mod choice_question;
pub mod conversation;
pub mod document;
pub mod error;
pub mod exercises;
pub mod formats;
pub mod prompts;
pub mod questions;
pub mod random;
pub mod score;
pub mod sets;
pub mod split;
pub mod text;
pub mod tokenizer;
pub mod train;
pub mod two_steps;
pub mod world;
pub mod yes_no;

pub use error::Error;

/// The seed of the world that the embedded sets and model are about.
pub const SEED: u64 = 7;
