//! The loop of speculation: draft, verify, keep what is accepted.

use std::borrow::Cow;

use web_time::Instant;

use super::acceptance::{self, Draft};
use super::draft_round::RoundSetting;
use super::near_ties::{Top, noise};
use super::own_passes::RoundPasses;
use super::proposals::{self, Proposals};
use super::speculator::Speculator;
use super::stats::{DrafterStats, SpeculationStats};
use crate::error::{Error, Result};
use crate::generation::sampling::{Sampler, read_rows};
use crate::generation::{
    Flow, GenerationConfig, GenerationOutput, Rows, StopReason, TokenSink, check_prompts,
    forward_hidden, last_logits,
};
use crate::observer::Observer;
use crate::pass::Pass;
use crate::phase::Phase;
use crate::policy::{LayerPolicy, Off, Trace};
use crate::record::PassRecord;
use crate::stack::CausalLm;

/// The receivers of a speculation's passes, tokens and decisions.
pub(super) struct Listeners<'a> {
    pub observer: &'a mut dyn Observer,
    pub sink: &'a mut dyn TokenSink,
    pub watcher: &'a mut dyn Watcher,
}

/// Receives every decision of a speculation.
pub(super) trait Watcher {
    /// Called once for each token of the text, once it is decided. [`Flow::Stop`] ends the text.
    fn decided(&mut self, decided: &Decided<'_>) -> Result<Flow> {
        let _ = decided;
        Ok(Flow::Continue)
    }
}

impl Watcher for () {}

/// A token that was decided.
pub(super) struct Decided<'a> {
    /// The tokens before it, the prompt's included.
    pub before: &'a [u32],
    pub id: u32,
    /// The logits that decided.
    pub logits: &'a [f32],
    /// The full model's logits as the pass that verified it had them, before any logits processor.
    pub verifying_logits: &'a [f32],
}

struct Drafting<'a, 'h, M: CausalLm + ?Sized> {
    model: &'a M,
    context: M::Context,
    config: &'a GenerationConfig,
    listeners: Listeners<'h>,
    sampler: Sampler,
    full: Box<dyn LayerPolicy>,
    rows: Rows,
    /// The text so far; the last token has not been fed.
    ids: Vec<u32>,
    n_prompt: usize,
    /// Slots of the cache.
    n_slots: usize,
    /// Leading slots whose keys and values are those of plain generation, to the bit.
    n_exact: usize,
    stats: SpeculationStats,
}

/// Returned by [`generate_speculative`](super::generate_speculative).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpeculationOutput {
    /// The text, as [`generate`](crate::generate) returns it. Its decode passes are those of the full model.
    pub generation: GenerationOutput,
    /// What the speculation took.
    pub stats: SpeculationStats,
}

pub(super) fn speculate<M: CausalLm + ?Sized>(
    model: &M,
    prompt: &[u32],
    config: &GenerationConfig,
    speculator: &mut Speculator,
    listeners: Listeners<'_>,
) -> Result<SpeculationOutput> {
    check_prompts(model, &[prompt.to_vec()])?;
    config.processors.validate()?;
    for plan in speculator
        .drafters
        .iter()
        .filter_map(|drafter| drafter.plan())
    {
        plan.check_depth(Phase::Response, model.n_layers())
            .map_err(Error::Plan)?;
    }
    let pass = Pass::prompt(&[prompt], config.pad_token)?;
    let room = model.max_context().unwrap_or(usize::MAX) - pass.seq();
    let n_slots = pass.seq() + config.max_new_tokens.min(room);
    let full: Box<dyn LayerPolicy> = match speculator.config.gate {
        Some(gate) => Box::new(Trace::new(gate)),
        None => Box::new(Off),
    };
    for drafter in &mut speculator.drafters {
        drafter
            .begin(prompt, n_slots)
            .map_err(|error| proposals::failed(drafter.as_ref(), error))?;
    }
    let mut drafting = Drafting {
        context: model.new_context(1, n_slots),
        model,
        config,
        listeners,
        sampler: Sampler::new(&config.sampling, 0)?,
        full,
        rows: Rows::new(1),
        ids: prompt.to_vec(),
        n_prompt: prompt.len(),
        n_slots,
        n_exact: if model.computes_tokens_alone() {
            usize::MAX
        } else {
            prompt.len()
        },
        stats: SpeculationStats {
            drafters: speculator
                .drafters
                .iter()
                .map(|drafter| DrafterStats {
                    name: drafter.name().to_owned(),
                    ..DrafterStats::default()
                })
                .collect(),
            ..SpeculationStats::default()
        },
    };

    let start = Instant::now();
    drafting.prompt(&pass, speculator)?;
    let prefill_time = start.elapsed();
    while !drafting.rows.all_finished() {
        drafting.round(speculator)?;
    }
    let stats = drafting.stats;
    Ok(SpeculationOutput {
        generation: GenerationOutput {
            rows: drafting.rows.into_generated(),
            prompt_logits: None,
            prefill_time,
            decode_time: start.elapsed() - prefill_time,
            n_decode_passes: stats.n_full_passes(),
        },
        stats,
    })
}

