//! Runs the passes of a plan.

use burn::tensor::Tensor;
use lac_core::{CausalLm, Pass, PassRecord, Result, generation::forward_hidden};

use super::plan::{FeedPlan, PassRows, Target};
use super::read::{self, TokenScore};
use crate::item_usage::{BatchUsage, CountedRow, ItemUsage};
use crate::policy_run::PolicyRun;

/// The token that padding slots hold. No result depends on it.
const PAD: u32 = 0;

/// A prefix of all rows of a batch, fed once and kept for later batches that share it.
pub(crate) struct Prefix<C> {
    ids: Vec<u32>,
    pass: Pass,
    context: C,
    /// The usage that it adds to every question, per variant.
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
            return self.feed_options_apart(&plan.first, sources, second);
        }
        let rows = &plan.first;
        if !plan.prefix.is_empty() {
            let prefix = self.kept_prefix(plan.prefix, prefix)?;
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

    /// Feeds the contexts, padded on the left so that there is no gap before the options, and then the
    /// options.
    fn feed_options_apart(
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

    /// Returns a prefix, and feeds it first unless it is the one that was fed last.
    fn kept_prefix<'p>(
        &mut self,
        ids: &[u32],
        kept: &'p mut Option<Prefix<M::Context>>,
    ) -> Result<&'p Prefix<M::Context>> {
        let prefix = match kept.take().filter(|prefix| prefix.ids == ids) {
            Some(prefix) => prefix,
            None => self.feed_prefix(ids)?,
        };
        Ok(kept.insert(prefix))
    }

    fn feed_prefix(&mut self, ids: &[u32]) -> Result<Prefix<M::Context>> {
        let pass = Pass::prompt(&[ids], PAD)?;
        let mut context = self.model.new_context(1, ids.len());
        let fed = self.pass(&pass, &mut context, &PassRows::default())?;
        let row = CountedRow {
            question: 0,
            from: 0,
            // A question's pass is the one over the tokens after the prefix.
            counts_pass: false,
        };
        let mut usage = BatchUsage::new(1, self.run);
        usage.count(&fed.record, &[row], self.run);
        Ok(Prefix {
            ids: ids.to_vec(),
            pass,
            context,
            usage: usage.into_questions().remove(0),
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

    /// Reads the scores of a pass's targets, for each of its states.
    pub(super) fn read(&self, fed: &FedPass) -> Result<Vec<Vec<TokenScore>>> {
        let pass = &fed.record.pass;
        fed.states
            .iter()
            .map(|hidden| read::token_scores(self.model, hidden, pass, &fed.targets))
            .collect()
    }
}
