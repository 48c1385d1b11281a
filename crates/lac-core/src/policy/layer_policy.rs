//! The trait that policies implement, and what they are given and return.

use burn::tensor::{Bool, Tensor};

use crate::decision::{Decision, SkippedKeys};
use crate::error::{BoxError, StateAt};
use crate::gate::{GateConfig, GateReading};
use crate::lens::Lens;
use crate::measures::Measures;
use crate::pass::Pass;
use crate::stack::Sublayer;

/// Returned by [`LayerPolicy::after`]: which hidden state the next layer receives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NextState {
    /// The layer's output.
    Output,
    /// The layer's output where the mask `[batch, seq]` holds, its input elsewhere.
    OutputWhere(Tensor<2, Bool>),
    /// Another state, `[batch, seq, hidden]`. The gate measures its norm, and the next layer's delta is taken from
    /// it.
    State(Tensor<3>),
}

/// A layer that has just been run, as [`LayerPolicy::after`] receives it.
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
    /// The gate's reading of the output, when [`LayerPolicy::gate_config`] returned a gate. A policy may change it, for
    /// instance for tokens that it no longer counts: observers see the changed reading.
    pub reading: Option<&'a mut GateReading>,
}

/// A sublayer that has just been run, as [`LayerPolicy::after_sublayer`] receives it.
#[derive(Debug)]
#[non_exhaustive]
pub struct SublayerStep<'a> {
    /// Index of the layer, from 0.
    pub layer_idx: usize,
    /// The sublayer.
    pub sublayer: Sublayer,
    /// The state that went in, `[batch, seq, hidden]`.
    pub input: &'a Tensor<3>,
    /// The state that came out, `[batch, seq, hidden]`.
    pub output: &'a Tensor<3>,
}

/// What the gate's kernel may do for a policy, so that [`LayerPolicy::after`] need not be called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FusedAction {
    /// Nothing: [`LayerPolicy::after`] is called after every layer that was run, with the gate's reading.
    #[default]
    Stepwise,
    /// The policy only observes: every output is passed on. [`LayerPolicy::after`] is not called.
    Observe,
    /// As [`LastActive`](crate::LastActive): every output is passed on, and [`LayerPolicy::finish`] receives, for each
    /// token, the output of its last active layer. [`LayerPolicy::after`] is not called.
    LastActive,
    /// As [`Bypass`](crate::Bypass): the output is passed on where the layer is active, its input elsewhere.
    /// [`LayerPolicy::after`] is not called.
    Bypass,
}

/// Returned by [`LayerPolicy::effect`]: how a policy's results differ from the full model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PolicyEffect {
    /// The results are the full model's, as under [`Off`](crate::Off) and [`Trace`](crate::Trace).
    FullModel,
    /// Every layer is run, and on the full model's states: only the state that the head receives differs, as under
    /// [`LastActive`](crate::LastActive).
    FullStates,
    /// The states between layers may differ from the full model's, as under [`Bypass`](crate::Bypass),
    /// [`Halt`](crate::Halt) and [`Planned`](crate::Planned).
    #[default]
    ChangedStates,
}

