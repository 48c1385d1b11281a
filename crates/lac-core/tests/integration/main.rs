//! The gate, its kernels, the policies and the layer loop, on every backend that was compiled in.

#![allow(clippy::unwrap_used)]

mod chain;
mod contracts;
mod corruption;
mod devices;
mod drafters;
mod gate_fixture;
mod gate_properties;
mod greedy_kernel;
mod interventions;
mod kernel;
mod kv_cache;
mod layer_loop;
mod lens;
mod measures;
mod own_model;
mod plans;
mod speculation;