impl<M: CausalLm + ?Sized> Drafting<'_, '_, M> {
    /// Makes the pass over the prompt and chooses the first token.
    fn prompt(&mut self, pass: &Pass, speculator: &mut Speculator) -> Result<()> {
        let out = forward_hidden(self.model, pass, &mut self.context, self.full.as_mut())?;
        let last = out.hidden.narrow(1, pass.seq() - 1, 1);
        let logits = read_rows(self.model.logits(last).squeeze_dim::<2>(1))?;
        let record = out.readings.read(pass)?;
        self.report(record, speculator)?;
        if self.config.max_new_tokens == 0 {
            return self
                .rows
                .stop_all(StopReason::MaxNewTokens, self.listeners.sink);
        }
        let logits = &logits[0];
        let deciding = self.processed(logits);
        let id = self.sampler.choose(&deciding);
        let id = id.ok_or_else(|| self.not_finite(pass.seq() - 1))?;
        self.emit(id, &deciding, logits)?;
        Ok(())
    }

    /// Drafts, verifies, and keeps what is accepted.
    fn round(&mut self, speculator: &mut Speculator) -> Result<()> {
        let start = Instant::now();
        let past = self.ids.len() - 1;
        let Proposals { drafts, paid } = self.draft(speculator)?;
        let mut token_ids = vec![self.ids[past]];
        token_ids.extend(drafts.iter().map(|draft| draft.id));

        let verify_start = Instant::now();
        let pass = Pass::response(past, token_ids);
        let out = forward_hidden(self.model, &pass, &mut self.context, self.full.as_mut())?;
        let logits = read_rows(self.model.logits(out.hidden).squeeze_dim::<2>(0))?;
        let is_read = self.listeners.observer.wants_records() || out.readings.is_gated();
        let record = if is_read {
            Some(out.readings.read(&pass)?)
        } else {
            None
        };
        let verify_time = verify_start.elapsed();
        speculator.control.verified(pass.seq(), verify_time);
        if drafts.is_empty() {
            self.stats.n_plain_passes += 1;
            self.stats.plain_time += verify_time;
            // A pass of one token on exact slots is what plain generation does.
            self.n_exact += usize::from(self.n_exact == past);
        } else {
            self.stats.n_verify_passes += 1;
            self.stats.verify_time += verify_time;
        }

        let n_before = self.ids.len();
        self.decide(&drafts, &logits, speculator)?;
        let n_tokens = self.ids.len() - n_before;
        speculator
            .control
            .round(&drafts, n_tokens, paid, start.elapsed());
        if let Some(record) = record {
            self.report(record.first_slots(n_tokens), speculator)?;
        }
        Ok(())
    }

    /// Drafts as many tokens as pay.
    fn draft(&mut self, speculator: &mut Speculator) -> Result<Proposals> {
        let past = self.ids.len() - 1;
        let n_generated = self.ids.len() - self.n_prompt;
        // Tokens beyond the end of the text or of the context would be thrown away.
        let at_most = speculator
            .config
            .draft_length
            .at_most()
            .min(self.n_slots - past - 1)
            .min(self.config.max_new_tokens - n_generated - 1);
        let mut passes = RoundPasses {
            model: self.model,
            context: &mut self.context,
            n_fed: past,
            n_passes: 0,
            n_layers: 0.0,
        };
        let setting = RoundSetting {
            text: &mut self.ids,
            n_prompt: self.n_prompt,
            vocab_size: self.model.vocab_size(),
            sampler: &mut self.sampler,
            config: self.config,
            passes: &mut passes,
        };
        let proposals = proposals::propose(speculator, setting, at_most, &mut self.stats)?;
        self.stats.n_draft_passes += passes.n_passes;
        self.stats.draft_layers += passes.n_layers;
        Ok(proposals)
    }

