//! Compares plain and speculative generation on given prompts, token by token.

use super::decode_loop::{self, Decided, Watcher};
use super::generate::one_prompt;
use super::near_ties::{Ties, Top, noise};
use super::speculator::Speculator;
use super::stats::SpeculationStats;
use crate::error::{Error, Result};
use crate::generation::{
    Flow, GenerateArgs, Generated, GenerationConfig, Sampling, generate, last_logits,
};
use crate::pass::Pass;
use crate::policy::Off;
use crate::stack::CausalLm;

/// The result of comparing plain and speculative generation.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Verification {
    /// What the full model generates alone.
    pub plain: Generated,
    /// Number of equal tokens, from the first on.
    pub n_equal: usize,
    /// The first difference; `None` if the two are equal to the end.
    pub divergence: Option<Divergence>,
    /// The largest difference between the logits of a verifying pass and those of plain passes, over all tokens of the
    /// text, in units of the factor of [`Ties::Replay`](super::Ties::Replay).
    pub largest_noise: f32,
    /// The smallest margin between the two most probable tokens, in the same unit.
    pub smallest_margin: f32,
    /// Counts of the speculation. Its times mean nothing, since both ran side by side.
    pub stats: SpeculationStats,
}

/// The first token in which plain and speculative generation differ.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Divergence {
    /// Its index in the response.
    pub index: usize,
    /// The token of plain generation; `None` if its text has ended before.
    pub plain_id: Option<u32>,
    /// The token of speculation; `None` if its text has ended before.
    pub speculative_id: Option<u32>,
    /// The plain pass's logits of these two tokens, if there are two.
    pub plain_logits: Option<[f32; 2]>,
    /// The logits of the two tokens by which speculation chose.
    pub speculative_logits: Option<[f32; 2]>,
    /// The margin between the plain pass's two most probable tokens.
    pub margin: f32,
    /// The margin up to which plain passes would have decided.
    pub bound: Option<f32>,
}

/// Generates greedily with and without speculation and compares every token.
///
/// The plain text is that of [`generate`](crate::generate) with the full model. Its passes run once more beside the
/// speculation, in a cache of their own, for the logits.
///
/// # Errors
/// As [`generate_speculative`](super::generate_speculative); [`Error::InvalidConfig`] for random sampling.
pub fn verify_speculation<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    speculator: &mut Speculator,
) -> Result<Verification> {
    let prompt = one_prompt(prompts)?;
    if config.sampling != Sampling::Greedy {
        return Err(Error::InvalidConfig {
            field: "sampling",
            value: "random".to_owned(),
            expected: "greedy: tokens that are drawn differ from run to run of either kind",
        });
    }
    let mut policy = Off;
    let output = generate(model, prompts, config, GenerateArgs::new(&mut policy))?;
    let plain = output
        .rows
        .into_iter()
        .next()
        .ok_or(Error::SpeculationBatch { n_prompts: 0 })?;

    let mut side_by_side = SideBySide {
        model,
        context: model.new_context(1, prompt.len() + plain.ids.len()),
        plain: &plain.ids,
        n_prompt: prompt.len(),
        config,
        ties: speculator.config.ties,
        n_equal: 0,
        divergence: None,
        largest_noise: 0.0,
        smallest_margin: f32::INFINITY,
    };
    let listeners = decode_loop::Listeners {
        observer: &mut (),
        sink: &mut (),
        watcher: &mut side_by_side,
    };
    let output = decode_loop::speculate(model, prompt, config, speculator, listeners)?;
    let speculative = &output.generation.rows[0];
    let SideBySide {
        n_equal,
        mut divergence,
        largest_noise,
        smallest_margin,
        ..
    } = side_by_side;
    if divergence.is_none() && speculative.ids != plain.ids {
        // Equal as far as both go: the plain text is longer.
        divergence = Some(Divergence {
            index: n_equal,
            plain_id: plain.ids.get(n_equal).copied(),
            speculative_id: None,
            plain_logits: None,
            speculative_logits: None,
            margin: f32::INFINITY,
            bound: None,
        });
    }
    Ok(Verification {
        plain,
        n_equal,
        divergence,
        largest_noise,
        smallest_margin,
        stats: output.stats,
    })
}

/// Makes the plain passes beside a speculation.
struct SideBySide<'a, M: CausalLm + ?Sized> {
    model: &'a M,
    context: M::Context,
    plain: &'a [u32],
    n_prompt: usize,
    config: &'a GenerationConfig,
    ties: Ties,
    n_equal: usize,
    divergence: Option<Divergence>,
    largest_noise: f32,
    smallest_margin: f32,
}

impl<M: CausalLm + ?Sized> SideBySide<'_, M> {
    /// The full model's logits of what follows the given tokens, as plain generation has them.
    fn plain_logits(&mut self, before: &[u32]) -> Result<Vec<f32>> {
        let pass = if before.len() == self.n_prompt {
            Pass::prompt(&[before], self.config.pad_token)?
        } else {
            Pass::response(before.len() - 1, vec![before[before.len() - 1]])
        };
        last_logits(self.model, &pass, &mut self.context, &mut Off)
    }
}

impl<M: CausalLm + ?Sized> Watcher for SideBySide<'_, M> {
    fn decided(&mut self, decided: &Decided<'_>) -> Result<Flow> {
        let index = decided.before.len() - self.n_prompt;
        let mut plain_logits = self.plain_logits(decided.before)?;
        let noise = noise(decided.verifying_logits, &plain_logits);
        self.largest_noise = self.largest_noise.max(noise);
        self.config.processors.apply(
            &mut plain_logits,
            decided.before,
            self.n_prompt,
            &self.config.stop_tokens,
        );
        let top = Top::of(&plain_logits).ok_or(Error::NonFiniteLogits {
            row: 0,
            position: decided.before.len() - 1,
        })?;
        let margin_in_steps = top.margin / (f32::EPSILON * top.scale);
        self.smallest_margin = self.smallest_margin.min(margin_in_steps);

        let plain_id = self.plain.get(index).copied();
        if plain_id == Some(decided.id) {
            self.n_equal += 1;
            return Ok(Flow::Continue);
        }
        let of_both = |logits: &[f32]| {
            plain_id.map(|plain_id| [logits[plain_id as usize], logits[decided.id as usize]])
        };
        self.divergence = Some(Divergence {
            index,
            plain_id,
            speculative_id: Some(decided.id),
            plain_logits: of_both(&plain_logits),
            speculative_logits: of_both(decided.logits),
            margin: top.margin,
            bound: self.ties.bound(&top),
        });
        Ok(Flow::Stop)
    }
}
