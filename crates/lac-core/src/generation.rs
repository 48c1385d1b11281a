//! Phase-aware generation: one pass over the prompts, then one pass per new token.

pub(crate) mod sampling;
mod text;

pub use sampling::{Sampling, SamplingConfig};
pub use text::{TextDecoder, TextSink};

use std::fmt;
use std::time::{Duration, Instant};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::{BoxError, Error, Result};
use crate::observer::Observer;
use crate::pass::{Pass, PassRecord};
use crate::policy::LayerPolicy;
use crate::run::{PassOutput, run};
use crate::stack::CausalLm;
use sampling::Sampler;

/// How long to generate and how to choose tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GenerationConfig {
    /// At most this many new tokens per row.
    pub max_new_tokens: usize,
    /// How a token is chosen from the logits.
    pub sampling: Sampling,
    /// Tokens that end a row; the token itself is the row's last one.
    pub stop_tokens: Vec<u32>,
    /// The id that fills padding slots. Unless [`padding`](Self::padding) says so, it is never attended to, and any
    /// id of the vocabulary does.
    pub pad_token: u32,
    /// What becomes of the slots that a shorter prompt leaves.
    #[serde(default)]
    pub padding: PromptPadding,
}

/// What becomes of the slots that prompts shorter than the longest of their batch leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptPadding {
    /// They stand on the left, are never attended to and never count: a row gives what it gives alone.
    #[default]
    Masked,
    /// They stand on the right and are hidden in the prompts' pass only: the first token is drawn from the last of
    /// them, and later tokens attend to all ([`Pass::prompt_with_padding_as_tokens`]). What the paper's released
    /// code does; for comparisons with its results only.
    AsTokens,
}

impl GenerationConfig {
    /// The most probable token each time, at most `max_new_tokens` of them, no stop token.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self {
            max_new_tokens,
            sampling: Sampling::Greedy,
            stop_tokens: Vec::new(),
            pad_token: 0,
            padding: PromptPadding::Masked,
        }
    }

    /// The same with other stop tokens.
    pub fn with_stop_tokens(mut self, stop_tokens: impl Into<Vec<u32>>) -> Self {
        self.stop_tokens = stop_tokens.into();
        self
    }

    /// The same with the slots of shorter prompts filled with `pad_token` and treated otherwise.
    pub fn with_padding(mut self, padding: PromptPadding, pad_token: u32) -> Self {
        self.padding = padding;
        self.pad_token = pad_token;
        self
    }

    /// The same with another way of choosing tokens.
    pub fn with_sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }
}

/// Whether what is under way goes on: a row after a token, a search or an evaluation after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It ends here.
    Stop,
}

/// Receives tokens as they are chosen.
pub trait TokenSink {
    /// Takes a row's next token and says whether the row goes on.
    ///
    /// # Errors
    /// Whatever keeps the token from being received; it ends the generation, as
    /// [`Error::Sink`].
    fn token(&mut self, row: usize, id: u32) -> Result<Flow, BoxError>;

    /// Called once for a row, after its last token.
    ///
    /// # Errors
    /// As for [`token`](Self::token).
    fn end(&mut self, row: usize) -> Result<(), BoxError> {
        let _ = row;
        Ok(())
    }
}

/// Receives nothing.
impl TokenSink for () {
    fn token(&mut self, _row: usize, _id: u32) -> Result<Flow, BoxError> {
        Ok(Flow::Continue)
    }
}

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// A stop token was chosen; it is the row's last token.
    StopToken,
    /// The token sink said so, for instance at a stop string.
    Sink,
    /// The limit of new tokens was reached.
    MaxNewTokens,
    /// The model's context is full.
    ContextFull,
}

/// One row's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Generated {
    /// The new tokens, a stop token included.
    pub ids: Vec<u32>,
    /// Why the row ended.
    pub stop_reason: StopReason,
}

/// What [`generate`] returns.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GenerationOutput {
    /// One outcome per prompt, in their order.
    pub rows: Vec<Generated>,
    /// The logits of each prompt's last position, `[vocab]` per row, when asked for.
    pub prompt_logits: Option<Vec<Vec<f32>>>,
    /// Time of the pass over the prompts, its sampled tokens included.
    pub prefill_time: Duration,
    /// Time of all passes after it.
    pub decode_time: Duration,
    /// Number of passes after the first.
    pub n_decode_passes: usize,
}

/// Who takes part in a generation besides the model: a policy, and optionally an observer of the
/// passes and a receiver of the tokens.
pub struct Hooks<'a> {
    policy: &'a mut dyn LayerPolicy,
    observer: Option<&'a mut dyn Observer>,
    sink: Option<&'a mut dyn TokenSink>,
    prompt_logits: PromptLogits,
    streams: Option<&'a [u64]>,
}

