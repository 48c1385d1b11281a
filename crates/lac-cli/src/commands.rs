//! One file per command.

pub mod devices;
pub mod export;
pub mod generate;
pub mod inspect;
pub mod report;
pub mod tokenize;
pub mod trace;
