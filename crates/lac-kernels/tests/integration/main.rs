//! The crate from outside.

#![allow(clippy::unwrap_used)]

mod quantized;
mod threads;
