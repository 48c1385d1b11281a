//! Which policies a benchmark is run under, and which of them can share a pass.

use std::fmt;

use burn::tensor::{Bool, Tensor};
use lac_core::{
    BoxError, Carry, FirstThreshold, GateConfig, GateRecord, Gating, LayerPolicy, LayerStep, Off,
    Pass, Speculator, Trace,
};

use crate::settings::Skipping;

/// One way through the layers, and the variants whose results come out of it.
pub struct Lane {
    route: Route,
    variants: Vec<Skipping>,
}

impl fmt::Debug for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lane")
            .field("variants", &self.variants)
            .finish_non_exhaustive()
    }
}

enum Route {
    /// One policy, one variant.
    One(Box<dyn LayerPolicy>),
    /// The full model, traced: its masks at any α follow from the deltas.
    Traced(Trace),
    /// The full model's layers; per α the output of each token's last active layer is kept.
    LastActive(LastActiveSweep),
    /// Drafts, and the full model's passes that verify them.
    Speculative {
        speculator: Box<Speculator>,
        full: Off,
    },
}

/// An α at which the gate's threshold is the range of the earlier deltas itself.
const WHOLE_RANGE: f32 = 1.0;

impl Lane {
    /// One policy, named in results by what it says of itself: its name, and its gate's settings.
    pub fn new(policy: Box<dyn LayerPolicy>) -> Self {
        Self {
            variants: vec![variant(policy.name(), policy.gate())],
            route: Route::One(policy),
        }
    }

    /// Lossless speculation, for protocols that generate text: one question at a time, with the full
    /// model's answers where they are greedy and the full model's distribution where they are drawn.
    ///
    /// The speculator learns from one greedy question for the next. Where answers are drawn, each
    /// question begins with it as it is given here: what is drawn depends on the drafts.
    pub fn speculative(speculator: Speculator) -> Self {
        Self {
            variants: vec![variant("speculative", speculator.config().gate)],
            route: Route::Speculative {
                speculator: Box::new(speculator),
                full: Off,
            },
        }
    }

    /// The same with what else its results depend on, such as the hash of a plan: results that
    /// differ in it are not the same.
    pub fn with_details(mut self, details: &str) -> Self {
        for variant in &mut self.variants {
            variant.details = Some(details.to_owned());
        }
        self
    }

    /// The full model's answers, with its usage at every α, from one trace.
    pub fn traced(alphas: &[f32]) -> Self {
        Self {
            route: Route::Traced(Trace::new(GateConfig::new(WHOLE_RANGE))),
            variants: variants("trace", alphas),
        }
    }

    /// [`LastActive`](lac_core::LastActive) at several α from one pass through the layers, which
    /// run on the full model's states whatever α is. Log-likelihoods only: texts differ from their
    /// first different token on.
    pub fn last_active(alphas: &[f32]) -> Self {
        Self {
            route: Route::LastActive(LastActiveSweep::new(alphas)),
            variants: variants("last-active", alphas),
        }
    }

    /// The variants whose results come out.
    pub fn variants(&self) -> &[Skipping] {
        &self.variants
    }

    /// Whether the lane can generate text.
    pub fn can_generate(&self) -> bool {
        !matches!(self.route, Route::LastActive(_))
    }

    /// Whether the lane can score log-likelihoods, in which nothing can be drafted.
    pub fn can_score(&self) -> bool {
        !matches!(self.route, Route::Speculative { .. })
    }

    /// What the gate holds the first layer against, where there is a gate.
    pub(crate) fn first_threshold(&self) -> Option<FirstThreshold> {
        let gate = match &self.route {
            Route::One(policy) => policy.gate(),
            Route::Traced(policy) => policy.gate(),
            Route::LastActive(policy) => policy.gate(),
            Route::Speculative { speculator, .. } => speculator.config().gate,
        };
        gate.map(|gate| gate.first_threshold)
    }

    /// Whether questions are answered one at a time, whatever a batch holds.
    pub(crate) fn is_one_by_one(&self) -> bool {
        matches!(self.route, Route::Speculative { .. })
    }