    /// Judges the drafts in turn and emits the accepted ones, then the full model's own token.
    fn decide(
        &mut self,
        drafts: &[Draft],
        logits: &[Vec<f32>],
        speculator: &mut Speculator,
    ) -> Result<()> {
        let past = self.ids.len() - 1;
        // For each drafter, how many of its tokens were judged and accepted.
        let mut judged = vec![(0, 0); speculator.drafters.len()];
        for (idx, row) in logits.iter().enumerate() {
            let slot = past + idx;
            let draft = drafts.get(idx);
            let mut deciding = self.processed(row);
            let replayed = self.replay_if_near(slot, row, &deciding, speculator)?;
            if let Some(replayed) = &replayed {
                deciding = self.processed(replayed);
            }
            let (id, is_accepted) = match draft {
                Some(draft) => {
                    let judgement = acceptance::judge(&mut self.sampler, draft, &deciding);
                    let judgement = judgement.ok_or_else(|| self.not_finite(slot))?;
                    speculator.control.judged(draft, judgement.is_accepted);
                    self.count(draft, judgement.is_accepted);
                    let (n_judged, n_accepted) = &mut judged[draft.drafter];
                    *n_judged += 1;
                    *n_accepted += usize::from(judgement.is_accepted);
                    (judgement.id, judgement.is_accepted)
                }
                None => {
                    let id = self.sampler.choose(&deciding);
                    (id.ok_or_else(|| self.not_finite(slot))?, false)
                }
            };
            let flow = self.emit(id, &deciding, row)?;
            // A repetition began passes before the later slots, whose keys and values are forgotten with that.
            if flow == Flow::Stop || !is_accepted || replayed.is_some() {
                break;
            }
        }
        for (drafter, (n_judged, n_accepted)) in speculator.drafters.iter_mut().zip(judged) {
            if n_judged > 0 {
                drafter.judged(n_judged, n_accepted);
            }
        }
        Ok(())
    }

    /// Returns logits as the logits processors change them after the text.
    fn processed<'l>(&self, logits: &'l [f32]) -> Cow<'l, [f32]> {
        let config = self.config;
        config
            .processors
            .processed(logits, &self.ids, self.n_prompt, &config.stop_tokens)
    }

    /// Counts a judged draft.
    fn count(&mut self, draft: &Draft, is_accepted: bool) {
        let of_drafter = &mut self.stats.drafters[draft.drafter];
        if is_accepted {
            self.stats.n_accepted += 1;
            of_drafter.n_accepted += 1;
        } else {
            self.stats.n_rejections += 1;
            of_drafter.n_rejections += 1;
        }
    }

    /// If a greedy choice is too close for a verifying pass to make, repeats the passes since the last exact slot one
    /// token at a time, and returns the logits of the last one: those of plain generation.
    fn replay_if_near(
        &mut self,
        slot: usize,
        logits: &[f32],
        processed: &[f32],
        speculator: &mut Speculator,
    ) -> Result<Option<Vec<f32>>> {
        if !matches!(self.sampler, Sampler::Greedy) || slot < self.n_exact {
            return Ok(None);
        }
        let unprocessed = Top::of(logits).ok_or_else(|| self.not_finite(slot))?;
        let top = Top::of(processed).ok_or_else(|| self.not_finite(slot))?;
        let noise_factor = self.config.processors.noise_factor();
        match speculator.ties.bound(&unprocessed) {
            Some(bound) if top.margin <= bound * noise_factor => {}
            _ => return Ok(None),
        }
        self.stats.n_near_ties += 1;
        let mut exact = Vec::new();
        for slot in self.n_exact..=slot {
            let start = Instant::now();
            let pass = Pass::response(slot, vec![self.ids[slot]]);
            exact = self.logits_of(&pass, &mut Off)?;
            self.stats.replay_time += start.elapsed();
            self.stats.n_replay_passes += 1;
        }
        self.n_exact = slot + 1;
        let noise = noise(logits, &exact);
        speculator.ties.found(noise);
        self.stats.largest_noise = self.stats.largest_noise.max(noise);
        Ok(Some(exact))
    }

    /// Returns the logits of a pass over one token.
    fn logits_of(&mut self, pass: &Pass, policy: &mut dyn LayerPolicy) -> Result<Vec<f32>> {
        last_logits(self.model, pass, &mut self.context, policy)
    }

    /// Appends a token to the text and returns whether the text goes on.
    fn emit(&mut self, id: u32, logits: &[f32], verifying_logits: &[f32]) -> Result<Flow> {
        let flow = self.listeners.watcher.decided(&Decided {
            before: &self.ids,
            id,
            logits,
            verifying_logits,
        })?;
        self.ids.push(id);
        self.stats.n_tokens += 1;
        self.rows.accept(&[id], self.config, self.listeners.sink)?;
        if flow == Flow::Stop {
            self.rows.stop_all(StopReason::Sink, self.listeners.sink)?;
        } else if self.ids.len() > self.n_slots {
            self.rows
                .stop_all(StopReason::ContextFull, self.listeners.sink)?;
        }
        Ok(if self.rows.all_finished() {
            Flow::Stop
        } else {
            Flow::Continue
        })
    }

    /// Hands a pass's record to the drafters and to the observer.
    fn report(&mut self, record: PassRecord, speculator: &mut Speculator) -> Result<()> {
        for drafter in &mut speculator.drafters {
            drafter.observed(&record);
        }
        self.listeners
            .observer
            .pass(&record)
            .map_err(Error::Observer)
    }

    fn not_finite(&self, position: usize) -> Error {
        Error::NonFiniteLogits { row: 0, position }
    }
}
