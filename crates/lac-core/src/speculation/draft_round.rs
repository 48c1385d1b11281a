//! What a drafter sees and does in one round.

use super::acceptance::{self, Draft};
use super::control::Control;
use super::draft_weights::DraftWeights;
use super::own_passes::OwnPasses;
use crate::decision::SkippedKeys;
use crate::error::{Error, Result};
use crate::generation::sampling::Sampler;
use crate::generation::{Flow, GenerationConfig};
use crate::policy::LayerPolicy;

/// One round of drafting: the text so far, and the tokens that are proposed to follow it.
pub struct DraftRound<'a> {
    setting: RoundSetting<'a>,
    asked: Asked<'a>,
    /// What was proposed in this round, by all drafters.
    drafts: Vec<Draft>,
    /// Number of proposals that gain nothing and were not kept.
    n_withheld: usize,
    /// The probability that all proposals so far are accepted, as far as is known.
    reach: f64,
    is_over: bool,
}

/// What a round stands in.
pub(super) struct RoundSetting<'a> {
    /// The text, then what was proposed in this round.
    pub text: &'a mut Vec<u32>,
    pub n_prompt: usize,
    pub vocab_size: usize,
    pub sampler: &'a mut Sampler,
    pub config: &'a GenerationConfig,
    pub passes: &'a mut dyn OwnPasses,
}

impl RoundSetting<'_> {
    pub(super) fn reborrowed(&mut self) -> RoundSetting<'_> {
        RoundSetting {
            text: self.text,
            n_prompt: self.n_prompt,
            vocab_size: self.vocab_size,
            sampler: self.sampler,
            config: self.config,
            passes: self.passes,
        }
    }
}

/// What a drafter is asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Which of the drafters is asked.
    pub drafter: usize,
    /// The largest number of tokens of the round.
    pub at_most: usize,
    /// Who decides, token by token, whether another one pays; `None` if all that are proposed are taken.
    pub control: Option<&'a Control>,
}

impl std::fmt::Debug for DraftRound<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DraftRound")
            .field("n_text", &self.setting.text.len())
            .field("n_drafted", &self.drafts.len())
            .field("at_most", &self.asked.at_most)
            .finish_non_exhaustive()
    }
}

impl<'a> DraftRound<'a> {
    pub(super) fn new(
        setting: RoundSetting<'a>,
        asked: Asked<'a>,
        drafts: Vec<Draft>,
        reach: f64,
    ) -> Self {
        Self {
            setting,
            asked,
            drafts,
            n_withheld: 0,
            reach,
            is_over: false,
        }
    }

    /// Returns what was proposed, how many proposals were not kept, and whether nothing can follow.
    pub(super) fn into_drafts(self) -> (Vec<Draft>, usize, bool) {
        (self.drafts, self.n_withheld, self.is_over)
    }

    /// Returns the tokens so far: the prompt, the text, and what was proposed in this round. The next proposal follows them.
    pub fn text(&self) -> &[u32] {
        self.setting.text
    }

    /// Returns the number of tokens of the prompt, with which [`text`](Self::text) begins.
    pub fn n_prompt(&self) -> usize {
        self.setting.n_prompt
    }

    /// Returns how many tokens were proposed in this round.
    pub fn n_drafted(&self) -> usize {
        self.drafts.len()
    }

    /// Returns how many more tokens are taken at most.
    pub fn at_most(&self) -> usize {
        self.asked.at_most.saturating_sub(self.drafts.len())
    }

    /// Returns whether another token is asked for. The answer may depend on what passes cost and on how often tokens of the
    /// same confidence were accepted, so ask before every token that costs something.
    pub fn wants_more(&self) -> bool {
        if self.is_over || self.at_most() == 0 {
            return false;
        }
        match self.asked.control {
            None => true,
            Some(control) => control.goes_on(
                self.asked.drafter,
                self.reach,
                self.drafts.len(),
                self.asked.at_most,
            ),
        }
    }

