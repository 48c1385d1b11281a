//! Generation: one pass over the prompts, then one pass per new token.

use std::time::Duration;

use web_time::Instant;

use burn::tensor::Tensor;

use super::args::{GenerateArgs, PromptLogits};
use super::config::GenerationConfig;
use super::forward::{Passed, check_prompts, forward_pass};
use super::rows::{GenerationOutput, Rows, StopReason};
use super::sampling::{self, Sampler, Sampling};
use crate::error::Result;
use crate::kernel::argmax;
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
    check_prompts(model, prompts)?;
    config.processors.validate()?;
    let mut samplers = (0..prompts.len())
        .map(|row| {
            let stream = args.row_seeds.and_then(|row_seeds| row_seeds.get(row));
            Sampler::new(&config.sampling, stream.copied().unwrap_or(row as u64))
        })
        .collect::<Result<Vec<_>>>()?;

    let mut pass = config.padding.pass(prompts, config.pad_token)?;
    let room = model.max_context().unwrap_or(usize::MAX) - pass.seq();
    let n_slots = pass.seq() + config.max_new_tokens.min(room);
    let mut context = model.new_context(pass.batch(), n_slots);
    let mut rows = Rows::new(prompts.len());
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

    let is_argmax = config.sampling == Sampling::Greedy
        && config.processors.is_neutral()
        && config.max_new_tokens > 0;
    let choose = |logits: &Tensor<2>| is_argmax.then(|| argmax(logits)).flatten();
    let start = Instant::now();
    let passed = forward_pass(model, &pass, &mut context, policy, observer, choose)?;
    if prompt_logits == PromptLogits::Return {
        output.prompt_logits = Some(sampling::read_rows(passed.logits.clone())?);
    }
    let mut passed = Some(passed);
    while let Some(Passed { logits, ids }) = passed.take() {
        if config.max_new_tokens > 0 {
            let process = |row: usize, logits: &mut Vec<f32>| {
                if !config.processors.is_neutral() {
                    let text = [&prompts[row][..], rows.ids(row)].concat();
                    config
                        .processors
                        .apply(logits, &text, prompts[row].len(), &config.stop_tokens);
                }
            };
            let ids = match ids {
                Some(ids) => sampling::chosen(&ids, &pass)?,
                None => sampling::choose(logits, &mut samplers, &pass, process)?,
            };
            rows.accept(&ids, config, sink)?;
        } else {
            rows.stop_all(StopReason::MaxNewTokens, sink)?;
        }
        if output.prefill_time.is_zero() {
            output.prefill_time = start.elapsed();
        }
        if rows.all_finished() {
            break;
        }
        if pass.past() + pass.seq() >= n_slots {
            rows.stop_all(StopReason::ContextFull, sink)?;
            break;
        }
        pass = pass.next(rows.last_ids(config.pad_token), rows.finished());
        output.n_decode_passes += 1;
        passed = Some(forward_pass(
            model,
            &pass,
            &mut context,
            policy,
            observer,
            choose,
        )?);
    }
    output.decode_time = start.elapsed() - output.prefill_time;
    output.rows = rows.into_generated();
    Ok(output)
}
