//! How a question is to be answered.

use lac_core::{Bypass, GateConfig, Halt, LastActive, LayerPolicy, Trace};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What happens to void layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PolicyName {
    /// The full model; the gate observes.
    #[default]
    Trace,
    /// The last active layer's output goes to the head.
    LastActive,
    /// A void layer's input goes on in place of its output.
    Bypass,
    /// Once no token of a sequence moves, its remaining layers are not run.
    Halt,
}

impl PolicyName {
    /// Makes the policy.
    pub fn policy(self, gate: GateConfig) -> Box<dyn LayerPolicy> {
        match self {
            Self::Trace => Box::new(Trace::new(gate)),
            Self::LastActive => Box::new(LastActive::new(gate)),
            Self::Bypass => Box::new(Bypass::new(gate)),
            Self::Halt => Box::new(Halt::new(gate)),
        }
    }
}

/// How a question is to be answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct AskConfig {
    /// What happens to void layers.
    pub policy: PolicyName,
    /// α, the share of the range of deltas so far that a layer has to reach.
    pub alpha: f32,
    /// The largest number of new tokens, from 1 on.
    pub max_new_tokens: usize,
}

impl Default for AskConfig {
    /// Returns the full model with α 0.8, and the limit of `lac trace`.
    fn default() -> Self {
        Self {
            policy: PolicyName::Trace,
            alpha: 0.8,
            max_new_tokens: 50,
        }
    }
}

impl AskConfig {
    /// Sets the policy.
    pub fn with_policy(self, policy: PolicyName) -> Self {
        Self { policy, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(self.alpha.is_finite() && self.alpha >= 0.0) {
            return Err(Error::Setting {
                setting: "α",
                value: self.alpha.to_string(),
                expected: "a number from 0 on",
            });
        }
        if self.max_new_tokens == 0 {
            return Err(Error::Setting {
                setting: "the length of the answer",
                value: "0".to_owned(),
                expected: "at least one token",
            });
        }
        Ok(())
    }
}
