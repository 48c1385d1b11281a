//! Policies that stand for another one: references, boxes, and what wrappers leave to the policy inside.

use burn::tensor::Tensor;

use super::layer_policy::{
    FusedAction, LayerPolicy, LayerStep, NextState, PolicyEffect, SublayerStep,
};
use crate::decision::{Decision, SkippedKeys};
use crate::error::{BoxError, StateAt};
use crate::gate::GateConfig;
use crate::lens::Lens;
use crate::measures::Measures;
use crate::pass::Pass;

/// Implements methods of [`LayerPolicy`] by those of another policy, an expression of `self`. They are named one by one, so
/// that a wrapper shows which ones it implements itself.
macro_rules! delegate {
    ($self:ident, $inner:expr; $($method:ident)*) => {
        $(delegate!(@ $method $self, $inner);)*
    };
    (@ name $self:ident, $inner:expr) => {
        fn name(&$self) -> &str {
            $inner.name()
        }
    };
    (@ gate_config $self:ident, $inner:expr) => {
        fn gate_config(&$self) -> Option<GateConfig> {
            $inner.gate_config()
        }
    };
    (@ fused_action $self:ident, $inner:expr) => {
        fn fused_action(&$self) -> FusedAction {
            $inner.fused_action()
        }
    };
    (@ measures $self:ident, $inner:expr) => {
        fn measures(&$self) -> Measures {
            $inner.measures()
        }
    };
    (@ lens $self:ident, $inner:expr) => {
        fn lens(&$self) -> Option<&Lens> {
            $inner.lens()
        }
    };
    (@ effect $self:ident, $inner:expr) => {
        fn effect(&$self) -> PolicyEffect {
            $inner.effect()
        }
    };
    (@ is_per_token $self:ident, $inner:expr) => {
        fn is_per_token(&$self) -> bool {
            $inner.is_per_token()
        }
    };
    (@ begin $self:ident, $inner:expr) => {
        fn begin(&mut $self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
            $inner.begin(pass, embedding)
        }
    };
    (@ before $self:ident, $inner:expr) => {
        fn before(&mut $self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
            $inner.before(layer_idx, hidden)
        }
    };
    (@ skipped_keys $self:ident, $inner:expr) => {
        fn skipped_keys(&$self) -> SkippedKeys {
            $inner.skipped_keys()
        }
    };
    (@ runs_sublayers_apart $self:ident, $inner:expr) => {
        fn runs_sublayers_apart(&$self, layer_idx: usize) -> bool {
            $inner.runs_sublayers_apart(layer_idx)
        }
    };
    (@ after_sublayer $self:ident, $inner:expr) => {
        fn after_sublayer(&mut $self, step: SublayerStep<'_>) -> Result<Option<Tensor<3>>, BoxError> {
            $inner.after_sublayer(step)
        }
    };
    (@ change_state $self:ident, $inner:expr) => {
        fn change_state(
            &mut $self,
            at: StateAt,
            state: &Tensor<3>,
        ) -> Result<Option<Tensor<3>>, BoxError> {
            $inner.change_state(at, state)
        }
    };
    (@ after $self:ident, $inner:expr) => {
        fn after(&mut $self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
            $inner.after(step)
        }
    };
    (@ finish $self:ident, $inner:expr) => {
        fn finish(&mut $self, hidden: Tensor<3>) -> Tensor<3> {
            $inner.finish(hidden)
        }
    };
}

pub(crate) use delegate;

/// Implements every method by those of the policy that a pointer points to.
macro_rules! delegate_pointer {
    ($pointer:ty) => {
        impl<P: LayerPolicy + ?Sized> LayerPolicy for $pointer {
            delegate! {
                self, (**self);
                name gate_config fused_action measures lens effect is_per_token begin before skipped_keys
                runs_sublayers_apart after_sublayer change_state after finish
            }
        }
    };
}

delegate_pointer!(&mut P);
delegate_pointer!(Box<P>);
