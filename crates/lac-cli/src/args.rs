//! Options that several commands share, turned into ready objects.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use lac_core::{
    Bypass, GateConfig, Halt, LastActive, LayerPolicy, Off, Planned, Trace,
    plan::{ModelFingerprint, VoidPlan},
    released_code::{FirstThreshold, GateRounding},
};
use lac_files::{LineEnds, read_text};
use sha2::{Digest, Sha256};

use crate::model::OpenModel;
use crate::numbers::number;
use crate::one_of::one_of;
use crate::out_file::Named;

/// What happens to void layers.
#[derive(Args, Clone)]
#[command(next_help_heading = "Gate and policy")]
pub struct PolicyArgs {
    /// α: the share of the range of earlier deltas that a layer's delta has to reach
    #[arg(long, default_value_t = lac_core::gate::DEFAULT_ALPHA, value_parser = number::<f32>)]
    pub alpha: f32,
    /// Round the gate's numbers as the paper's released code does for a bf16 model
    #[arg(long, value_parser = one_of(GateRounding::ALL, GateRounding::name), default_value = GateRounding::F32.name())]
    pub gate_rounding: GateRounding,
    /// The plan that --policy planned follows and speculation drafts with, as `lac plan` writes it
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Only a quirk of `lac eval` sets another one than zero.
    #[arg(skip)]
    pub first_threshold: FirstThreshold,
}

/// The built-in policies.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PolicyName {
    /// The full model without a gate
    Off,
    /// The full model; the gate observes
    Trace,
    /// The last active layer's output goes to the head; saves no time
    LastActive,
    /// A void layer's input goes on in place of its output; saves no time
    Bypass,
    /// Once no token of a sequence moves, its remaining layers are not run
    Halt,
    /// The layers that --plan names are not run
    Planned,
    /// What --draft names drafts and the full model verifies: greedy text is the full model's, drawn text has its
    /// distribution
    Speculative,
}

const NO_PLAN: &str = "--policy planned needs --plan FILE (lac plan makes one)";

impl PolicyArgs {
    /// Returns the options of commands that take no policy: a gate of this α.
    pub fn with_alpha(alpha: f32) -> Self {
        Self {
            alpha,
            gate_rounding: GateRounding::F32,
            plan: None,
            first_threshold: FirstThreshold::Zero,
        }
    }

    pub fn gate(&self) -> Result<GateConfig> {
        let gate = GateConfig::new(self.alpha)
            .with_rounding(self.gate_rounding)
            .with_first_threshold(self.first_threshold);
        gate.validate().context("--alpha")?;
        Ok(gate)
    }

    /// Returns the file of the plan.
    pub fn file(&self) -> Option<Named<'_>> {
        let plan = self.plan.as_ref();
        plan.map(|path| ("--plan", path.as_path()))
    }

    /// Finds mistakes that these flags and `--policy` show without the model: called before its weights are read.
    pub fn check(&self, name: PolicyName) -> Result<()> {
        self.gate()?;
        let plan = self.read_plan()?;
        if name == PolicyName::Planned {
            plan.context(NO_PLAN)?;
        }
        Ok(())
    }

    /// Makes the policy of that name. Call it once the model is loaded: a plan is checked against the hash of its
    /// weights, which was taken while they were read.
    pub fn policy(&self, name: PolicyName, model: &OpenModel<'_>) -> Result<Box<dyn LayerPolicy>> {
        self.policy_on(name, || model.fingerprint())
    }

    /// Makes the policy of that name for a model whose `fingerprint` is computed only if a plan is checked.
    pub fn policy_on(
        &self,
        name: PolicyName,
        fingerprint: impl FnOnce() -> Result<ModelFingerprint>,
    ) -> Result<Box<dyn LayerPolicy>> {
        let gate = self.gate()?;
        Ok(match name {
            PolicyName::Planned => {
                let (path, plan) = self.read_plan()?.context(NO_PLAN)?;
                let planned = Planned::new(&plan, &fingerprint()?);
                Box::new(planned.with_context(|| path.display().to_string())?)
            }
            PolicyName::Off => Box::new(Off),
            PolicyName::Trace => Box::new(Trace::new(gate)),
            PolicyName::LastActive => Box::new(LastActive::new(gate)),
            PolicyName::Bypass => Box::new(Bypass::new(gate)),
            PolicyName::Halt => Box::new(Halt::new(gate)),
            PolicyName::Speculative => {
                bail!("--policy speculative has no policy of its own: the full model verifies")
            }
        })
    }

    /// Returns a short hash of the plan, by which results under different plans are told apart.
    pub fn plan_digest(&self) -> Result<Option<String>> {
        let Some((_, plan)) = self.read_plan()? else {
            return Ok(None);
        };
        let digest = Sha256::digest(serde_json::to_vec(&plan)?);
        let hex: String = digest[..4]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        Ok(Some(format!("plan {hex}")))
    }

    /// Reads the plan that --plan names, and returns it with its path.
    pub fn read_plan(&self) -> Result<Option<(&Path, VoidPlan)>> {
        let Some(path) = &self.plan else {
            return Ok(None);
        };
        Ok(Some((path, read_plan(path)?)))
    }
}

/// Reads a plan, as `lac plan` writes it.
pub fn read_plan(path: &Path) -> Result<VoidPlan> {
    let text = read_text(path, LineEnds::AsWritten)
        .with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not a plan", path.display()))
}
