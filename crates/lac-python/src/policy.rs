//! Policies by name, with a plan, or written in Python.

use lac_core::plan::{ModelFingerprint, VoidPlan};
use lac_core::released_code::GateRounding;
use lac_core::{Bypass, GateConfig, Halt, LastActive, LayerPolicy, Off, Planned, Trace};
use pyo3::prelude::*;
use sha2::{Digest, Sha256};

use crate::error::Failure;
use crate::python_policy::PythonPolicy;
use crate::signals::Interruptible;

/// What Python says of a policy: its name, or an object with hooks, and what it needs.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct PolicyArgs {
    name: String,
    /// `None` for a policy written in Python without a gate.
    alpha: Option<f32>,
    rounding: String,
    /// A plan's JSON.
    plan: Option<String>,
    /// An object with hooks.
    hooks: Option<Py<PyAny>>,
}

/// A policy that is made when it is needed, on the thread that computes.
pub(crate) struct PolicySpec {
    name: String,
    gate: Option<GateConfig>,
    plan: Option<VoidPlan>,
    hooks: Option<Py<PyAny>>,
}

const NAMES: [&str; 6] = ["off", "trace", "last-active", "bypass", "halt", "planned"];

impl PolicySpec {
    /// Finds mistakes before anything is computed.
    pub(crate) fn new(args: PolicyArgs) -> Result<Self, Failure> {
        if args.hooks.is_none() && !NAMES.contains(&args.name.as_str()) {
            return Err(Failure::new(format!(
                "unknown policy {:?}: expected one of {}, or a lac.Policy",
                args.name,
                NAMES.join(", ")
            )));
        }
        let rounding: GateRounding = args.rounding.parse()?;
        let gate = args
            .alpha
            .map(|alpha| GateConfig::new(alpha).with_rounding(rounding));
        if let Some(gate) = gate {
            gate.validate()
                .map_err(|error| Failure::from(error).context("alpha"))?;
        }
        let plan = match &args.plan {
            Some(json) => Some(
                serde_json::from_str(json)
                    .map_err(|error| Failure::from(error).context("plan is not a plan"))?,
            ),
            None => None,
        };
        if args.name == "planned" && plan.is_none() && args.hooks.is_none() {
            return Err(Failure::new(
                "policy \"planned\" needs a plan: plan=model.plan(…), or a file that `lac plan` wrote",
            ));
        }
        Ok(Self {
            name: args.name,
            gate,
            plan,
            hooks: args.hooks,
        })
    }

    pub(crate) fn is_off(&self) -> bool {
        self.hooks.is_none() && self.name == "off"
    }

    /// Makes the policy for a model whose `fingerprint` is computed only if a plan is checked.
    pub(crate) fn make(
        &self,
        fingerprint: impl FnOnce() -> Result<ModelFingerprint, Failure>,
    ) -> Result<Box<dyn LayerPolicy>, Failure> {
        if let Some(hooks) = &self.hooks {
            let hooks = Python::attach(|py| hooks.clone_ref(py));
            let policy = PythonPolicy::new(self.name.clone(), hooks, self.gate);
            return Ok(Box::new(Interruptible::new(Box::new(policy))));
        }
        let gate = self.gate.unwrap_or_default();
        let policy: Box<dyn LayerPolicy> = match (self.name.as_str(), &self.plan) {
            ("planned", Some(plan)) => Box::new(Planned::new(plan, &fingerprint()?)?),
            ("trace", _) => Box::new(Trace::new(gate)),
            ("last-active", _) => Box::new(LastActive::new(gate)),
            ("bypass", _) => Box::new(Bypass::new(gate)),
            ("halt", _) => Box::new(Halt::new(gate)),
            _ => Box::new(Off),
        };
        Ok(Box::new(Interruptible::new(policy)))
    }

    /// Returns a short hash of the plan, by which results under different plans are told apart.
    pub(crate) fn plan_digest(&self) -> Result<Option<String>, Failure> {
        let Some(plan) = &self.plan else {
            return Ok(None);
        };
        let digest = Sha256::digest(serde_json::to_vec(plan)?);
        let hex = digest[..4].iter().map(|byte| format!("{byte:02x}"));
        Ok(Some(format!("plan {}", hex.collect::<String>())))
    }
}
