//! Protocols: how a benchmark is asked and scored.

use std::fmt;
use std::str::FromStr;

use lac_core::named::{UnknownName, by_name};
use serde::{Deserialize, Serialize};

/// How a benchmark is asked and scored. Results of different protocols are different
/// measurements, and no table holds both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Protocol {
    /// The prompts and the sampling of the paper's released code; the answer is looked for in the
    /// generated text.
    Paper,
    /// lm-evaluation-harness: the options' log-likelihoods are compared.
    LmEval,
    /// A greedy answer in the chat format; the answer is looked for in the generated text.
    Generative,
}

impl Protocol {
    /// All protocols.
    pub const ALL: &'static [Protocol] = &[Protocol::Paper, Protocol::LmEval, Protocol::Generative];

    /// Returns the name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Paper => "paper",
            Protocol::LmEval => "lm-eval",
            Protocol::Generative => "generative",
        }
    }

    /// Returns whether the options' log-likelihoods are compared; otherwise text is generated.
    pub fn compares_likelihoods(self) -> bool {
        self == Protocol::LmEval
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Protocol {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name("protocol", Self::ALL, Self::name, name)
    }
}
