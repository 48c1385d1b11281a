//! Generates answers.

use lac_core::{
    CausalLm, GenerateArgs, GenerationConfig, PassRecord, Result, generate,
    generation::{Generated, Sampling, SamplingConfig},
    speculation::{SpeculateArgs, SpeculationOutput, Speculator, generate_speculative},
};

use crate::item_usage::{BatchUsage, CountedRow, Drafts, ItemUsage, Records};
use crate::policy_run::PolicyRun;
use crate::request::Request;

/// The answer to one question.
pub(crate) struct GeneratedAnswer {
    /// The new tokens, without the one that ended them.
    pub ids: Vec<u32>,
    /// The usage of the layers, for each variant.
    pub usage: Vec<ItemUsage>,
    /// The drafts, if the run speculates.
    pub drafts: Option<Drafts>,
}

/// Continues the prompts of a batch. Random draws depend on the question and the seed alone, not on
/// the other questions of the batch.
pub(crate) fn generate_batch<M: CausalLm + ?Sized>(
    model: &M,
    requests: &[(&Request, &[u32])],
    config: &GenerationConfig,
    run: &mut PolicyRun,
) -> Result<Vec<GeneratedAnswer>> {
    let stop_tokens = &config.stop_tokens[..];
    if let Some(speculator) = run.speculator() {
        let outcomes = requests
            .iter()
            .map(|(request, prompt)| speculate(model, request, prompt, config, speculator))
            .collect::<Result<Vec<_>>>()?;
        let outcomes = outcomes.into_iter();
        return Ok(outcomes
            .map(|outcome| outcome.answer(model.n_layers(), stop_tokens, run))
            .collect());
    }
    let prompts: Vec<Vec<u32>> = requests.iter().map(|(_, prompt)| prompt.to_vec()).collect();
    let row_seeds: Vec<u64> = requests
        .iter()
        .map(|(request, _)| request.id.number())
        .collect();
    let mut records = Records::default();
    let args = GenerateArgs::new(run.policy())
        .observer(&mut records)
        .row_seeds(&row_seeds);
    let output = generate(model, &prompts, config, args)?;
    let usage = usage(&records.0, run, prompts.len());
    Ok(output
        .rows
        .into_iter()
        .zip(usage)
        .map(|(generated, usage)| GeneratedAnswer {
            ids: without_stop(generated, stop_tokens),
            usage,
            drafts: None,
        })
        .collect())
}

/// The answer to one question by speculation, with the passes that are yet to be counted.
struct SpeculatedAnswer {
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
) -> Result<SpeculatedAnswer> {
    let mut config = config.clone();
    // Greedy text does not depend on the drafts, so the speculator may learn from one question for the next. Drawn
    // text depends on them, and must not depend on earlier questions.
    if let Sampling::Random(SamplingConfig { seed, .. }) = &mut config.sampling {
        *seed = seed.wrapping_add(request.id.number());
        speculator.forget();
    }
    let mut records = Records::default();
    let output = generate_speculative(
        model,
        &[prompt.to_vec()],
        &config,
        SpeculateArgs::new(speculator).observer(&mut records),
    )?;
    Ok(SpeculatedAnswer { output, records })
}

impl SpeculatedAnswer {
    fn answer(self, n_layers: usize, stop_tokens: &[u32], run: &PolicyRun) -> GeneratedAnswer {
        let SpeculationOutput {
            generation, stats, ..
        } = self.output;
        let mut usage = usage(&self.records.0, run, 1).remove(0);
        for usage in &mut usage {
            // A verifying pass decides several tokens, and drafting passes run layers too. So layers are counted per
            // token: plain generation makes one pass for each token but the first.
            usage.response.passes = stats.n_tokens.saturating_sub(1) as u64;
            usage.response.executed = stats.executed_layers(n_layers);
        }
        let generated = generation.rows.into_iter().next();
        GeneratedAnswer {
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

/// Counts the passes of a generation whose rows are questions. Returns the usage per question and
/// variant.
fn usage(records: &[PassRecord], run: &PolicyRun, n_rows: usize) -> Vec<Vec<ItemUsage>> {
    let rows: Vec<CountedRow> = (0..n_rows)
        .map(|question| CountedRow {
            question,
            from: 0,
            counts_pass: true,
        })
        .collect();
    let mut usage = BatchUsage::new(n_rows, run);
    for record in records {
        usage.count(record, &rows, run);
    }
    usage.into_questions()
}
