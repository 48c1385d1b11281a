//! What the parts of a pass cost.

use web_time::Instant;

use crate::decision::Decision;
use crate::error::Result;
use crate::generation::forward_hidden;
use crate::generation::sampling::read_rows;
use crate::pass::Pass;
use crate::plan::{PhasePlan, Planned};
use crate::policy::Off;
use crate::speculation::draft_keys::draft_keys;
use crate::stack::CausalLm;

/// The parts of a pass over one token, as shares of its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct UnitCosts {
    /// A layer's attention.
    attention: f64,
    /// A layer's MLP.
    mlp: f64,
    /// The embedding, the final norm and the head.
    rest: f64,
}

/// The fastest of so many passes counts.
const PASSES: usize = 4;

impl UnitCosts {
    /// Times passes over one token after a text.
    pub(super) fn measure<M: CausalLm + ?Sized>(model: &M, ids: &[u32]) -> Result<Self> {
        let n_layers = model.n_layers();
        let (last, before) = match ids {
            [before @ .., last] if !before.is_empty() => (*last, before),
            _ => (0, &[0u32][..]),
        };
        let mut context = model.new_context(1, before.len() + 1);
        let prompt = Pass::prompt(&[before], 0)?;
        forward_hidden(model, &prompt, &mut context, &mut Off)?;
        let pass = Pass::response(before.len(), vec![last]);
        let mut timed = |decision: Decision| -> Result<f64> {
            let plan = PhasePlan::new(vec![decision; n_layers]);
            let mut policy = Planned::from_phases(plan.clone(), plan, draft_keys(model));
            let mut fastest = f64::INFINITY;
            for _ in 0..PASSES {
                let start = Instant::now();
                let out = forward_hidden(model, &pass, &mut context, &mut policy)?;
                read_rows(model.logits(out.hidden).squeeze_dim::<2>(1))?;
                fastest = fastest.min(start.elapsed().as_secs_f64());
            }
            Ok(fastest)
        };
        let full = timed(Decision::Run)?;
        let (attentions, rest) = match model.sublayers() {
            Some(_) => (timed(Decision::SkipMlp)?, timed(Decision::Skip)?),
            None => {
                let rest = timed(Decision::Skip)?;
                (0.5 * (full + rest), rest)
            }
        };
        // Noise may turn the order around.
        let rest = rest.min(full);
        let attentions = attentions.clamp(rest, full);
        let per_layer = |seconds: f64| seconds / full / n_layers.max(1) as f64;
        Ok(Self {
            attention: per_layer(attentions - rest),
            mlp: per_layer(full - attentions),
            rest: rest / full,
        })
    }

    /// Returns the cost of a plan's passes, as a share of a full pass.
    pub(super) fn of(&self, plan: &PhasePlan) -> f64 {
        let layers = plan.decisions().iter().map(|layer| match layer {
            Decision::Run => self.attention + self.mlp,
            Decision::SkipAttention => self.mlp,
            Decision::SkipMlp => self.attention,
            Decision::Skip => 0.0,
        });
        self.rest + layers.sum::<f64>()
    }
}
