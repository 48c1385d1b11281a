//! A generation that its caller makes one pass at a time.

use std::fmt;

use burn::tensor::Tensor;

use super::config::GenerationConfig;
use super::forward::{Passed, check_prompts, forward_pass};
use super::rows::{Generated, Rows, StopReason};
use super::sampling::{self, Sampler, Sampling};
use super::sink::{Flow, TokenSink};
use crate::error::Result;
use crate::kernel::argmax;
use crate::observer::Observer;
use crate::pass::Pass;
use crate::policy::LayerPolicy;
use crate::stack::CausalLm;

/// A generation under way, for programs that have other things to do between two tokens: a page in a browser, a server.
/// [`generate`](crate::generate) is a loop over its steps, and gives the same tokens.
///
/// The model is handed to each step, so that one value may own both. It has to be the same one each time.
///
/// ```
/// # use lac_core::{CausalLm, GenerationConfig, LayerPolicy, Observer, Result};
/// # use lac_core::generation::{Flow, Stepwise, TokenSink};
/// # fn answer<M: CausalLm>(
/// #     model: &M, policy: &mut dyn LayerPolicy, observer: &mut dyn Observer, sink: &mut dyn TokenSink,
/// #     is_wanted: impl Fn() -> bool,
/// # ) -> Result<Vec<u32>> {
/// let config = GenerationConfig::greedy(50);
/// let mut generation = Stepwise::new(model, &[vec![1, 2, 3]], &config)?;
/// while is_wanted() && generation.step(model, policy, observer, sink)? == Flow::Continue {}
/// # Ok(generation.ids(0).to_vec())
/// # }
/// ```
pub struct Stepwise<M: CausalLm + ?Sized> {
    prompts: Vec<Vec<u32>>,
    config: GenerationConfig,
    samplers: Vec<Sampler>,
    context: M::Context,
    /// The pass that the next step makes.
    pass: Pass,
    n_slots: usize,
    rows: Rows,
}

impl<M: CausalLm + ?Sized> fmt::Debug for Stepwise<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stepwise")
            .field("config", &self.config)
            .field("pass", &self.pass)
            .finish_non_exhaustive()
    }
}

impl<M: CausalLm + ?Sized> Stepwise<M> {
    /// Prepares to continue prompts of any lengths, all in one batch. Nothing is computed yet.
    ///
    /// # Errors
    /// As [`generate`](crate::generate), for prompts and settings.
    pub fn new(model: &M, prompts: &[Vec<u32>], config: &GenerationConfig) -> Result<Self> {
        Self::with_streams(model, prompts, config, None)
    }

    /// Row `i` draws from the stream of seed `seed + row_seeds[i]`, or `seed + i`.
    pub(super) fn with_streams(
        model: &M,
        prompts: &[Vec<u32>],
        config: &GenerationConfig,
        row_seeds: Option<&[u64]>,
    ) -> Result<Self> {
        check_prompts(model, prompts)?;
        config.processors.validate()?;
        let samplers = (0..prompts.len())
            .map(|row| {
                let stream = row_seeds.and_then(|row_seeds| row_seeds.get(row));
                Sampler::new(&config.sampling, stream.copied().unwrap_or(row as u64))
            })
            .collect::<Result<Vec<_>>>()?;
        let pass = config.padding.pass(prompts, config.pad_token)?;
        let room = model.max_context().unwrap_or(usize::MAX) - pass.seq();
        let n_slots = pass.seq() + config.max_new_tokens.min(room);
        Ok(Self {
            prompts: prompts.to_vec(),
            config: config.clone(),
            samplers,
            context: model.new_context(pass.batch(), n_slots),
            pass,
            n_slots,
            rows: Rows::new(prompts.len()),
        })
    }

    /// Makes one pass, the first one over the prompts, and chooses a token for each row from it. Returns
    /// [`Flow::Stop`] when no row goes on; then no further step may be made.
    ///
    /// # Errors
    /// As [`generate`](crate::generate). No further step may be made after an error.
    ///
    /// # Panics
    /// In debug builds, if all rows have ended.
    pub fn step(
        &mut self,
        model: &M,
        policy: &mut dyn LayerPolicy,
        observer: &mut dyn Observer,
        sink: &mut dyn TokenSink,
    ) -> Result<Flow> {
        let passed = self.forward(model, policy, observer)?;
        self.accept(passed, sink)
    }

    /// Returns a row's new tokens so far.
    pub fn ids(&self, row: usize) -> &[u32] {
        self.rows.ids(row)
    }

    /// Returns why a row has ended; `None` while it goes on.
    pub fn stop_reason(&self, row: usize) -> Option<StopReason> {
        self.rows.stop_reason(row)
    }

    /// Makes the pass of this step.
    pub(super) fn forward(
        &mut self,
        model: &M,
        policy: &mut dyn LayerPolicy,
        observer: &mut dyn Observer,
    ) -> Result<Passed> {
        debug_assert!(!self.rows.all_finished(), "every row has ended");
        let is_argmax = self.config.sampling == Sampling::Greedy
            && self.config.processors.is_neutral()
            && self.config.max_new_tokens > 0;
        let choose = |logits: &Tensor<2>| is_argmax.then(|| argmax(logits)).flatten();
        forward_pass(
            model,
            &self.pass,
            &mut self.context,
            policy,
            observer,
            choose,
        )
    }

    /// Chooses the tokens of this step, and makes the next pass ready.
    pub(super) fn accept(&mut self, passed: Passed, sink: &mut dyn TokenSink) -> Result<Flow> {
        let Self {
            prompts,
            config,
            rows,
            pass,
            ..
        } = self;
        if config.max_new_tokens > 0 {
            let process = |row: usize, logits: &mut Vec<f32>| {
                if !config.processors.is_neutral() {
                    let text = [&prompts[row][..], rows.ids(row)].concat();
                    config
                        .processors
                        .apply(logits, &text, prompts[row].len(), &config.stop_tokens);
                }
            };
            let ids = match passed.ids {
                Some(ids) => sampling::chosen(&ids, pass)?,
                None => sampling::choose(passed.logits, &mut self.samplers, pass, process)?,
            };
            rows.accept(&ids, config, sink)?;
        } else {
            rows.stop_all(StopReason::MaxNewTokens, sink)?;
        }
        if !rows.all_finished() && pass.past() + pass.seq() >= self.n_slots {
            rows.stop_all(StopReason::ContextFull, sink)?;
        }
        if rows.all_finished() {
            return Ok(Flow::Stop);
        }
        self.pass = pass.next(rows.last_ids(config.pad_token), rows.finished());
        Ok(Flow::Continue)
    }

    pub(super) fn into_generated(self) -> Vec<Generated> {
        self.rows.into_generated()
    }
}
