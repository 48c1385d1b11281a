//! The gate, its kernels and the loop on every backend compiled in.

#![allow(clippy::unwrap_used)]

mod devices;
mod kernel;
