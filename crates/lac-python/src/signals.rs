//! Ctrl-C while a model computes.

use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use lac_core::error::StateAt;
use lac_core::lens::Lens;
use lac_core::measures::Measures;
use lac_core::policy::{FusedAction, SublayerStep};
use lac_core::{
    BoxError, Decision, GateConfig, LayerPolicy, LayerStep, NextState, Pass, PolicyEffect,
    SkippedKeys,
};
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
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn gate_config(&self) -> Option<GateConfig> {
        self.inner.gate_config()
    }

    fn fused_action(&self) -> FusedAction {
        self.inner.fused_action()
    }

    fn measures(&self) -> Measures {
        self.inner.measures()
    }

    fn lens(&self) -> Option<&Lens> {
        self.inner.lens()
    }

    fn effect(&self) -> PolicyEffect {
        self.inner.effect()
    }

    fn is_per_token(&self) -> bool {
        self.inner.is_per_token()
    }

    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.inner.begin(pass, embedding)
    }

    fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        self.signals.check()?;
        self.inner.before(layer_idx, hidden)
    }

    fn skipped_keys(&self) -> SkippedKeys {
        self.inner.skipped_keys()
    }

    fn runs_sublayers_apart(&self, layer_idx: usize) -> bool {
        self.inner.runs_sublayers_apart(layer_idx)
    }

    fn after_sublayer(&mut self, step: SublayerStep<'_>) -> Result<Option<Tensor<3>>, BoxError> {
        self.inner.after_sublayer(step)
    }

    fn change_state(
        &mut self,
        at: StateAt,
        state: &Tensor<3>,
    ) -> Result<Option<Tensor<3>>, BoxError> {
        self.inner.change_state(at, state)
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        self.inner.after(step)
    }

    fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
        self.inner.finish(hidden)
    }
}
