//! Policies: whether a layer is run, and which state is passed on. The trait and the built-in policies.

mod builtin;
mod delegate;
mod layer_policy;
mod observed;

pub use builtin::{Bypass, Halt, LastActive, Off, Trace};
pub use layer_policy::{
    FusedAction, LayerPolicy, LayerStep, NextState, PolicyEffect, SublayerStep,
};
pub use observed::Observed;
