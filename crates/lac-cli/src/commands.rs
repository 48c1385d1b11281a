//! One file per command.

pub mod bench;
pub mod devices;
pub mod eval;
pub mod export;
pub mod generate;
pub mod inspect;
pub mod perplexity;
pub mod plan;
pub mod prune;
pub mod quantize;
pub mod report;
pub mod tokenize;
pub mod trace;
pub mod verify;
