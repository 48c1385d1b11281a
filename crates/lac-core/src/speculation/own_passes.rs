//! Drafting passes of the model itself, on its own KV cache.

use super::draft_keys::draft_keys;
use super::draft_weights::DraftWeights;
use crate::decision::SkippedKeys;
use crate::error::{Error, Result};
use crate::generation::forward_hidden;
use crate::generation::sampling::read_rows;
use crate::pass::Pass;
use crate::policy::LayerPolicy;
use crate::run::PassReadings;
use crate::stack::CausalLm;

/// Drafting passes of a model whose type a drafter need not know.
pub(super) trait OwnPasses {
    /// Runs the model over those tokens of a text that it has not yet run over in this round, and returns the last one's
    /// logits.
    fn logits(
        &mut self,
        weights: DraftWeights,
        text: &[u32],
        policy: &mut dyn LayerPolicy,
    ) -> Result<Vec<f32>>;

    fn skipped_keys(&self, weights: DraftWeights) -> SkippedKeys;
}

/// One round's passes.
pub(super) struct RoundPasses<'a, M: CausalLm + ?Sized> {
    pub model: &'a M,
    pub context: &'a mut M::Context,
    /// Leading tokens that passes were made over.
    pub n_fed: usize,
    /// Number of passes.
    pub n_passes: usize,
    /// Number of layers that they ran, sublayers counted as halves.
    pub n_layers: f64,
}

impl<M: CausalLm + ?Sized> OwnPasses for RoundPasses<'_, M> {
    fn logits(
        &mut self,
        weights: DraftWeights,
        text: &[u32],
        policy: &mut dyn LayerPolicy,
    ) -> Result<Vec<f32>> {
        // The last token is run over again where its logits are asked for twice.
        let first = self.n_fed.min(text.len() - 1);
        let pass = Pass::response(first, text[first..].to_vec());
        let (logits, readings) = match weights {
            DraftWeights::Own => logits_and_readings(self.model, &pass, self.context, policy)?,
            DraftWeights::Second => {
                let model = self.model.second_weights().ok_or(Error::NoSecondWeights)?;
                logits_and_readings(model, &pass, self.context, policy)?
            }
        };
        self.n_fed = text.len();
        self.n_passes += 1;
        self.n_layers += readings
            .decisions()
            .iter()
            .map(|layer| layer.executed())
            .sum::<f64>();
        Ok(logits)
    }

    fn skipped_keys(&self, weights: DraftWeights) -> SkippedKeys {
        match (weights, self.model.second_weights()) {
            (DraftWeights::Second, Some(second)) => draft_keys(second),
            _ => draft_keys(self.model),
        }
    }
}

fn logits_and_readings<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
) -> Result<(Vec<f32>, PassReadings)> {
    let out = forward_hidden(model, pass, context, policy)?;
    let last = out.hidden.narrow(1, pass.seq() - 1, 1);
    let logits = read_rows(model.logits(last).squeeze_dim::<2>(1))?.swap_remove(0);
    Ok((logits, out.readings))
}
