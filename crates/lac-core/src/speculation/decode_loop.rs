//! The loop of speculation: draft, verify, keep what is accepted.

use std::borrow::Cow;
use std::time::Instant;

use super::acceptance::{self, Draft};
use super::draft_keys::draft_keys;
use super::near_ties::{Top, noise};
use super::speculator::Speculator;
use super::stats::SpeculationStats;
use crate::decision::SkippedKeys;
use crate::error::{Error, Result};
use crate::generation::sampling::{Sampler, read_rows};
use crate::generation::{
    Flow, GenerationConfig, GenerationOutput, Rows, StopReason, TokenSink, check_prompts,
    forward_hidden, last_logits,
};
use crate::observer::Observer;
use crate::pass::Pass;
use crate::phase::Phase;
use crate::plan::Planned;
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
    skipped_keys: SkippedKeys,
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
    speculator
        .plan
        .check_depth(Phase::Response, model.n_layers())
        .map_err(Error::Plan)?;
    let pass = Pass::prompt(&[prompt], config.pad_token)?;
    let room = model.max_context().unwrap_or(usize::MAX) - pass.seq();
    let n_slots = pass.seq() + config.max_new_tokens.min(room);
    let full: Box<dyn LayerPolicy> = match speculator.config.gate {
        Some(gate) => Box::new(Trace::new(gate)),
        None => Box::new(Off),
    };
    let mut drafting = Drafting {
        context: model.new_context(1, n_slots),
        model,
        config,
        listeners,
        sampler: Sampler::new(&config.sampling, 0)?,
        full,
        skipped_keys: draft_keys(model),
        rows: Rows::new(1),
        ids: prompt.to_vec(),
        n_prompt: prompt.len(),
        n_slots,
        n_exact: prompt.len(),
        stats: SpeculationStats::default(),
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
        if let Some(follower) = &mut speculator.follower
            && let Some(plan) = follower.first_plan(&speculator.plan)
        {
            speculator.set_plan(plan);
            self.stats.n_plan_changes += 1;
        }
        if self.config.max_new_tokens == 0 {
            return self
                .rows
                .stop_all(StopReason::MaxNewTokens, self.listeners.sink);
        }
        let logits = &logits[0];
        let deciding = self.processed(logits, &[]);
        let id = self.sampler.choose(&deciding);
        let id = id.ok_or_else(|| self.not_finite(pass.seq() - 1))?;
        self.emit(id, &deciding, logits)?;
        Ok(())
    }

    /// Drafts, verifies, and keeps what is accepted.
    fn round(&mut self, speculator: &mut Speculator) -> Result<()> {
        let start = Instant::now();
        let past = self.ids.len() - 1;
        let n_drafted_before = self.stats.n_drafted;
        let drafts = self.draft(speculator)?;
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
        let n_drafted = self.stats.n_drafted - n_drafted_before;
        speculator
            .control
            .round(n_drafted, n_tokens, start.elapsed());
        if let Some(record) = record {
            self.report(record.first_slots(n_tokens), speculator)?;
        }
        if let Some(follower) = &mut speculator.follower
            && let Some(plan) = follower.next_plan(&speculator.plan)
        {
            speculator.set_plan(plan);
            self.stats.n_plan_changes += 1;
        }
        Ok(())
    }

    /// Drafts as many tokens as pay.
    fn draft(&mut self, speculator: &mut Speculator) -> Result<Vec<Draft>> {
        let past = self.ids.len() - 1;
        let n_generated = self.ids.len() - self.n_prompt;
        // Tokens beyond the end of the text or of the context would be thrown away.
        let at_most = speculator
            .config
            .draft_length
            .at_most()
            .min(self.n_slots - past - 1)
            .min(self.config.max_new_tokens - n_generated - 1);
        let mut drafts: Vec<Draft> = Vec::new();
        let mut confidences = Vec::new();
        let mut drafter: Option<Planned> = None;
        while speculator.control.goes_on(&confidences, at_most) {
            let start = Instant::now();
            let drafter = drafter.get_or_insert_with(|| {
                let plan = &speculator.plan;
                Planned::from_phases(plan.clone(), plan.clone(), self.skipped_keys)
            });
            let slot = past + drafts.len();
            let id = drafts.last().map_or(self.ids[past], |draft| draft.id);
            let pass = Pass::response(slot, vec![id]);
            let logits = self.logits_of(&pass, drafter)?;
            let logits = self.processed(&logits, &drafts);
            let draft = acceptance::propose(&mut self.sampler, &logits);
            let draft = draft.ok_or_else(|| self.not_finite(slot))?;
            let time = start.elapsed();
            speculator.control.drafted(time);
            self.stats.n_drafted += 1;
            self.stats.draft_layers += speculator.plan.executed_layers();
            self.stats.draft_time += time;
            if self.config.stop_tokens.contains(&draft.id) {
                // No token follows a stop token: the pass over the token before it decides, and a
                // verifying pass over it would gain nothing.
                speculator.control.fruitless();
                break;
            }
            confidences.push(draft.confidence);
            drafts.push(draft);
        }
        Ok(drafts)
    }

    /// Judges the drafts in turn and emits the accepted ones, then the full model's own token.
    fn decide(
        &mut self,
        drafts: &[Draft],
        logits: &[Vec<f32>],
        speculator: &mut Speculator,
    ) -> Result<()> {
        let past = self.ids.len() - 1;
        for (idx, row) in logits.iter().enumerate() {
            let slot = past + idx;
            let draft = drafts.get(idx);
            let mut deciding = self.processed(row, &[]);
            let replayed = self.replay_if_near(slot, row, &deciding, speculator)?;
            if let Some(replayed) = &replayed {
                deciding = self.processed(replayed, &[]);
            }
            let (id, is_accepted) = match draft {
                Some(draft) => {
                    let judgement = acceptance::judge(&mut self.sampler, draft, &deciding);
                    let judgement = judgement.ok_or_else(|| self.not_finite(slot))?;
                    speculator
                        .control
                        .judged(draft.confidence, judgement.is_accepted);
                    if let Some(follower) = &mut speculator.follower {
                        follower.judged(judgement.is_accepted);
                    }
                    (judgement.id, judgement.is_accepted)
                }
                None => {
                    let id = self.sampler.choose(&deciding);
                    (id.ok_or_else(|| self.not_finite(slot))?, false)
                }
            };
            self.stats.n_accepted += usize::from(is_accepted);
            self.stats.n_rejections += usize::from(draft.is_some() && !is_accepted);
            let flow = self.emit(id, &deciding, row)?;
            // A repetition began passes before the later slots, whose keys and values are forgotten with that.
            if flow == Flow::Stop || !is_accepted || replayed.is_some() {
                break;
            }
        }
        Ok(())
    }

    /// Returns logits as the logits processors change them after the text and the drafts that follow it.
    fn processed<'l>(&self, logits: &'l [f32], drafts: &[Draft]) -> Cow<'l, [f32]> {
        let config = self.config;
        if config.processors.is_neutral() {
            return Cow::Borrowed(logits);
        }
        let mut text = self.ids.clone();
        text.extend(drafts.iter().map(|draft| draft.id));
        let mut logits = logits.to_vec();
        config
            .processors
            .apply(&mut logits, &text, self.n_prompt, &config.stop_tokens);
        Cow::Owned(logits)
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

    /// Hands a pass's record to the plan's follower and to the observer.
    fn report(&mut self, record: PassRecord, speculator: &mut Speculator) -> Result<()> {
        if let Some(follower) = &mut speculator.follower {
            follower.saw(&record);
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
