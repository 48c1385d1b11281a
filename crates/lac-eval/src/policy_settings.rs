//! The properties of a policy that results depend on.

use lac_core::{GateConfig, PolicyEffect, released_code::GateRounding};
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
    /// What the policy does to results, if it is not what its name stands for
    /// ([`PolicySettings::effect`]).
    #[serde(
        rename = "effect",
        default,
        skip_serializing_if = "Option::is_none",
        with = "effect_name"
    )]
    pub unusual_effect: Option<PolicyEffect>,
}

impl PolicySettings {
    /// Describes a policy by its name, its gate and its effect.
    pub(crate) fn new(name: &str, gate: Option<GateConfig>, effect: PolicyEffect) -> Self {
        Self {
            name: name.to_owned(),
            alpha: gate.map(|gate| gate.alpha),
            rounding: gate.map(|gate| gate.rounding).unwrap_or_default(),
            details: None,
            unusual_effect: (effect != effect_of_name(name)).then_some(effect),
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

    /// Returns what the policy does to results. Files say it only if it is not what the name stands
    /// for, so that they read the same as before there were effects.
    pub fn effect(&self) -> PolicyEffect {
        self.unusual_effect
            .unwrap_or_else(|| effect_of_name(&self.name))
    }

    /// Returns whether the results are the full model's: the gate, if there is one, only observes.
    pub fn is_full_model(&self) -> bool {
        self.effect() == PolicyEffect::FullModel
    }
}

/// Returns the effect of the built-in policy of this name, and that of a policy that says nothing
/// about itself for all other names.
fn effect_of_name(name: &str) -> PolicyEffect {
    match name {
        "off" | "trace" => PolicyEffect::FullModel,
        "last-active" => PolicyEffect::FullStates,
        _ => PolicyEffect::ChangedStates,
    }
}

/// Writes 0.8 as 0.8, not as the f64 nearest to the f32 nearest to it.
fn as_written<S: serde::Serializer>(alpha: &Option<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    let alpha = alpha.map(|alpha| alpha.to_string().parse().unwrap_or(f64::from(alpha)));
    alpha.serialize(serializer)
}

/// Effects by their names in files.
mod effect_name {
    use lac_core::PolicyEffect;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    const NAMES: [(PolicyEffect, &str); 3] = [
        (PolicyEffect::FullModel, "full-model"),
        (PolicyEffect::FullStates, "full-states"),
        (PolicyEffect::ChangedStates, "changed-states"),
    ];

    pub(super) fn serialize<S: Serializer>(
        effect: &Option<PolicyEffect>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let named = |effect| NAMES.iter().find(|(known, _)| *known == effect);
        let name = effect.and_then(named).map(|(_, name)| name);
        name.serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<PolicyEffect>, D::Error> {
        let Some(name) = Option::<String>::deserialize(deserializer)? else {
            return Ok(None);
        };
        match NAMES.iter().find(|(_, known)| *known == name) {
            Some((effect, _)) => Ok(Some(*effect)),
            None => Err(D::Error::custom("unknown effect of a policy")),
        }
    }
}
