//! The crate from outside.

#![allow(clippy::unwrap_used)]

mod threads;
