//! A policy that a benchmark is run under, and which of its variants can share a pass.

mod sweep;

use std::fmt;

use burn::tensor::Tensor;
use lac_core::{
    GateConfig, LayerPolicy, Off, PolicyEffect, Trace, record::TokenReading,
    released_code::FirstThreshold, speculation::Speculator,
};

use self::sweep::{LastActiveSweep, WHOLE_RANGE};
use crate::policy_settings::PolicySettings;

/// One way through the layers, and the variants whose results come out of it.
pub struct PolicyRun {
    route: Route,
    variants: Vec<PolicySettings>,
}

impl fmt::Debug for PolicyRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PolicyRun")
            .field("variants", &self.variants)
            .finish_non_exhaustive()
    }
}

enum Route {
    /// One policy, one variant.
    One(Box<dyn LayerPolicy>),
    /// The full model, traced: its masks at any α follow from the deltas.
    Traced(Trace),
    /// The full model's layers; for each α the output of each token's last active layer is kept.
    LastActive(LastActiveSweep),
    /// Drafts, and the full model's passes that verify them.
    Speculative {
        speculator: Box<Speculator>,
        full: Off,
    },
}

impl PolicyRun {
    /// Runs one policy. Results name it by its name and its gate's settings.
    pub fn new(policy: Box<dyn LayerPolicy>) -> Self {
        Self {
            variants: vec![PolicySettings::new(
                policy.name(),
                policy.gate_config(),
                policy.effect(),
            )],
            route: Route::One(policy),
        }
    }

    /// Generates by lossless speculation, one question at a time. Greedy answers are the full
    /// model's; drawn answers have the full model's distribution. Protocols that compare
    /// log-likelihoods refuse it.
    ///
    /// The speculator learns from one greedy question for the next. Where answers are drawn, each
    /// question begins with the speculator as it is given here: what is drawn depends on the
    /// drafts.
    pub fn speculative(speculator: Speculator) -> Self {
        Self {
            variants: vec![PolicySettings::new(
                "speculative",
                speculator.config().gate,
                // Drawn answers follow the full model's distribution, but are not its answers.
                PolicyEffect::ChangedStates,
            )],
            route: Route::Speculative {
                speculator: Box::new(speculator),
                full: Off,
            },
        }
    }

    /// Adds to the settings what else the results depend on, such as the hash of a plan.
    pub fn with_details(mut self, details: &str) -> Self {
        for variant in &mut self.variants {
            variant.details = Some(details.to_owned());
        }
        self
    }

    /// Gives the full model's answers with its usage at every α, from one trace.
    pub fn traced(alphas: &[f32]) -> Self {
        Self {
            route: Route::Traced(Trace::new(GateConfig::new(WHOLE_RANGE))),
            variants: at_each_alpha("trace", alphas, PolicyEffect::FullModel),
        }
    }

    /// Runs [`LastActive`](lac_core::LastActive) at several α in one pass through the layers,
    /// which receive the full model's states whatever α is. It scores log-likelihoods only: texts
    /// differ between α from their first different token on.
    pub fn last_active(alphas: &[f32]) -> Self {
        Self {
            route: Route::LastActive(LastActiveSweep::new(alphas)),
            variants: at_each_alpha("last-active", alphas, PolicyEffect::FullStates),
        }
    }

    /// Returns the variants whose results come out.
    pub fn variants(&self) -> &[PolicySettings] {
        &self.variants
    }

    /// Returns whether the run can generate text.
    pub fn can_generate(&self) -> bool {
        !matches!(self.route, Route::LastActive(_))
    }

    /// Returns whether the run can score log-likelihoods. Speculation cannot: there is nothing to
    /// draft.
    pub fn can_score(&self) -> bool {
        !matches!(self.route, Route::Speculative { .. })
    }

    /// Returns what the gate compares the first layer with, where there is a gate.
    pub(crate) fn first_threshold(&self) -> Option<FirstThreshold> {
        let gate = match &self.route {
            Route::One(policy) => policy.gate_config(),
            Route::Traced(policy) => policy.gate_config(),
            Route::LastActive(policy) => policy.gate_config(),
            Route::Speculative { speculator, .. } => speculator.config().gate,
        };
        gate.map(|gate| gate.first_threshold)
    }

    /// Returns whether questions are answered one at a time, whatever the size of a batch.
    pub(crate) fn is_one_by_one(&self) -> bool {
        matches!(self.route, Route::Speculative { .. })
    }

    /// Returns the speculator, if the run speculates.
    pub(crate) fn speculator(&mut self) -> Option<&mut Speculator> {
        match &mut self.route {
            Route::Speculative { speculator, .. } => Some(speculator),
            _ => None,
        }
    }

    /// Returns whether a token's result depends on earlier tokens and itself alone, so that a text
    /// may be fed in several passes.
    pub(crate) fn can_feed_incrementally(&self) -> bool {
        match &self.route {
            Route::One(policy) => policy.is_per_token(),
            Route::Traced(_) | Route::LastActive(_) | Route::Speculative { .. } => true,
        }
    }

    /// Returns the policy of the passes.
    pub(crate) fn policy(&mut self) -> &mut dyn LayerPolicy {
        match &mut self.route {
            Route::One(policy) => policy.as_mut(),
            Route::Traced(policy) => policy,
            Route::LastActive(policy) => policy,
            Route::Speculative { full, .. } => full,
        }
    }

    /// Returns the states for the final norm after a pass, `[batch, seq, hidden]` each: one for
    /// each variant, or a single one where the variants share their answers.
    pub(crate) fn states(&mut self, hidden: Tensor<3>) -> Vec<Tensor<3>> {
        match &mut self.route {
            Route::LastActive(sweep) => sweep.take(&hidden),
            // The same answers at every α: one state serves all.
            _ => vec![hidden],
        }
    }

    /// Returns whether the layer of a reading was active for its token under a variant.
    pub(crate) fn is_active(&self, variant: usize, reading: &TokenReading) -> bool {
        match (&self.route, self.variants[variant].alpha) {
            (Route::Traced(_) | Route::LastActive(_), Some(alpha)) => {
                // The gate's own arithmetic: its threshold is the range times one.
                reading.delta >= alpha * reading.threshold
            }
            _ => reading.active,
        }
    }
}

fn at_each_alpha(policy: &str, alphas: &[f32], effect: PolicyEffect) -> Vec<PolicySettings> {
    alphas
        .iter()
        .map(|&alpha| PolicySettings::new(policy, Some(GateConfig::new(alpha)), effect))
        .collect()
}