/// Whether the logits of the prompts' last positions are handed back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PromptLogits {
    /// They stay on the device.
    #[default]
    Drop,
    /// They are read and returned.
    Return,
}

impl fmt::Debug for Hooks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("policy", &self.policy.name())
            .field("prompt_logits", &self.prompt_logits)
            .field("streams", &self.streams)
            .finish_non_exhaustive()
    }
}

impl<'a> Hooks<'a> {
    /// A policy, and nobody else.
    pub fn new(policy: &'a mut dyn LayerPolicy) -> Self {
        Self {
            policy,
            observer: None,
            sink: None,
            prompt_logits: PromptLogits::Drop,
            streams: None,
        }
    }

    /// The same with an observer of every pass.
    pub fn observer(mut self, observer: &'a mut dyn Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// The same with a receiver of every token.
    pub fn sink(mut self, sink: &'a mut dyn TokenSink) -> Self {
        self.sink = Some(sink);
        self
    }

    /// The same with random draws that do not depend on a row's place in its batch: row `i` draws
    /// from the stream of seed `seed + streams[i]`.
    pub fn streams(mut self, streams: &'a [u64]) -> Self {
        self.streams = Some(streams);
        self
    }

    /// The same with the prompts' logits handed back or not.
    pub fn prompt_logits(mut self, prompt_logits: PromptLogits) -> Self {
        self.prompt_logits = prompt_logits;
        self
    }
}

/// Continues prompts of any lengths, all in one batch.
///
/// Prompts are padded on the left; a padded row gives the same tokens and masks as the row
/// alone, up to the rounding of the device's matrix products (but see [`PromptPadding`]). Only the last position
/// goes through the head.
///
/// With [`Sampling::Random`] row `i` draws from its own stream, seeded with `seed + i`, or as
/// [`Hooks::streams`] says.
///
/// # Errors
/// An empty prompt, a token outside the vocabulary, a prompt longer than the model's context,
/// impossible settings; a non-finite norm, naming layer and position; what policy, observer or
/// sink report; a device failure.
pub fn generate<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    config: &GenerationConfig,
    hooks: Hooks<'_>,
) -> Result<GenerationOutput> {
    check_prompts(model, prompts)?;
    let mut samplers = (0..prompts.len())
        .map(|row| {
            let stream = hooks.streams.and_then(|streams| streams.get(row));
            Sampler::new(&config.sampling, stream.copied().unwrap_or(row as u64))
        })
        .collect::<Result<Vec<_>>>()?;

    let mut pass = match config.padding {
        PromptPadding::Masked => Pass::prompt(prompts, config.pad_token)?,
        PromptPadding::AsTokens => Pass::prompt_with_padding_as_tokens(prompts, config.pad_token)?,
    };
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
    let Hooks {
        policy,
        observer,
        sink,
        prompt_logits,
        ..
    } = hooks;
    let (mut no_observer, mut no_sink) = ((), ());
    let observer = observer.unwrap_or(&mut no_observer);
    let sink = sink.unwrap_or(&mut no_sink);

    let start = Instant::now();
    let logits = forward_pass(model, &pass, &mut context, policy, observer)?;
    if prompt_logits == PromptLogits::Return {
        output.prompt_logits = Some(sampling::read_rows(logits.clone())?);
    }
    let mut logits = Some(logits);
    while let Some(row_logits) = logits.take() {
        if config.max_new_tokens > 0 {
            let ids = sampling::choose(row_logits, &mut samplers, &pass)?;
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
        logits = Some(forward_pass(model, &pass, &mut context, policy, observer)?);
    }
    output.decode_time = start.elapsed() - output.prefill_time;
    output.rows = rows.into_generated();
    Ok(output)
}

/// Runs one pass without generating: for log-likelihoods, probes and traces of a given text.
///
/// Returns the state to hand to [`CausalLm::logits`], `[batch, seq, hidden]`, and the record of
/// the pass.
///
/// # Errors
/// As [`generate`].
pub fn prompt_pass<M: CausalLm + ?Sized>(
    model: &M,
    prompts: &[Vec<u32>],
    pad_token: u32,
    policy: &mut dyn LayerPolicy,
) -> Result<(Tensor<3>, PassRecord)> {
    check_prompts(model, prompts)?;
    let pass = Pass::prompt(prompts, pad_token)?;
    let mut context = model.new_context(pass.batch(), pass.seq());
    let out = embed_and_run(model, &pass, &mut context, policy)?;
    let record = out.readings.read(&pass)?;
    Ok((out.hidden, record))
}

/// One pass up to the logits of the last slot, `[batch, vocab]`.
fn forward_pass<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
    observer: &mut dyn Observer,
) -> Result<Tensor<2>> {
    let out = embed_and_run(model, pass, context, policy)?;
    // The head is by far the widest matrix of a model: only the newest token goes through it.
    let last = out.hidden.narrow(1, pass.seq() - 1, 1);
    let logits = model.logits(last).squeeze_dim::<2>(1);
    if observer.wants_records() || out.readings.is_gated() {
        let record = out.readings.read(pass)?;
        observer.pass(&record).map_err(Error::Observer)?;
    }
    Ok(logits)
}

