//! A policy that looks at more than the norm.

use super::layer_policy::LayerPolicy;
use crate::delegate;
use crate::lens::Lens;
use crate::measures::Measures;

/// Does what another policy does, and has layers measured beside the norm ([`Measures`]) or states seen through a [`Lens`].
/// Results do not change.
#[derive(Clone, Debug)]
pub struct Observed<P> {
    inner: P,
    measures: Measures,
    lens: Option<Lens>,
}

impl<P: LayerPolicy> Observed<P> {
    /// Wraps a policy; `P` may be a `&mut dyn LayerPolicy` or a box.
    pub fn new(inner: P) -> Self {
        Self {
            inner,
            measures: Measures::Off,
            lens: None,
        }
    }

    /// Sets what is measured of every layer.
    pub fn with_measures(self, measures: Measures) -> Self {
        Self { measures, ..self }
    }

    /// Sets the lens. It needs the model's head: [`forward_hidden`](crate::generation::forward_hidden) and all that is made
    /// of it, such as [`generate`](crate::generate), look through it; [`run_layers`](crate::run_layers) only keeps the
    /// states.
    pub fn with_lens(self, lens: Option<Lens>) -> Self {
        Self { lens, ..self }
    }
}

impl<P: LayerPolicy> LayerPolicy for Observed<P> {
    delegate! {
        self, self.inner;
        name gate_config fused_action effect is_per_token begin before skipped_keys runs_sublayers_apart after_sublayer
        change_state after finish
    }

    fn measures(&self) -> Measures {
        match self.measures {
            Measures::Off => self.inner.measures(),
            measures => measures,
        }
    }

    fn lens(&self) -> Option<&Lens> {
        self.lens.as_ref().or_else(|| self.inner.lens())
    }
}
