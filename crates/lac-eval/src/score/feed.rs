//! The passes of a plan.

use burn::tensor::Tensor;
use lac_core::{CausalLm, Pass, PassRecord, Result, generation::forward_hidden};

use super::plan::{CountedRow, FeedPlan, PassRows, Target};
use super::read;
use crate::item_usage::{CountPass, ItemUsage, count_row};
use crate::policy_run::PolicyRun;

/// The token of padding, which is masked.
const PAD: u32 = 0;

/// Tokens with which all rows of a batch begin, fed once and kept for the batches that share them.
pub(crate) struct Prefix<C> {
    ids: Vec<u32>,
    pass: Pass,
    context: C,
    /// Per variant.
    pub(super) usage: Vec<ItemUsage>,
}

/// A pass that was run.
pub(super) struct FedPass {
    /// The states of the run's variants, `[batch, seq, hidden]` each.
    states: Vec<Tensor<3>>,
    pub(super) record: PassRecord,
    pub(super) rows: Vec<CountedRow>,
    pub(super) targets: Vec<Target>,
}

pub(super) struct Feeder<'a, M: ?Sized> {
    pub(super) model: &'a M,
    pub(super) run: &'a mut PolicyRun,
}

impl<M: CausalLm + ?Sized> Feeder<'_, M> {
    pub(super) fn feed(
        &mut self,
        plan: &FeedPlan<'_>,
        prefix: &mut Option<Prefix<M::Context>>,
    ) -> Result<Vec<FedPass>> {
        if let Some((sources, second)) = &plan.second {
            return self.feed_apart(&plan.first, sources, second);
        }
        let rows = &plan.first;
        if !plan.prefix.is_empty() {
            let prefix = self.keep(plan.prefix, prefix)?;
            let sources = vec![0; rows.ids.len()];
            let pass = prefix.pass.scored_after(&sources, &rows.ids, PAD)?;
            let past = pass.past();
            let repeated =
                self.model
                    .repeat_context(&prefix.context, &sources, past, past + pass.seq());
            if let Some(mut context) = repeated {
                return Ok(vec![self.pass(&pass, &mut context, rows)?]);
            }
        }
        let pass = Pass::scored(&rows.ids, PAD)?;
        let mut context = self.model.new_context(pass.batch(), pass.seq());
        Ok(vec![self.pass(&pass, &mut context, rows)?])
    }

    /// Feeds contexts, padded on the left so that no gap lies before the options; then the options.
    fn feed_apart(
        &mut self,
        first: &PassRows,
        sources: &[usize],
        second: &PassRows,
    ) -> Result<Vec<FedPass>> {
        let pass = Pass::prompt(&first.ids, PAD)?;
        let mut context = self.model.new_context(pass.batch(), pass.seq());
        let mut fed = vec![self.pass(&pass, &mut context, first)?];
        if second.ids.is_empty() {
            return Ok(fed);
        }
        let next = pass.scored_after(sources, &second.ids, PAD)?;
        let past = next.past();
        let repeated = self
            .model
            .repeat_context(&context, sources, past, past + next.seq());
        if let Some(mut context) = repeated {
            fed.push(self.pass(&next, &mut context, second)?);
        }
        Ok(fed)
    }

    /// Feeds a prefix, unless it is the one that was fed last.
    fn keep<'p>(
        &mut self,
        ids: &[u32],
        kept: &'p mut Option<Prefix<M::Context>>,
    ) -> Result<&'p Prefix<M::Context>> {
        let fresh = match kept.take().filter(|prefix| prefix.ids == ids) {
            Some(prefix) => prefix,
            None => self.fresh(ids)?,
        };
        Ok(kept.insert(fresh))
    }

    fn fresh(&mut self, ids: &[u32]) -> Result<Prefix<M::Context>> {
        let pass = Pass::prompt(&[ids], PAD)?;
        let mut context = self.model.new_context(1, ids.len());
        let fed = self.pass(&pass, &mut context, &PassRows::default())?;
        let n_variants = self.run.variants().len();
        let usage = (0..n_variants)
            .map(|variant| {
                let mut usage = ItemUsage::default();
                // The pass over what follows is the question's pass.
                let count = CountPass::No;
                count_row(&mut usage, &fed.record, self.run, variant, 0, 0, count);
                usage
            })
            .collect();
        Ok(Prefix {
            ids: ids.to_vec(),
            pass,
            context,
            usage,
        })
    }

    fn pass(&mut self, pass: &Pass, context: &mut M::Context, rows: &PassRows) -> Result<FedPass> {
        let out = forward_hidden(self.model, pass, context, self.run.policy())?;
        Ok(FedPass {
            states: self.run.states(out.hidden),
            record: out.readings.read(pass)?,
            rows: rows.counted.clone(),
            targets: rows.targets.clone(),
        })
    }

    /// Reads the log-probabilities of a pass's targets, for each state of the run.
    pub(super) fn read(&self, fed: &FedPass) -> Result<Vec<Vec<f32>>> {
        let pass = &fed.record.pass;
        fed.states
            .iter()
            .map(|hidden| read::log_probabilities(self.model, hidden, pass, &fed.targets))
            .collect()
    }
}