/// The logits of the newest token of one row, by a policy that observes nothing.
pub(crate) fn last_logits<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
) -> Result<Vec<f32>> {
    let logits = forward_pass(model, pass, context, policy, &mut ())?;
    Ok(sampling::read_rows(logits)?.swap_remove(0))
}

/// One pass from its token ids through the layers, for passes that [`generate`] does not make: texts
/// that are scored, drafts. Nothing is read back from the device.
///
/// # Errors
/// As [`run`].
pub fn embed_and_run<M: CausalLm + ?Sized>(
    model: &M,
    pass: &Pass,
    context: &mut M::Context,
    policy: &mut dyn LayerPolicy,
) -> Result<PassOutput> {
    model.begin_pass(pass, context);
    let embedding = model.embed(pass.token_tensor(&model.device()), context);
    run(model, embedding, context, pass, policy)
}

pub(crate) fn check_prompts<M: CausalLm + ?Sized>(model: &M, prompts: &[Vec<u32>]) -> Result<()> {
    let vocab_size = model.vocab_size();
    let max_context = model.max_context().unwrap_or(usize::MAX);
    for (row, ids) in prompts.iter().enumerate() {
        if ids.len() > max_context {
            return Err(Error::ContextTooLong {
                row,
                length: ids.len(),
                max_context,
            });
        }
        if let Some(position) = ids.iter().position(|&id| id as usize >= vocab_size) {
            return Err(Error::TokenOutOfVocabulary {
                id: ids[position],
                row,
                position,
                vocab_size,
            });
        }
    }
    Ok(())
}

/// The rows of a batch while they grow.
pub(crate) struct Rows {
    ids: Vec<Vec<u32>>,
    stop_reasons: Vec<Option<StopReason>>,
}

impl Rows {
    pub(crate) fn new(batch: usize) -> Self {
        Self {
            ids: vec![Vec::new(); batch],
            stop_reasons: vec![None; batch],
        }
    }

    pub(crate) fn accept(
        &mut self,
        new_ids: &[u32],
        config: &GenerationConfig,
        sink: &mut dyn TokenSink,
    ) -> Result<()> {
        for (row, &id) in new_ids.iter().enumerate() {
            if self.stop_reasons[row].is_some() {
                continue;
            }
            self.ids[row].push(id);
            let is_stop_token = config.stop_tokens.contains(&id);
            // The sink sees text only: a stop token ends the row without being part of it.
            let flow = if is_stop_token {
                Flow::Stop
            } else {
                sink.token(row, id).map_err(Error::Sink)?
            };
            let reason = if is_stop_token {
                Some(StopReason::StopToken)
            } else if flow == Flow::Stop {
                Some(StopReason::Sink)
            } else if self.ids[row].len() == config.max_new_tokens {
                Some(StopReason::MaxNewTokens)
            } else {
                None
            };
            if let Some(reason) = reason {
                self.stop(row, reason, sink)?;
            }
        }
        Ok(())
    }

    fn stop(&mut self, row: usize, reason: StopReason, sink: &mut dyn TokenSink) -> Result<()> {
        self.stop_reasons[row] = Some(reason);
        sink.end(row).map_err(Error::Sink)
    }

    pub(crate) fn stop_all(&mut self, reason: StopReason, sink: &mut dyn TokenSink) -> Result<()> {
        for row in 0..self.ids.len() {
            if self.stop_reasons[row].is_none() {
                self.stop(row, reason, sink)?;
            }
        }
        Ok(())
    }

    pub(crate) fn all_finished(&self) -> bool {
        self.stop_reasons.iter().all(Option::is_some)
    }

    fn finished(&self) -> Vec<bool> {
        self.stop_reasons.iter().map(Option::is_some).collect()
    }

    fn last_ids(&self, pad_token: u32) -> Vec<u32> {
        self.ids
            .iter()
            .map(|ids| ids.last().copied().unwrap_or(pad_token))
            .collect()
    }

    pub(crate) fn into_generated(self) -> Vec<Generated> {
        self.ids
            .into_iter()
            .zip(self.stop_reasons)
            .map(|(ids, reason)| Generated {
                ids,
                stop_reason: reason.unwrap_or(StopReason::MaxNewTokens),
            })
            .collect()
    }
}
