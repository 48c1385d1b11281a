//! An answer under way: one pass at a time, with what the gate saw.

use std::rc::Rc;

use lac_core::generation::{Flow, Stepwise, StopReason};
use lac_core::{GateConfig, GenerationConfig, LayerPolicy, Phase};
use lac_models::{DecodedSpecialTokens, Decoder};
use lac_trace::file::{MemoryTrace, SequenceJson};
use lac_trace::statistics::Summary;
use lac_trace::{Statistics, Token, TraceInfo};
use serde::Serialize;

use crate::ask::AskConfig;
use crate::error::{Error, words};
use crate::model::WebModel;

/// What one step brought.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Step {
    /// The tokens that went through the layers: the first step's are the prompt's, later ones have the token that the
    /// step before chose.
    pub tokens: Vec<TokenEvent>,
    /// The token that was chosen.
    pub chosen: u32,
    /// The whole text of the answer so far, without a character that is not whole yet.
    pub text: String,
    /// Why the answer is over; `None` while it goes on.
    pub stop: Option<StopReason>,
}

/// A token, and what each layer did for it. The lists have a number for each layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TokenEvent {
    /// `prompt` or `response`.
    pub phase: &'static str,
    /// Position in the sequence.
    pub position: u32,
    /// Id in the vocabulary.
    pub id: Option<u32>,
    /// The vocabulary's spelling.
    pub piece: String,
    /// The same for people.
    pub label: String,
    /// Norm before any layer.
    pub embedding_norm: f32,
    /// Norms after each layer.
    pub norms: Vec<f32>,
    /// Δ: what each layer changed of the norm.
    pub deltas: Vec<f32>,
    /// λ: the threshold that each delta was held against.
    pub thresholds: Vec<f32>,
    /// 1 where the layer was active.
    pub active: Vec<u8>,
    /// 1 where the layer was run.
    pub executed: Vec<u8>,
}

/// An answer under way.
pub struct Answer {
    model: Rc<WebModel>,
    generation: Stepwise<Decoder>,
    policy: Box<dyn LayerPolicy>,
    trace: MemoryTrace<'static>,
    /// Tokens of the trace that a step has told of.
    n_told: usize,
    text: String,
    is_over: bool,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("policy", &self.policy.name())
            .field("text", &self.text)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// Prepares an answer; nothing is computed yet. The most probable token is chosen each time.
    ///
    /// # Errors
    /// A question that is empty or too long, and settings out of their range.
    pub fn new(model: &Rc<WebModel>, question: &str, ask: &AskConfig) -> Result<Self, Error> {
        ask.check()?;
        let prompt = model.prompt(question)?;
        let policy = ask.policy.policy(GateConfig::new(ask.alpha));
        let facts = model.facts();
        let info = TraceInfo::new(&facts.name, facts.layers, policy.as_ref())?
            .with_machine(&facts.weights, "flex")
            .with_note("sampling", "greedy")
            .with_model(&model.fingerprint);
        let config = GenerationConfig::greedy(ask.max_new_tokens)
            .with_stop_tokens(model.tokenizer.stop_ids());
        let spelled = Rc::clone(model);
        let trace = MemoryTrace::new(info).with_pieces(move |id| spelled.tokenizer.id_to_piece(id));
        Ok(Self {
            generation: Stepwise::new(&model.decoder, &[prompt], &config)?,
            model: Rc::clone(model),
            policy,
            trace,
            n_told: 0,
            text: String::new(),
            is_over: false,
        })
    }

    /// Makes one pass, and chooses a token from it.
    ///
    /// # Errors
    /// [`Error::Run`] with what the pass reports, and [`Error::Over`] after the last step.
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.is_over {
            return Err(Error::Over);
        }
        // Until the step has come to its end.
        self.is_over = true;
        let flow = self.generation.step(
            &self.model.decoder,
            self.policy.as_mut(),
            &mut self.trace,
            &mut (),
        )?;
        self.is_over = flow == Flow::Stop;
        let stop = self.generation.stop_reason(0);
        let ids = self.generation.ids(0);
        // Each step chooses a token.
        let chosen = ids.last().copied().unwrap_or_default();
        if self.is_over {
            self.trace.unfed(0, chosen);
        }
        let shown = match stop {
            Some(StopReason::StopToken) => &ids[..ids.len() - 1],
            _ => ids,
        };
        let text = self
            .model
            .tokenizer
            .decode(shown, DecodedSpecialTokens::Skip)
            .map_err(|error| Error::Run(words(&error)))?;
        self.text = match stop {
            // A character's bytes may come in several tokens.
            None => text.trim_end_matches('\u{fffd}').to_owned(),
            Some(_) => text,
        };
        let tokens = self.trace.tokens();
        let told = (self.n_told..tokens.len()).map(|idx| self.event(&tokens.token(idx)));
        let step = Step {
            tokens: told.collect(),
            chosen,
            text: self.text.clone(),
            stop,
        };
        self.n_told = self.trace.tokens().len();
        Ok(step)
    }

    fn event(&self, token: &Token<'_>) -> TokenEvent {
        let flags = |flags: &[bool]| flags.iter().map(|&flag| u8::from(flag)).collect();
        let piece = token.label();
        TokenEvent {
            phase: match token.phase {
                Phase::Prompt => "prompt",
                Phase::Response => "response",
            },
            position: token.position,
            id: token.token_id,
            label: self.model.spelling.read(&piece),
            piece,
            embedding_norm: token.embedding_norm,
            norms: token.norms.to_vec(),
            deltas: token.deltas.to_vec(),
            thresholds: token.thresholds.to_vec(),
            active: flags(token.active),
            executed: flags(token.executed),
        }
    }

    /// Ends the answer where it stands: the last token was chosen, and does not go through the layers.
    pub fn stop(&mut self) {
        if let (false, Some(&last)) = (self.is_over, self.generation.ids(0).last()) {
            self.trace.unfed(0, last);
        }
        self.is_over = true;
    }

    /// Returns the text so far.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns what was counted of the tokens so far: what the charts of `lac report` are drawn from.
    pub fn summary(&self) -> Summary {
        let mut statistics = Statistics::new(self.trace.info());
        self.trace
            .tokens()
            .tokens()
            .for_each(|token| statistics.push(&token));
        statistics.summary()
    }

    /// Returns whether masks for another α follow from the deltas.
    pub fn can_sweep_alpha(&self) -> bool {
        self.trace.info().can_sweep_alpha()
    }

    /// Returns the trace so far, in the fields of `lac trace --json`.
    pub fn to_json(&self) -> SequenceJson {
        self.trace.sequence(0)
    }

    /// Returns the trace so far as the file that `lac report` reads.
    ///
    /// # Errors
    /// [`Error::Run`] if there is no token yet.
    pub fn to_parquet(&self) -> Result<Vec<u8>, Error> {
        Ok(self.trace.to_parquet()?)
    }
}
