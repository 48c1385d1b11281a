//! Prompts continued by speculation.

use super::drafting::{self, SpeculationOutput};
use super::speculator::Speculator;
use crate::error::{Error, Result};
use crate::generation::{GenerationConfig, TokenSink};
use crate::observer::Observer;
use crate::stack::CausalLm;

/// Continues a prompt as [`generate`](crate::generate) does with the full model, faster where
/// the drafts are good.
///
/// Greedy text is the full model's, token for token: where noise between a verifying pass and
/// passes of one token could have decided, [`Ties`] says what is done. Sampled tokens have the
/// full model's distribution, by rejection (Leviathan et al. 2023, appendix A.1); temperature,
/// top-k and top-p apply to draft and model alike.
///
/// Drafts and verification share one cache: a verifying pass overwrites what the drafts wrote,
/// and rejected slots are forgotten. `observer` receives the prompt's pass and the verifying
/// passes, cut to the tokens that were accepted.
///
/// # Errors
/// [`Error::SpeculationBatch`] unless there is exactly one prompt; a plan for another number of
/// layers; otherwise as [`generate`](crate::generate).
pub fn generate_speculative<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    speculator: &mut Speculator,
    observer: &mut dyn Observer,
    sink: &mut dyn TokenSink,
) -> Result<SpeculationOutput> {
    drafting::speculate(
        model,
        one_prompt(prompts)?,
        config,
        speculator,
        drafting::GenerateArgs {
            observer,
            sink,
            watcher: &mut (),
        },
    )
}

pub(super) fn one_prompt(prompts: &[Vec<u32>]) -> Result<&Vec<u32>> {
    match prompts {
        [prompt] => Ok(prompt),
        _ => Err(Error::SpeculationBatch {
            n_prompts: prompts.len(),
        }),
    }
}
