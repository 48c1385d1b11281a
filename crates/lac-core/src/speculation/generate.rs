//! Continues a prompt by speculation.

use super::decode_loop::{self, SpeculationOutput};
use super::speculator::Speculator;
use crate::error::{Error, Result};
use crate::generation::{GenerationConfig, TokenSink};
use crate::observer::Observer;
use crate::stack::CausalLm;

/// Continues a prompt as [`generate`](crate::generate) does with the full model, in less time if the drafts are good.
///
/// Greedy text is the full model's, token for token. Where the noise between a verifying pass and passes of one token
/// could decide, [`Ties`](crate::speculation::Ties) says what is done. Sampled tokens have the full model's distribution,
/// by rejection (Leviathan et al. 2023, appendix A.1); temperature, top-k and top-p apply to draft and model alike.
///
/// Drafts and verification share one cache: a verifying pass overwrites what the drafts have written, and rejected slots
/// are forgotten. The observer receives the prompt's pass and the verifying passes, cut to the tokens that were accepted.
///
/// # Errors
/// [`Error::SpeculationBatch`] unless there is exactly one prompt; [`Error::Plan`] for a plan with another number of
/// layers than the model; otherwise as [`generate`](crate::generate).
pub fn generate_speculative<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    args: SpeculateArgs<'_>,
) -> Result<SpeculationOutput> {
    let (mut no_observer, mut no_sink) = ((), ());
    let listeners = decode_loop::Listeners {
        observer: args.observer.unwrap_or(&mut no_observer),
        sink: args.sink.unwrap_or(&mut no_sink),
        watcher: &mut (),
    };
    decode_loop::speculate(
        model,
        one_prompt(prompts)?,
        config,
        args.speculator,
        listeners,
    )
}

/// The arguments of [`generate_speculative`] besides model, prompts and settings: the speculator, and optionally an
/// observer of the passes and a receiver of the tokens. The counterpart of [`GenerateArgs`](crate::GenerateArgs).
pub struct SpeculateArgs<'a> {
    speculator: &'a mut Speculator,
    observer: Option<&'a mut dyn Observer>,
    sink: Option<&'a mut dyn TokenSink>,
}

impl std::fmt::Debug for SpeculateArgs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpeculateArgs")
            .field("speculator", &self.speculator)
            .finish_non_exhaustive()
    }
}

impl<'a> SpeculateArgs<'a> {
    /// Speculates by this speculator, without an observer or a receiver.
    pub fn new(speculator: &'a mut Speculator) -> Self {
        Self {
            speculator,
            observer: None,
            sink: None,
        }
    }

    /// Sets the observer of the passes over accepted tokens.
    pub fn observer(mut self, observer: &'a mut dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Sets the receiver of every accepted token.
    pub fn sink(mut self, sink: &'a mut dyn TokenSink) -> Self {
        self.sink = Some(sink);
        self
    }
}

pub(super) fn one_prompt(prompts: &[Vec<u32>]) -> Result<&Vec<u32>> {
    match prompts {
        [prompt] => Ok(prompt),
        _ => Err(Error::SpeculationBatch {
            n_prompts: prompts.len(),
        }),
    }
}