/// Decides, before each layer, whether to run it and, after it, which hidden state is passed on.
///
/// In each pass [`run_layers`](crate::run_layers) calls [`fused_action`](Self::fused_action) and
/// [`gate_config`](Self::gate_config), then [`begin`](Self::begin) and [`change_state`](Self::change_state) for the embedding;
/// then, for every layer in turn, [`before`](Self::before), [`skipped_keys`](Self::skipped_keys) where the layer's attention is
/// not run, [`change_state`](Self::change_state), and [`after`](Self::after) where any of the layer is run; and
/// [`finish`](Self::finish) at the end. One policy serves many passes, so whatever belongs to a single pass has to be reset in
/// `begin`.
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
    /// Returns the policy's name in reports and error messages. It decides nothing: two policies may share a name.
    fn name(&self) -> &str;

    /// Returns the gate that measures every layer, or `None` (the default) to measure nothing. Called once at the start of
    /// each pass, before [`begin`](Self::begin).
    fn gate_config(&self) -> Option<GateConfig> {
        None
    }

    /// Returns what the gate's kernel may do in place of [`after`](Self::after); nothing by default. Called once at the
    /// start of each pass. Without a [`gate_config`](Self::gate_config) it has no effect.
    ///
    /// States that do not change between layers can be gated together: under [`FusedAction::Observe`] and
    /// [`FusedAction::LastActive`], a pass over one token per row is gated in one launch at its end.
    fn fused_action(&self) -> FusedAction {
        FusedAction::Stepwise
    }

    /// Returns what is measured of every layer beside the norm; nothing by default. Called once at the start of each pass.
    fn measures(&self) -> Measures {
        Measures::Off
    }

    /// Returns the lens through which the states of a pass are seen at its end, or `None` (the default). Called at the start
    /// and at the end of each pass. All of a pass's states are kept until then.
    fn lens(&self) -> Option<&Lens> {
        None
    }

    /// Returns how the results differ from the full model's. Called by reports and benchmarks, never by the loop over
    /// layers.
    ///
    /// The default, [`PolicyEffect::ChangedStates`], promises nothing. Promise more only if it holds: results are then
    /// reported as those of the full model.
    fn effect(&self) -> PolicyEffect {
        PolicyEffect::ChangedStates
    }

    /// Returns whether a token's state and reading follow from that token and the ones before it in its row alone.
    /// Called before texts are scored. If so, a text may be fed in pieces (each a pass of the same phase over the tokens
    /// after the last piece), and texts may share the pass over a common beginning.
    ///
    /// The default, `false`, is always right and costs only time. A policy that returns `true` and yet decides about a
    /// whole sequence, as [`Halt`](crate::Halt) does, or about a batch, gives results that depend on how a text is fed.
    fn is_per_token(&self) -> bool {
        false
    }

    /// Opens a pass. Called once for each pass, before its first layer; does nothing by default. `embedding` is the state
    /// before the first layer, `[batch, seq, hidden]`.
    ///
    /// # Errors
    /// An error ends the pass: [`run_layers`](crate::run_layers) returns it as [`Error::Policy`](crate::Error::Policy) at
    /// layer 0.
    fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
        let _ = (pass, embedding);
        Ok(())
    }

    /// Returns what of a layer is run. Called once for each layer of a pass, in their order, before the layer; by default
    /// every layer is run. `hidden` is the state that the layer would receive, `[batch, seq, hidden]`. To read it is to
    /// wait for the device.
    ///
    /// # Errors
    /// An error ends the pass, as [`Error::Policy`](crate::Error::Policy) at this layer.
    fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
        let _ = (layer_idx, hidden);
        Ok(Decision::Run)
    }

    /// Returns what happens to the keys and values of a layer whose attention is not run; they are filled in by default.
    /// Called after [`before`](Self::before), for each such layer.
    fn skipped_keys(&self) -> SkippedKeys {
        SkippedKeys::Fill
    }

    /// Returns whether attention and MLP of a layer are to be run one after the other, with
    /// [`after_sublayer`](Self::after_sublayer) called after each; not by default. Called once for each layer of a pass,
    /// after [`before`](Self::before). The model has to implement [`LayerStack::sublayers`](crate::LayerStack::sublayers).
    fn runs_sublayers_apart(&self, layer_idx: usize) -> bool {
        let _ = layer_idx;
        false
    }

    /// Returns another state for a sublayer's output, `[batch, seq, hidden]`; `None`, the default, leaves it as it is. Called
    /// after each sublayer that was run of a layer for which [`runs_sublayers_apart`](Self::runs_sublayers_apart) is true.
    ///
    /// # Errors
    /// An error ends the pass, as [`Error::Policy`](crate::Error::Policy) at this layer.
    fn after_sublayer(&mut self, step: SublayerStep<'_>) -> Result<Option<Tensor<3>>, BoxError> {
        let _ = step;
        Ok(None)
    }

    /// Returns another state in place of the embedding or of a layer's output, `[batch, seq, hidden]`; `None`, the default,
    /// leaves it as it is. Called once for each state of a pass, after layers that were not run too: `state` is then the one
    /// that passed by.
    ///
    /// Whatever is returned counts as what the layer itself has done: the gate measures it, and [`after`](Self::after)
    /// receives it, also after a layer that was not run.
    ///
    /// # Errors
    /// An error ends the pass, as [`Error::Policy`](crate::Error::Policy) at this layer.
    fn change_state(
        &mut self,
        at: StateAt,
        state: &Tensor<3>,
    ) -> Result<Option<Tensor<3>>, BoxError> {
        let _ = (at, state);
        Ok(None)
    }

    /// Returns which state the next layer receives; the layer's output by default. Called once after each layer that was
    /// run, whole or in part, unless [`fused_action`](Self::fused_action) leaves it to the gate's kernel. After a layer
    /// that was run in part, the step's output is that part's.
    ///
    /// # Errors
    /// An error ends the pass, as [`Error::Policy`](crate::Error::Policy) at this layer.
    fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
        let _ = step;
        Ok(NextState::Output)
    }

    /// Returns the state for the final norm, `[batch, seq, hidden]`; `hidden`, the state after the last layer, by default.
    /// Called once at the end of each pass that no error has ended. Under [`FusedAction::LastActive`], `hidden` holds
    /// the output of each token's last active layer.
    fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
        hidden
    }
}
