//! A small trained model and three small benchmark sets about the world it knows, embedded.
//!
//! A model of random weights has no behaviour to lose when layers are skipped, and a real one has
//! to be downloaded. This crate carries a third kind: a Qwen2 of twelve layers that
//! `cargo xtask train-demo` trained from nothing on a generated world, in plain English. The sets
//! have the file formats of MMLU, GPQA and BoolQ; none of their questions was seen in training.
//!
//! | feature (both on by default) | gives |
//! | --- | --- |
//! | `model` | [`model_files`]: a folder in Hugging Face layout, 5 MB |
//! | `sets` | [`set_files`] and the questions in them: [`choices`], [`hard_choices`], [`yes_no_questions`] |
//!
//! ```
//! # #[cfg(feature = "sets")] {
//! let items = lac_demo::choices()?;
//! assert_eq!(items.len(), 400);
//! let item = &items[0];
//! assert!(item.prompt().ends_with("\nAnswer:"));
//! assert!("ABCD".contains(item.letter()));
//! # }
//! # Ok::<(), lac_demo::Error>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use error::Error;
#[cfg(feature = "model")]
pub use files::model_files;
#[cfg(feature = "sets")]
pub use files::set_files;
pub use files::{File, unpack};
pub use questions::{Choice, LETTERS, YesNo};
#[cfg(feature = "sets")]
pub use sets::{choices, hard_choices, yes_no_questions};

mod error;
mod files;
mod questions;
#[cfg(feature = "sets")]
mod sets;

/// Compiles the README's example.
#[cfg(all(doctest, feature = "sets"))]
#[doc = include_str!("../README.md")]
struct Readme;
