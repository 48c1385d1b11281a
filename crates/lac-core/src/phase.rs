//! The two phases of the paper, and values that exist once for each of them.

use serde::{Deserialize, Serialize};

/// One of the two phases of the paper, whose results are kept and reported apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Prompt processing (PP), also called prefill: the pass over the prompt's tokens.
    Prompt,
    /// Response generation (RG), also called decode: one pass per generated token.
    Response,
}

impl Phase {
    /// Both phases, in the order in which they happen.
    pub const ALL: [Phase; 2] = [Phase::Prompt, Phase::Response];

    /// Returns `prompt` or `response`, the phase's name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Prompt => "prompt",
            Phase::Response => "response",
        }
    }
}

/// One value for each [`Phase`].
///
/// ```
/// use lac_core::{PerPhase, Phase};
///
/// let n_tokens = PerPhase { prompt: 5, response: 12 };
/// assert_eq!(n_tokens.get(Phase::Response), &12);
/// let named: Vec<_> = n_tokens.iter().map(|(phase, n)| (phase.name(), *n)).collect();
/// assert_eq!(named, [("prompt", 5), ("response", 12)]);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PerPhase<T> {
    /// The value for the prompt's tokens.
    pub prompt: T,
    /// The value for the response's tokens.
    pub response: T,
}

impl<T> PerPhase<T> {
    /// Returns the value of a phase.
    pub fn get(&self, phase: Phase) -> &T {
        match phase {
            Phase::Prompt => &self.prompt,
            Phase::Response => &self.response,
        }
    }

    /// Returns the value of a phase, for changing it.
    pub fn get_mut(&mut self, phase: Phase) -> &mut T {
        match phase {
            Phase::Prompt => &mut self.prompt,
            Phase::Response => &mut self.response,
        }
    }

    /// Applies a function to both values, the prompt's first.
    pub fn map<U>(self, mut function: impl FnMut(T) -> U) -> PerPhase<U> {
        PerPhase {
            prompt: function(self.prompt),
            response: function(self.response),
        }
    }

    /// Borrows both values.
    pub fn as_ref(&self) -> PerPhase<&T> {
        PerPhase {
            prompt: &self.prompt,
            response: &self.response,
        }
    }

    /// Iterates over both phases with their values, the prompt's first.
    pub fn iter(&self) -> impl Iterator<Item = (Phase, &T)> {
        Phase::ALL
            .into_iter()
            .map(move |phase| (phase, self.get(phase)))
    }
}
