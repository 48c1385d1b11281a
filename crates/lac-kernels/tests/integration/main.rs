//! The crate from outside.

mod threads;