    /// Proposes a token. When sampling it is accepted with the full model's probability of it, and otherwise replaced by a
    /// draw from the other tokens, so that the text's distribution is the full model's.
    ///
    /// `confidence` grows with the trust in the token. How often tokens were accepted is kept apart for confidences up to
    /// 0.5, 1, 2, 3.5, 5, 8 and above, and expected to grow from 0.3 to 0.97 until it is known: the scale of the margin
    /// between the two largest logits.
    ///
    /// Returns [`Flow::Stop`] if no further token is taken in this round.
    ///
    /// # Errors
    /// [`Error::DraftedBeyondVocabulary`] for an id that the model does not have.
    pub fn propose(&mut self, id: u32, confidence: f32) -> Result<Flow> {
        if id as usize >= self.setting.vocab_size {
            return Err(Error::DraftedBeyondVocabulary {
                id,
                vocab_size: self.setting.vocab_size,
            });
        }
        Ok(self.take(Draft::certain(id, confidence, self.asked.drafter)))
    }

    /// Proposes a token by the logits of another model, or of a part of this one: the most probable token, or when sampling
    /// a draw, after the penalties, the temperature and the cuts that hold for the full model's logits too. Logits beyond
    /// the full model's vocabulary are left out. (The logarithms of probabilities are logits.)
    ///
    /// Returns [`Flow::Stop`] if no further token is taken in this round. Logits without a finite value, or with NaN, end
    /// the round without a token.
    ///
    /// # Errors
    /// None at present.
    pub fn propose_by_logits(&mut self, logits: &[f32]) -> Result<Flow> {
        if self.is_over || self.at_most() == 0 {
            return Ok(Flow::Stop);
        }
        let RoundSetting {
            text,
            n_prompt,
            vocab_size,
            sampler,
            config,
            ..
        } = &mut self.setting;
        let logits = &logits[..logits.len().min(*vocab_size)];
        let processed = config
            .processors
            .processed(logits, text, *n_prompt, &config.stop_tokens);
        match acceptance::propose(sampler, &processed, self.asked.drafter) {
            Some(draft) => Ok(self.take(draft)),
            None => {
                self.is_over = true;
                Ok(Flow::Stop)
            }
        }
    }

    /// Runs the model itself over the tokens that this round has not yet run it over, and returns the logits of what follows
    /// [`text`](Self::text), `[vocab]`. The pass reads and writes the model's own KV cache; the verifying pass overwrites
    /// what it writes.
    ///
    /// # Errors
    /// [`Error::NoSecondWeights`] for [`DraftWeights::Second`] of a model that has none; what the pass reports.
    pub fn own_logits(
        &mut self,
        weights: DraftWeights,
        policy: &mut dyn LayerPolicy,
    ) -> Result<Vec<f32>> {
        self.setting
            .passes
            .logits(weights, self.setting.text, policy)
    }

    /// Returns what a policy of [`own_logits`](Self::own_logits) should do with the keys and values of layers that it does
    /// not run: nobody reads them, so they are left out where the model can do that.
    pub fn skipped_keys(&self, weights: DraftWeights) -> SkippedKeys {
        self.setting.passes.skipped_keys(weights)
    }

    fn take(&mut self, draft: Draft) -> Flow {
        if self.is_over || self.at_most() == 0 {
            return Flow::Stop;
        }
        let is_stop_token = self.setting.config.stop_tokens.contains(&draft.id);
        self.is_over |= is_stop_token;
        if is_stop_token && matches!(self.setting.sampler, Sampler::Greedy) {
            // No token follows a stop token: the pass over the token before it decides, and a verifying pass over it
            // would gain nothing. (A drawn one has to be judged all the same, or stop tokens would be drawn too rarely.)
            self.n_withheld += 1;
            return Flow::Stop;
        }
        if let Some(control) = self.asked.control {
            self.reach *= control.acceptance(draft.drafter, draft.confidence);
        }
        self.setting.text.push(draft.id);
        self.drafts.push(draft);
        if self.is_over || self.at_most() == 0 {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}
