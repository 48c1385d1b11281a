//! The trait that policies implement, and what they are given and return.

use burn::tensor::{Bool, Tensor};

use crate::decision::{Decision, SkippedKeys};
use crate::error::BoxError;
use crate::gate::{GateConfig, GateReading};
use crate::pass::Pass;

/// Which state goes on to the next layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NextState {
    /// The layer's output.
    Output,
    /// The layer's output where the mask `[batch, seq]` holds, its input elsewhere.
    OutputWhere(Tensor<2, Bool>),
    /// Another state altogether, `[batch, seq, hidden]`; the gate measures its norm anew.
    State(Tensor<3>),
}

/// A layer that has just been run.
#[derive(Debug)]
#[non_exhaustive]
pub struct LayerStep<'a> {
    /// Index of the layer, from 0.
    pub layer_idx: usize,
    /// The state that went in, `[batch, seq, hidden]`.
    pub input: &'a Tensor<3>,
    /// The state that came out, `[batch, seq, hidden]`.
    pub output: &'a Tensor<3>,
    /// The norm of the state that went in, `[batch, seq]`, when the policy gates.
    pub input_norm: Option<&'a Tensor<2>>,
    /// The gate's verdict, when [`LayerPolicy::gate_config`] asked for one. A policy may amend it, for
    /// instance for tokens it has taken out of the run: observers see the amended reading.
    pub reading: Option<&'a mut GateReading>,
}

/// What the loop may do for a policy inside the gate's own launch, instead of asking it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FusedAction {
    /// Nothing: [`LayerPolicy::after`] is asked after every layer, with the gate's verdict.
    #[default]
    Stepwise,
    /// The policy only observes: every output goes on, [`LayerPolicy::after`] is not asked.
    Observe,
    /// As [`LastActive`](crate::LastActive): every output goes on, and [`LayerPolicy::finish`] receives, per token,
    /// the output of the last active layer. [`LayerPolicy::after`] is not asked.
    LastActive,
    /// As [`Bypass`](crate::Bypass): the output goes on where the layer is active, its input elsewhere.
    /// [`LayerPolicy::after`] is not asked.
    Bypass,
}

/// How a policy's results differ from the full model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PolicyEffect {
    /// The results are the full model's, as under [`Off`](crate::Off) and [`Trace`](crate::Trace).
    FullModel,
    /// Every layer is run, and on the full model's states: only the state that the head receives differs, as under
    /// [`LastActive`](crate::LastActive).
    FullStates,
    /// The states between layers may differ from the full model's, as under [`Bypass`](crate::Bypass), [`Halt`](crate::Halt) and [`Planned`](crate::Planned).
    #[default]
    ChangedStates,
}

/// Asked before a layer whether to run it, and after it which state goes on.
///
/// One policy object serves many passes; [`begin`](Self::begin) opens each of them. All state
/// that belongs to a pass has to be reset there.
///
/// ```
/// use lac_core::{BoxError, Decision, LayerPolicy};
/// use burn::tensor::Tensor;
///
/// /// Runs every second layer.
/// struct EverySecond;
///
/// impl LayerPolicy for EverySecond {
///     fn name(&self) -> &str {
///         "every-second"
///     }
///     fn before(&mut self, layer_idx: usize, _: &Tensor<3>) -> Result<Decision, BoxError> {
///         Ok(if layer_idx % 2 == 0 { Decision::Run } else { Decision::Skip })
///     }
/// }
/// assert!(EverySecond.gate_config().is_none());
/// ```
pub trait LayerPolicy {
    /// The policy's name in reports.
    fn name(&self) -> &str;

    /// The gate to measure every layer with; `None` (the default) measures nothing.
    fn gate_config(&self) -> Option<GateConfig> {
        None
    }

    /// What the loop may do inside the gate's launch instead of asking
    /// [`after`](Self::after); by default nothing. Has no meaning without a
    /// [`gate_config`](Self::gate_config).
    ///
    /// States that do not change between layers can be gated all at once: a pass over one token
    /// per row under [`FusedAction::Observe`] or [`FusedAction::LastActive`] is one launch at its end.
    fn fused_action(&self) -> FusedAction {
        FusedAction::Stepwise
    }

    /// How the results differ from the full model's. Called by reports and benchmarks, never by the loop over layers.
    ///
    /// The default, [`PolicyEffect::ChangedStates`], promises nothing. A policy that promises more than it keeps has
    /// its results reported as those of the full model.
    fn effect(&self) -> PolicyEffect {
        PolicyEffect::ChangedStates
    }

    /// Whether everything that a pass says of a token follows from the token itself and the ones before it in its
    /// own row: its state and what the gate reports of it. Called before texts are scored: they may then be fed in
    /// pieces, each a pass of the same phase over the tokens that follow the last piece, and may share the pass over a
    /// common beginning.
    ///
    /// The default, `false`, is always right and costs only time. A policy that returns `true` and yet decides about
    /// a sequence as a whole, as [`Halt`](crate::Halt) does, or about a batch, gives other results for the same text, depending on
    /// how it is fed.
    fn is_per_token(&self) -> bool {
        false
    }

    /// Opens a pass. `embedding` is the state before the first layer, `[batch, seq, hidden]`.
    ///
    /// # Errors
    /// Whatever the policy cannot go on with; it ends the pass, as
    /// [`Error::Policy`](crate::Error::Policy) at layer 0.
    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        let _ = (pass, embedding);
        Ok(())
    }

    /// Whether to run the layer, given the state that it would receive, `[batch, seq, hidden]`; by
    /// default every layer is.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin), at this layer.
    fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        let _ = (layer_idx, hidden);
        Ok(Decision::Run)
    }

    /// What becomes of the keys and values of layers whose attention is not run; by default they
    /// are filled in.
    fn skipped_keys(&self) -> SkippedKeys {
        SkippedKeys::Fill
    }

    /// Which state goes on after a layer was run; by default its output. Of a layer that was run
    /// in part, the part's output stands for the layer's.
    ///
    /// # Errors
    /// As for [`begin`](Self::begin), at this layer.
    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        let _ = step;
        Ok(NextState::Output)
    }

    /// The state handed to the final norm, `[batch, seq, hidden]`; by default the one that left
    /// the last layer.
    fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
        hidden
    }
}
