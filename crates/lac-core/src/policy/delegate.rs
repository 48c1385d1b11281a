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

/// Implements methods of [`LayerPolicy`] by those of the policy in the field `inner`. They are named one by one, so that a
/// wrapper shows which ones it implements itself.
macro_rules! delegate {
    ($($method:ident)*) => {
        $(delegate!(@ $method);)*
    };
    (@ name) => {
        fn name(&self) -> &str {
            self.inner.name()
        }
    };
    (@ gate_config) => {
        fn gate_config(&self) -> Option<GateConfig> {
            self.inner.gate_config()
        }
    };
    (@ fused_action) => {
        fn fused_action(&self) -> FusedAction {
            self.inner.fused_action()
        }
    };
    (@ measures) => {
        fn measures(&self) -> Measures {
            self.inner.measures()
        }
    };
    (@ lens) => {
        fn lens(&self) -> Option<&Lens> {
            self.inner.lens()
        }
    };
    (@ effect) => {
        fn effect(&self) -> PolicyEffect {
            self.inner.effect()
        }
    };
    (@ is_per_token) => {
        fn is_per_token(&self) -> bool {
            self.inner.is_per_token()
        }
    };
    (@ begin) => {
        fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
            self.inner.begin(pass, embedding)
        }
    };
    (@ before) => {
        fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
            self.inner.before(layer_idx, hidden)
        }
    };
    (@ skipped_keys) => {
        fn skipped_keys(&self) -> SkippedKeys {
            self.inner.skipped_keys()
        }
    };
    (@ runs_sublayers_apart) => {
        fn runs_sublayers_apart(&self, layer_idx: usize) -> bool {
            self.inner.runs_sublayers_apart(layer_idx)
        }
    };
    (@ after_sublayer) => {
        fn after_sublayer(&mut self, step: SublayerStep<'_>) -> Result<Option<Tensor<3>>, BoxError> {
            self.inner.after_sublayer(step)
        }
    };
    (@ change_state) => {
        fn change_state(
            &mut self,
            at: StateAt,
            state: &Tensor<3>,
        ) -> Result<Option<Tensor<3>>, BoxError> {
            self.inner.change_state(at, state)
        }
    };
    (@ after) => {
        fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
            self.inner.after(step)
        }
    };
    (@ finish) => {
        fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
            self.inner.finish(hidden)
        }
    };
}

pub(crate) use delegate;

/// Implements every method by those of the policy that a pointer points to.
macro_rules! delegate_pointer {
    ($pointer:ty) => {
        impl<P: LayerPolicy + ?Sized> LayerPolicy for $pointer {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn gate_config(&self) -> Option<GateConfig> {
                (**self).gate_config()
            }

            fn fused_action(&self) -> FusedAction {
                (**self).fused_action()
            }

            fn measures(&self) -> Measures {
                (**self).measures()
            }

            fn lens(&self) -> Option<&Lens> {
                (**self).lens()
            }

            fn effect(&self) -> PolicyEffect {
                (**self).effect()
            }

            fn is_per_token(&self) -> bool {
                (**self).is_per_token()
            }

            fn begin(&mut self, pass: &Pass, embedding: &Tensor<3>) -> Result<(), BoxError> {
                (**self).begin(pass, embedding)
            }

            fn before(
                &mut self,
                layer_idx: usize,
                hidden: &Tensor<3>,
            ) -> Result<Decision, BoxError> {
                (**self).before(layer_idx, hidden)
            }

            fn skipped_keys(&self) -> SkippedKeys {
                (**self).skipped_keys()
            }

            fn runs_sublayers_apart(&self, layer_idx: usize) -> bool {
                (**self).runs_sublayers_apart(layer_idx)
            }

            fn after_sublayer(
                &mut self,
                step: SublayerStep<'_>,
            ) -> Result<Option<Tensor<3>>, BoxError> {
                (**self).after_sublayer(step)
            }

            fn change_state(
                &mut self,
                at: StateAt,
                state: &Tensor<3>,
            ) -> Result<Option<Tensor<3>>, BoxError> {
                (**self).change_state(at, state)
            }

            fn after(&mut self, step: LayerStep<'_>) -> Result<NextState, BoxError> {
                (**self).after(step)
            }

            fn finish(&mut self, hidden: Tensor<3>) -> Tensor<3> {
                (**self).finish(hidden)
            }
        }
    };
}

delegate_pointer!(&mut P);
delegate_pointer!(Box<P>);
