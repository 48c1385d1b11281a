//! Another model, with a KV cache of its own.

use std::fmt;

use crate::error::{BoxError, Error, Result};
use crate::generation::{Flow, last_logits};
use crate::pass::Pass;
use crate::policy::{LayerPolicy, Off};
use crate::speculation::{DraftRound, Drafter};
use crate::stack::CausalLm;

/// Drafts with another model that has the same vocabulary, and a KV cache of its own.
///
/// For weights of the same architecture, [`CausalLm::second_weights`] saves that cache and the pass over the prompt.
pub struct ModelDrafter<M: CausalLm> {
    name: String,
    model: M,
    policy: Box<dyn LayerPolicy + Send>,
    expected_cost: f64,
    context: Option<M::Context>,
    /// The tokens whose keys and values are in the context.
    fed: Vec<u32>,
    n_prompt: usize,
    n_slots: usize,
}

impl<M: CausalLm> fmt::Debug for ModelDrafter<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelDrafter")
            .field("name", &self.name)
            .field("n_layers", &self.model.n_layers())
            .field("n_fed", &self.fed.len())
            .finish_non_exhaustive()
    }
}

impl<M: CausalLm> ModelDrafter<M> {
    /// Drafts with all layers of a model. `expected_cost` is what one of its passes is expected to cost, as a share of one
    /// of the full model, above 0.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a cost that is not a finite number above 0.
    pub fn new(name: &str, model: M, expected_cost: f64) -> Result<Self> {
        if !(expected_cost.is_finite() && expected_cost > 0.0) {
            return Err(Error::InvalidConfig {
                field: "expected_cost",
                value: expected_cost.to_string(),
                expected: "a finite number above 0",
            });
        }
        Ok(Self {
            name: name.to_owned(),
            model,
            policy: Box::new(Off),
            expected_cost,
            context: None,
            fed: Vec::new(),
            n_prompt: 0,
            n_slots: 0,
        })
    }

    /// Runs the model under a policy, such as [`Planned`](crate::Planned).
    pub fn with_policy(self, policy: Box<dyn LayerPolicy + Send>) -> Self {
        Self { policy, ..self }
    }

    /// Returns the logits of what follows a text; runs the model over what it has not seen of it.
    fn logits(&mut self, text: &[u32]) -> Result<Vec<f32>> {
        let n_common = self
            .fed
            .iter()
            .zip(text)
            .take_while(|(fed, id)| fed == id)
            .count();
        // The last token is run over again where it was seen, for its logits.
        let first = n_common.min(text.len() - 1);
        let (model, n_slots) = (&self.model, self.n_slots);
        let context = self
            .context
            .get_or_insert_with(|| model.new_context(1, n_slots));
        let mut first_of_response = first;
        if first < self.n_prompt && text.len() > self.n_prompt {
            let prompt = &text[..self.n_prompt];
            let pass = Pass::prompt(&[prompt], 0)?;
            last_logits(model, &pass, context, self.policy.as_mut())?;
            first_of_response = self.n_prompt;
        }
        let pass = if text.len() <= self.n_prompt {
            Pass::prompt(&[text], 0)?
        } else {
            Pass::response(first_of_response, text[first_of_response..].to_vec())
        };
        let logits = last_logits(model, &pass, context, self.policy.as_mut())?;
        self.fed.truncate(first);
        self.fed.extend_from_slice(&text[first..]);
        Ok(logits)
    }
}

impl<M> Drafter for ModelDrafter<M>
where
    M: CausalLm + Send,
    M::Context: Send,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn expected_cost(&self) -> f64 {
        self.expected_cost
    }

    fn begin(&mut self, prompt: &[u32], n_slots: usize) -> Result<(), BoxError> {
        self.context = None;
        self.fed.clear();
        (self.n_prompt, self.n_slots) = (prompt.len(), n_slots);
        Ok(())
    }

    fn draft(&mut self, round: &mut DraftRound<'_>) -> Result<(), BoxError> {
        let vocab_size = self.model.vocab_size();
        let max_context = self.model.max_context().unwrap_or(usize::MAX);
        while round.wants_more() {
            let text = round.text();
            let is_within = |&id: &u32| (id as usize) < vocab_size;
            // A model for shorter texts, or with fewer tokens, has nothing to say about this one.
            if text.len() > max_context.min(self.n_slots) || !text.iter().all(is_within) {
                break;
            }
            let logits = self.logits(text)?;
            if round.propose_by_logits(&logits)? == Flow::Stop {
                break;
            }
        }
        Ok(())
    }
}
