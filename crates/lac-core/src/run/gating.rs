//! The gate of one pass, as the loop over layers drives it.

use burn::tensor::Tensor;

use super::step::carried;
use crate::error::{BoxError, Result};
use crate::gate::{Gate, GateConfig, GatedAtOnce, Record, WaitingGate};
use crate::kernel::Select;
use crate::policy::{FusedAction, LayerPolicy, LayerStep, NextState};

/// The gate of one pass.
pub(super) enum PassGate {
    /// Layer by layer.
    Running(Box<Running>),
    /// All layers at the pass's end: their outputs wait until then.
    Waiting(Waiting),
}

pub(super) struct Running {
    gate: Gate,
    gating: FusedAction,
    /// What was seen of the embedding and of each layer so far.
    records: Vec<Record>,
    /// Per token the last active output so far, under [`FusedAction::LastActive`].
    last_active: Option<Tensor<3>>,
}

pub(super) struct Waiting {
    gate: WaitingGate,
    config: GateConfig,
    gating: FusedAction,
}

impl PassGate {
    pub(super) fn start(
        config: GateConfig,
        gating: FusedAction,
        embedding: &Tensor<3>,
    ) -> Result<Self> {
        let changes_nothing = matches!(gating, FusedAction::Observe | FusedAction::LastActive);
        // A longer pass would have to keep the states after every layer until its end.
        let is_short = embedding.dims()[1] == 1;
        if changes_nothing
            && is_short
            && let Some(gate) = WaitingGate::start(config, embedding)?
        {
            return Ok(Self::Waiting(Waiting {
                gate,
                config,
                gating,
            }));
        }
        let running = Running::start(config, gating, embedding)?;
        Ok(Self::Running(Box::new(running)))
    }

    /// Gates a layer that was run, for a policy that is not asked after it; returns the state for the next layer.
    pub(super) fn layer(&mut self, output: Tensor<3>, input: Tensor<3>) -> Result<Tensor<3>> {
        if let Self::Waiting(waiting) = self
            && !waiting.gate.takes(&output)
        {
            self.stop_waiting()?;
        }
        Ok(match self {
            Self::Running(running) => running.layer(output, input),
            Self::Waiting(waiting) => {
                waiting.gate.push(output.clone());
                output
            }
        })
    }

    /// Gates a layer that was run, asks the policy, and returns the state for the next layer.
    pub(super) fn step(
        &mut self,
        layer_idx: usize,
        output: Tensor<3>,
        input: Tensor<3>,
        policy: &mut dyn LayerPolicy,
    ) -> Result<Tensor<3>, BoxError> {
        match self {
            Self::Running(running) => running.step(layer_idx, output, input, policy),
            // Only the states of policies that are not asked wait.
            Self::Waiting(_) => Ok(self.layer(output, input)?),
        }
    }

    /// Records a layer that was not run: its reading needs the ones before it.
    pub(super) fn skipped(&mut self) -> Result<()> {
        self.stop_waiting()?;
        if let Self::Running(running) = self {
            running.records.push(running.gate.skipped().clone());
        }
        Ok(())
    }

    /// Gates what has waited so far, and the rest layer by layer.
    fn stop_waiting(&mut self) -> Result<()> {
        if let Self::Waiting(waiting) = self {
            let states = waiting.gate.states();
            let mut running = Running::start(waiting.config, waiting.gating, &states[0])?;
            for pair in states.windows(2) {
                running.layer(pair[1].clone(), pair[0].clone());
            }
            *self = Self::Running(Box::new(running));
        }
        Ok(())
    }

    /// Returns the state for [`LayerPolicy::finish`], and the records of the embedding and of every layer,
    /// `[1 + layers, N_FIELDS, batch, seq]`.
    pub(super) fn finish(self, hidden: Tensor<3>) -> (Tensor<3>, Tensor<4>) {
        match self {
            Self::Running(running) => running.finish(hidden),
            Self::Waiting(Waiting { gate, gating, .. }) => {
                let select = (gating == FusedAction::LastActive).then_some(Select::KeepOutput);
                let GatedAtOnce { records, selected } = gate.finish(select);
                (selected.unwrap_or(hidden), records)
            }
        }
    }
}

impl Running {
    fn start(config: GateConfig, gating: FusedAction, embedding: &Tensor<3>) -> Result<Self> {
        let gate = Gate::start(config, embedding)?;
        Ok(Self {
            records: vec![gate.last().clone()],
            gate,
            gating,
            last_active: (gating == FusedAction::LastActive).then(|| embedding.clone()),
        })
    }

    fn layer(&mut self, output: Tensor<3>, input: Tensor<3>) -> Tensor<3> {
        let hidden = match (self.gating, self.last_active.take()) {
            (FusedAction::Bypass, _) => self.gate.judge_select(output, input, Select::KeepInput),
            (FusedAction::LastActive, Some(last_active)) => {
                let keep = Select::KeepOutput;
                let last_active = self.gate.judge_select(output.clone(), last_active, keep);
                self.last_active = Some(last_active);
                output
            }
            _ => {
                self.gate.judge(&output);
                output
            }
        };
        self.records.push(self.gate.last().clone());
        hidden
    }

    fn step(
        &mut self,
        layer_idx: usize,
        output: Tensor<3>,
        input: Tensor<3>,
        policy: &mut dyn LayerPolicy,
    ) -> Result<Tensor<3>, BoxError> {
        let input_norm = self.gate.previous_norm();
        let record = self.gate.judge(&output).clone();
        let mut reading = record.to_reading();
        let carry = policy.after(LayerStep {
            layer_idx,
            input: &input,
            output: &output,
            input_norm: Some(&input_norm),
            reading: Some(&mut reading),
        })?;
        self.records.push(record.with_reading(reading));
        match &carry {
            NextState::Output => {}
            NextState::OutputWhere(mask) => self.gate.kept(mask.clone(), input_norm),
            NextState::State(state) => self.gate.replaced(state),
        }
        carried(carry, output, input)
    }

    fn finish(self, hidden: Tensor<3>) -> (Tensor<3>, Tensor<4>) {
        let hidden = self.last_active.unwrap_or(hidden);
        let records = self.records.iter();
        let records = records.map(|record| record.rows().unsqueeze_dim::<4>(0));
        (hidden, Tensor::cat(records.collect(), 0))
    }
}
