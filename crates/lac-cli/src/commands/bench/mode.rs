//! How a case generates its tokens.

use lac_core::LayerPolicy;
use lac_core::speculation::Speculator;

/// How a case generates its tokens.
pub enum Mode {
    Policy(Box<dyn LayerPolicy>),
    Speculation(Box<Speculator>),
}

impl Mode {
    pub fn name(&self) -> &str {
        match self {
            Mode::Policy(policy) => policy.name(),
            Mode::Speculation(_) => "speculative",
        }
    }
}
