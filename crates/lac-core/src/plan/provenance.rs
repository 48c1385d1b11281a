//! How a plan was made.

use serde::{Deserialize, Serialize};

use super::evidence::Evidence;
use crate::error::PlanError;

/// How a plan was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The program and its version.
    pub made_by: String,
    /// How the layers were chosen, in words.
    pub chosen_by: String,
    /// The name of the policy under which the traces were taken.
    pub traced_under: String,
    /// α of the gate that traced.
    pub alpha: f32,
    /// Number of prompts that were traced.
    pub n_prompts: u64,
    /// What was seen over the prompts' tokens.
    pub prompt: Evidence,
    /// What was seen over the responses' tokens.
    pub response: Evidence,
}

impl Provenance {
    pub(super) fn check(&self, n_layers: usize) -> Result<(), PlanError> {
        let wrong = |field: &str, value: String, expected| {
            let field = field.to_owned();
            Err(PlanError::Provenance {
                field,
                value,
                expected,
            })
        };
        if !self.alpha.is_finite() || self.alpha < 0.0 {
            let expected = "a number that is not negative";
            return wrong("alpha", self.alpha.to_string(), expected);
        }
        for (phase, evidence) in [("prompt", &self.prompt), ("response", &self.response)] {
            for (name, values) in [
                ("usage", &evidence.usage),
                ("mean_delta", &evidence.mean_delta),
                ("influence", &evidence.influence),
                ("lens", &evidence.lens),
            ] {
                let field = format!("{phase}.{name}");
                if ![0, n_layers, 2 * n_layers].contains(&values.len()) {
                    let found = format!("a list of {}", values.len());
                    return wrong(&field, found, "one number for each layer, or for each part");
                }
                if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                    return wrong(&field, value.to_string(), "finite numbers");
                }
            }
            let is_share = |usage: &&f64| (0.0..=1.0).contains(*usage);
            if let Some(usage) = evidence.usage.iter().find(|usage| !is_share(usage)) {
                let field = format!("{phase}.usage");
                return wrong(&field, usage.to_string(), "shares from 0 to 1");
            }
        }
        Ok(())
    }
}
