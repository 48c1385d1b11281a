//! A language model's layers at work in a browser, without a server: what the worker of a page calls.
//!
//! [`WebModel`] is the embedded model, or one made of files that were dropped on the page; [`Answer`] continues a prompt one
//! pass at a time, so that whoever calls it can show each token, and stop. [`AskConfig`] says how. All of it is plain
//! Rust, which runs in a browser's worker and anywhere else; the module `bindings`, which is compiled for the browser
//! alone, is what the worker calls.
//!
//! There is no page yet.
//!
//! ```
//! use lac_web::{Answer, AskConfig, WebModel};
//!
//! let model = std::rc::Rc::new(WebModel::embedded()?);
//! let mut answer = Answer::new(&model, "What is three plus four?", &AskConfig::default())?;
//! let first = answer.step()?;
//! // The prompt's tokens have been through the layers, and the first new one was chosen.
//! assert!(first.tokens.len() > 3);
//! assert_eq!(first.tokens[0].deltas.len(), 12);
//! while answer.step()?.stop.is_none() {}
//! assert!(!answer.text().is_empty());
//! # Ok::<(), lac_web::Error>(())
//! ```
#![deny(missing_debug_implementations, missing_docs, unreachable_pub)]
#![warn(clippy::missing_errors_doc, clippy::missing_panics_doc)]

pub use answer::{Answer, Step, TokenEvent};
pub use ask::{AskConfig, PolicyName};
pub use error::Error;
pub use files::Files;
pub use model::{ModelFacts, WebModel};

#[cfg(target_family = "wasm")]
pub mod bindings;

mod answer;
mod ask;
mod error;
mod files;
mod model;
