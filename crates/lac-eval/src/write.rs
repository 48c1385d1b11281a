//! Text from a model, and the answers in it.

use lac_core::{
    CausalLm, Generated, GenerationConfig, Hooks, PassRecord, Result, Sampling, SamplingConfig,
    SpeculationOutput, Speculator, generate, generate_speculative,
};

use crate::lane::Lane;
use crate::request::Request;
use crate::row_usage::{CountPass, Drafts, ItemUsage, Records, count_row};

/// One question's outcome.
pub(crate) struct Written {
    /// The new tokens, without the one that ended them.
    pub ids: Vec<u32>,
    /// What was seen of the layers, per variant.
    pub usage: Vec<ItemUsage>,
    /// What was drafted, where the lane speculates.
    pub drafts: Option<Drafts>,
}

/// Continues the prompts of a batch. Random draws depend on the question and the seed alone, not
/// on the question's neighbours.
pub(crate) fn write_batch<M: CausalLm + ?Sized>(
    model: &M,
    requests: &[(&Request, &[u32])],
    config: &GenerationConfig,
    lane: &mut Lane,
) -> Result<Vec<Written>> {
    let stop_tokens = &config.stop_tokens[..];
    if let Some(speculator) = lane.speculator() {
        let outcomes = requests
            .iter()
            .map(|(request, prompt)| speculate(model, request, prompt, config, speculator))
            .collect::<Result<Vec<_>>>()?;
        let outcomes = outcomes.into_iter();
        return Ok(outcomes
            .map(|outcome| outcome.written(model.n_layers(), stop_tokens, lane))
            .collect());
    }
    let prompts: Vec<Vec<u32>> = requests.iter().map(|(_, prompt)| prompt.to_vec()).collect();
    let streams: Vec<u64> = requests
        .iter()
        .map(|(request, _)| request.id.number())
        .collect();
    let mut records = Records::default();
    let hooks = Hooks::new(lane.policy())
        .observer(&mut records)
        .streams(&streams);
    let output = generate(model, &prompts, config, hooks)?;
    let rows = output.rows.into_iter().enumerate();
    Ok(rows
        .map(|(row, generated)| Written {
            ids: without_stop(generated, stop_tokens),
            usage: usage(&records.0, lane, row),
            drafts: None,
        })
        .collect())
}

/// What came of one question by speculation.
struct Speculated {
    output: SpeculationOutput,
    records: Records,
}

/// Continues one prompt by speculation.
fn speculate<M: CausalLm + ?Sized>(
    model: &M,
    request: &Request,
    prompt: &[u32],
    config: &GenerationConfig,
    speculator: &mut Speculator,
) -> Result<Speculated> {
    let mut config = config.clone();
    // Greedy text does not depend on what drafts, so that what is learned may help the next question. What is
    // drawn does, and must not depend on the questions before.
    let mut as_given;
    if let Sampling::Random(SamplingConfig { seed, .. }) = &mut config.sampling {
        *seed = seed.wrapping_add(request.id.number());
    }
    let speculator = match &config.sampling {
        Sampling::Greedy => speculator,
        _ => {
            as_given = speculator.clone();
            &mut as_given
        }
    };
    let mut records = Records::default();
    let output = generate_speculative(
        model,
        &[prompt.to_vec()],
        &config,
        speculator,
        &mut records,
        &mut (),
    )?;
    Ok(Speculated { output, records })
}

impl Speculated {
    fn written(self, n_layers: usize, stop_tokens: &[u32], lane: &Lane) -> Written {
        let SpeculationOutput {
            generation, stats, ..
        } = self.output;
        let mut usage = usage(&self.records.0, lane, 0);
        for usage in &mut usage {
            // A pass of the full model decides several tokens here, and the drafts' layers were run as well. So
            // layers are counted per token: plain generation has a pass for each but the first.
            usage.response.passes = stats.n_tokens.saturating_sub(1) as u64;
            usage.response.executed = stats.executed_layers(n_layers);
        }
        let generated = generation.rows.into_iter().next();
        Written {
            ids: generated.map_or(Vec::new(), |row| without_stop(row, stop_tokens)),
            usage,
            drafts: Some(Drafts::of(&stats)),
        }
    }
}

fn without_stop(generated: Generated, stop_tokens: &[u32]) -> Vec<u32> {
    let mut ids = generated.ids;
    if ids.last().is_some_and(|id| stop_tokens.contains(id)) {
        ids.pop();
    }
    ids
}

/// What a row's passes showed, per variant.
fn usage(records: &[PassRecord], lane: &Lane, row: usize) -> Vec<ItemUsage> {
    let variants = 0..lane.variants().len();
    variants
        .map(|variant| {
            let mut usage = ItemUsage::default();
            for record in records
                .iter()
                .filter(|record| !record.pass.is_finished(row))
            {
                count_row(&mut usage, record, lane, variant, row, 0, CountPass::Yes);
            }
            usage
        })
        .collect()
}
