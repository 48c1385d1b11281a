//! Generation: one pass over the prompts, then one pass per new token.

use std::time::Duration;

use web_time::Instant;

use super::args::{GenerateArgs, PromptLogits};
use super::config::GenerationConfig;
use super::rows::GenerationOutput;
use super::sampling;
use super::sink::Flow;
use super::stepwise::Stepwise;
use crate::error::Result;
use crate::stack::CausalLm;

/// Continues prompts of any lengths, all in one batch.
///
/// Prompts are padded on the left. A padded row gives the same tokens and flags as the row alone, up to the rounding of
/// the device's matrix products (but see [`PromptPadding`](crate::released_code::PromptPadding)). Only the last position
/// goes through the head. Where a GPU chooses greedily and nothing changes the logits, the chosen ids are read and the
/// logits are not.
///
/// With [`Sampling::Random`](crate::generation::Sampling::Random), row `i` draws from a stream of its own, seeded with
/// `seed + i`, or as [`GenerateArgs::row_seeds`] says.
///
/// # Errors
/// - [`Error::EmptyPrompt`](crate::Error::EmptyPrompt), [`Error::TokenOutOfVocabulary`](crate::Error::TokenOutOfVocabulary)
///   and [`Error::ContextTooLong`](crate::Error::ContextTooLong) for prompts that the model cannot take;
/// - [`Error::InvalidConfig`](crate::Error::InvalidConfig) for impossible settings;
/// - [`Error::NonFiniteNorm`](crate::Error::NonFiniteNorm) and
///   [`Error::NonFiniteLogits`](crate::Error::NonFiniteLogits), with layer, row and position;
/// - [`Error::Policy`](crate::Error::Policy), [`Error::Observer`](crate::Error::Observer) and
///   [`Error::Sink`](crate::Error::Sink) with what these report;
/// - what [`run_layers`](crate::run_layers) reports, and [`Error::Device`](crate::Error::Device) if the device failed.
pub fn generate<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    args: GenerateArgs<'_>,
) -> Result<GenerationOutput> {
    let mut generation = Stepwise::with_streams(model, prompts, config, args.row_seeds)?;
    let mut output = GenerationOutput {
        rows: Vec::new(),
        prompt_logits: None,
        prefill_time: Duration::ZERO,
        decode_time: Duration::ZERO,
        n_decode_passes: 0,
    };
    let GenerateArgs {
        policy,
        observer,
        sink,
        prompt_logits,
        ..
    } = args;
    let (mut no_observer, mut no_sink) = ((), ());
    let observer = observer.unwrap_or(&mut no_observer);
    let sink = sink.unwrap_or(&mut no_sink);

    let start = Instant::now();
    let passed = generation.forward(model, policy, observer)?;
    if prompt_logits == PromptLogits::Return {
        output.prompt_logits = Some(sampling::read_rows(passed.logits.clone())?);
    }
    let mut flow = generation.accept(passed, sink)?;
    output.prefill_time = start.elapsed();
    while flow == Flow::Continue {
        output.n_decode_passes += 1;
        flow = generation.step(model, policy, observer, sink)?;
    }
    output.decode_time = start.elapsed() - output.prefill_time;
    output.rows = generation.into_generated();
    Ok(output)
}
