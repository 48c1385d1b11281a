//! Ctrl-C while a model computes.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use lac_core::{BoxError, Decision, LayerPolicy, delegate};
use pyo3::prelude::*;

/// Between two looks at the interpreter: to attach to it may mean to wait for another thread's Python code.
const EVERY: Duration = Duration::from_millis(20);

/// Looks for signals now and then.
pub(crate) struct Signals {
    last: Instant,
}

impl Signals {
    pub(crate) fn new() -> Self {
        Self {
            last: Instant::now(),
        }
    }

    /// Runs the handlers of signals that have come, unless that was done just now. The handler of Ctrl-C raises
    /// KeyboardInterrupt, and that ends the computation.
    pub(crate) fn check(&mut self) -> Result<(), PyErr> {
        if self.last.elapsed() < EVERY {
            return Ok(());
        }
        self.last = Instant::now();
        // While the interpreter ends there is nobody left to interrupt.
        Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()))
    }
}

/// A policy that does what another one does, and lets signals end a pass before each of its layers.
pub(crate) struct Interruptible {
    inner: Box<dyn LayerPolicy>,
    signals: Signals,
}

impl Interruptible {
    pub(crate) fn new(inner: Box<dyn LayerPolicy>) -> Self {
        Self {
            inner,
            signals: Signals::new(),
        }
    }
}

impl LayerPolicy for Interruptible {
    delegate! {
        self, self.inner;
        name gate_config fused_action measures lens effect is_per_token begin skipped_keys runs_sublayers_apart
        after_sublayer change_state after finish
    }

    fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        self.signals.check()?;
        self.inner.before(layer_idx, hidden)
    }
}
