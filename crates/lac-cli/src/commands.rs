//! One file per command.

pub mod bench;
pub mod devices;
pub mod generate;
pub mod inspect;
pub mod tokenize;
pub mod trace;