    /// What speculates, where the lane does.
    pub(crate) fn speculator(&mut self) -> Option<&mut Speculator> {
        match &mut self.route {
            Route::Speculative { speculator, .. } => Some(speculator),
            _ => None,
        }
    }

    /// Whether a token's result depends on no token that comes after it in the pass, so that a
    /// text may be fed in parts. Policies that are asked after every layer may decide about a
    /// sequence as a whole, as Halt does.
    pub(crate) fn allows_parts(&self) -> bool {
        match &self.route {
            Route::One(policy) => policy.gate().is_none() || policy.gating() != Gating::Stepwise,
            Route::Traced(_) | Route::LastActive(_) | Route::Speculative { .. } => true,
        }
    }

    pub(crate) fn policy(&mut self) -> &mut dyn LayerPolicy {
        match &mut self.route {
            Route::One(policy) => policy.as_mut(),
            Route::Traced(policy) => policy,
            Route::LastActive(policy) => policy,
            Route::Speculative { full, .. } => full,
        }
    }

    /// After a pass: for each variant the state for the final norm.
    pub(crate) fn states(&mut self, hidden: Tensor<3>) -> Vec<Tensor<3>> {
        match &mut self.route {
            Route::LastActive(sweep) => sweep.take(&hidden),
            // The same answers at every α: one state serves all.
            _ => vec![hidden],
        }
    }

    /// Whether a variant's layer was active for a token.
    pub(crate) fn is_active(&self, variant: usize, gate: &GateRecord, at: usize) -> bool {
        match (&self.route, self.variants[variant].alpha) {
            (Route::Traced(_) | Route::LastActive(_), Some(alpha)) => {
                // The gate's own arithmetic: its threshold is the range times one.
                gate.deltas[at] >= alpha * gate.thresholds[at]
            }
            _ => gate.active[at],
        }
    }
}

fn variant(policy: &str, gate: Option<GateConfig>) -> Skipping {
    Skipping {
        policy: policy.to_owned(),
        alpha: gate.map(|gate| gate.alpha),
        rounding: gate.map(|gate| gate.rounding).unwrap_or_default(),
        details: None,
    }
}

fn variants(policy: &str, alphas: &[f32]) -> Vec<Skipping> {
    alphas
        .iter()
        .map(|&alpha| variant(policy, Some(GateConfig::new(alpha))))
        .collect()
}

/// Keeps, per α, the output of each token's last active layer.
struct LastActiveSweep {
    alphas: Vec<f32>,
    selected: Vec<Tensor<3>>,
}

impl LastActiveSweep {
    fn new(alphas: &[f32]) -> Self {
        Self {
            alphas: alphas.to_vec(),
            selected: Vec::new(),
        }
    }

    fn take(&mut self, hidden: &Tensor<3>) -> Vec<Tensor<3>> {
        if self.selected.is_empty() {
            return vec![hidden.clone(); self.alphas.len()];
        }
        std::mem::take(&mut self.selected)
    }
}

impl LayerPolicy for LastActiveSweep {
    fn name(&self) -> &str {
        "last-active"
    }

    fn gate(&self) -> Option<GateConfig> {
        Some(GateConfig::new(WHOLE_RANGE))
    }

    fn begin(&mut self, _pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        self.selected = vec![embedding.clone(); self.alphas.len()];
        Ok(())
    }

    fn after(&mut self, step: LayerStep<'_>) -> Result<Carry, BoxError> {
        if let Some(reading) = step.reading {
            for (selected, &alpha) in self.selected.iter_mut().zip(&self.alphas) {
                let threshold = reading.threshold.clone() * alpha;
                let active = reading.delta.clone().greater_equal(threshold);
                *selected = written(selected.clone(), active, step.output.clone());
            }
        }
        Ok(Carry::Output)
    }
}

/// A state with another one written over it where a mask `[batch, seq]` holds.
fn written(state: Tensor<3>, mask: Tensor<2, Bool>, over: Tensor<3>) -> Tensor<3> {
    let dims = state.dims();
    state.mask_where(mask.unsqueeze_dim::<3>(2).expand(dims), over)
}
