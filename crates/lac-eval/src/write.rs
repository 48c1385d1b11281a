//! Text from a model, and the answers in it.

use lac_core::{CausalLm, GenerationConfig, Hooks, Result, Sampling, generate};

use crate::lane::Lane;
use crate::request::Request;
use crate::row_usage::{CountPass, ItemUsage, Records, count_row};

/// One question's outcome.
pub(crate) struct Written {
    /// The new tokens, without the one that ended them.
    pub ids: Vec<u32>,
    /// What was seen of the layers, per variant.
    pub usage: Vec<ItemUsage>,
}

/// Continues the prompts of a batch. Random draws depend on the question and the seed alone, not
/// on the question's neighbours.
pub(crate) fn write_batch<M: CausalLm + ?Sized>(
    model: &M,
    requests: &[(&Request, &[u32])],
    max_new_tokens: usize,
    sampling: &Sampling,
    stop_tokens: &[u32],
    lane: &mut Lane,
) -> Result<Vec<Written>> {
    let prompts: Vec<Vec<u32>> = requests.iter().map(|(_, prompt)| prompt.to_vec()).collect();
    let streams: Vec<u64> = requests
        .iter()
        .map(|(request, _)| request.id.number())
        .collect();
    let config = GenerationConfig::greedy(max_new_tokens)
        .with_sampling(sampling.clone())
        .with_stop_tokens(stop_tokens);
    let mut records = Records::default();
    let hooks = Hooks::new(lane.policy())
        .observer(&mut records)
        .streams(&streams);
    let output = generate(model, &prompts, &config, hooks)?;
    let n_variants = lane.variants().len();
    Ok(output
        .rows
        .into_iter()
        .enumerate()
        .map(|(row, generated)| {
            let mut ids = generated.ids;
            if ids.last().is_some_and(|id| stop_tokens.contains(id)) {
                ids.pop();
            }
            let usage = (0..n_variants)
                .map(|variant| {
                    let mut usage = ItemUsage::default();
                    for record in records
                        .0
                        .iter()
                        .filter(|record| !record.pass.is_finished(row))
                    {
                        count_row(&mut usage, record, lane, variant, row, 0, CountPass::Yes);
                    }
                    usage
                })
                .collect();
            Written { ids, usage }
        })
        .collect())
}
