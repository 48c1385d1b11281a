//! What a result depends on of its policy.

use lac_core::{GateConfig, GateRounding};
use serde::{Deserialize, Serialize};

/// A policy as results name it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PolicySettings {
    /// The policy's name.
    #[serde(rename = "policy")]
    pub name: String,
    /// α, where the policy gates.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "as_written"
    )]
    pub alpha: Option<f32>,
    /// How the gate's numbers are rounded.
    #[serde(default)]
    pub rounding: GateRounding,
    /// What else the policy depends on, such as the hash of a plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
}

impl PolicySettings {
    /// Describes a policy by its name and its gate.
    pub(crate) fn new(name: &str, gate: Option<GateConfig>) -> Self {
        Self {
            name: name.to_owned(),
            alpha: gate.map(|gate| gate.alpha),
            rounding: gate.map(|gate| gate.rounding).unwrap_or_default(),
            details: None,
        }
    }

    /// Returns the policy and its α, as tables show them.
    pub fn label(&self) -> String {
        let mut label = self.name.clone();
        if let Some(alpha) = self.alpha {
            label.push_str(&format!(", α {alpha}"));
        }
        if let Some(details) = &self.details {
            label.push_str(&format!(", {details}"));
        }
        label
    }

    /// Returns whether the results are the full model's: the gate, if there is one, only observes.
    pub fn is_full_model(&self) -> bool {
        self.name == "off" || self.name == "trace"
    }
}

/// Writes 0.8 as 0.8, not as the f64 nearest to the f32 nearest to it.
fn as_written<S: serde::Serializer>(alpha: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    let alpha = alpha.map(|alpha| alpha.to_string().parse().unwrap_or(f64::from(alpha)));
    alpha.serialize(serializer)
}
