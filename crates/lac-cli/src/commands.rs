//! One file per command.

pub mod devices;
pub mod eval;
pub mod generate;
pub mod inspect;
pub mod tokenize;
pub mod trace;
