//! Policies that stand for another one: references, boxes, and what wrappers leave to the policy inside.

use super::layer_policy::LayerPolicy;

/// Implements methods of [`LayerPolicy`] by those of another policy, an expression of `self`. They are named one by one, so
/// that a wrapper shows which ones it implements itself: those that it leaves out of both have the trait's defaults.
///
/// ```
/// use burn::tensor::Tensor;
/// use lac_core::{BoxError, Decision, LayerPolicy, Trace, delegate};
///
/// /// Counts the layers that another policy was asked about.
/// struct Counted<P> {
///     inner: P,
///     n_asked: usize,
/// }
///
/// impl<P: LayerPolicy> LayerPolicy for Counted<P> {
///     delegate! {
///         self, self.inner;
///         name gate_config fused_action measures lens effect is_per_token begin skipped_keys runs_sublayers_apart
///         after_sublayer change_state after finish
///     }
///
///     fn before(&mut self, layer_idx: usize, hidden: &Tensor<3>) -> Result<Decision, BoxError> {
///         self.n_asked += 1;
///         self.inner.before(layer_idx, hidden)
///     }
/// }
///
/// let counted = Counted { inner: Trace::default(), n_asked: 0 };
/// assert_eq!(counted.name(), "trace");
/// ```
#[macro_export]
macro_rules! delegate {
    ($self:ident, $inner:expr; $($method:ident)*) => {
        $($crate::delegate!(@ $method $self, $inner);)*
    };
    (@ name $self:ident, $inner:expr) => {
        fn name(&$self) -> &str {
            $inner.name()
        }
    };
    (@ gate_config $self:ident, $inner:expr) => {
        fn gate_config(&$self) -> ::core::option::Option<$crate::GateConfig> {
            $inner.gate_config()
        }
    };
    (@ fused_action $self:ident, $inner:expr) => {
        fn fused_action(&$self) -> $crate::policy::FusedAction {
            $inner.fused_action()
        }
    };
    (@ measures $self:ident, $inner:expr) => {
        fn measures(&$self) -> $crate::measures::Measures {
            $inner.measures()
        }
    };
    (@ lens $self:ident, $inner:expr) => {
        fn lens(&$self) -> ::core::option::Option<&$crate::lens::Lens> {
            $inner.lens()
        }
    };
    (@ effect $self:ident, $inner:expr) => {
        fn effect(&$self) -> $crate::PolicyEffect {
            $inner.effect()
        }
    };
    (@ is_per_token $self:ident, $inner:expr) => {
        fn is_per_token(&$self) -> bool {
            $inner.is_per_token()
        }
    };
    (@ begin $self:ident, $inner:expr) => {
        fn begin(&mut $self, pass: &$crate::Pass, embedding: &::burn::tensor::Tensor<3>) -> ::core::result::Result<(), $crate::BoxError> {
            $inner.begin(pass, embedding)
        }
    };
    (@ before $self:ident, $inner:expr) => {
        fn before(&mut $self, layer_idx: usize, hidden: &::burn::tensor::Tensor<3>) -> ::core::result::Result<$crate::Decision, $crate::BoxError> {
            $inner.before(layer_idx, hidden)
        }
    };
    (@ skipped_keys $self:ident, $inner:expr) => {
        fn skipped_keys(&$self) -> $crate::SkippedKeys {
            $inner.skipped_keys()
        }
    };
    (@ runs_sublayers_apart $self:ident, $inner:expr) => {
        fn runs_sublayers_apart(&$self, layer_idx: usize) -> bool {
            $inner.runs_sublayers_apart(layer_idx)
        }
    };
    (@ after_sublayer $self:ident, $inner:expr) => {
        fn after_sublayer(&mut $self, step: $crate::policy::SublayerStep<'_>) -> ::core::result::Result<::core::option::Option<::burn::tensor::Tensor<3>>, $crate::BoxError> {
            $inner.after_sublayer(step)
        }
    };
    (@ change_state $self:ident, $inner:expr) => {
        fn change_state(
            &mut $self,
            at: $crate::error::StateAt,
            state: &::burn::tensor::Tensor<3>,
        ) -> ::core::result::Result<::core::option::Option<::burn::tensor::Tensor<3>>, $crate::BoxError> {
            $inner.change_state(at, state)
        }
    };
    (@ after $self:ident, $inner:expr) => {
        fn after(&mut $self, step: $crate::LayerStep<'_>) -> ::core::result::Result<$crate::NextState, $crate::BoxError> {
            $inner.after(step)
        }
    };
    (@ finish $self:ident, $inner:expr) => {
        fn finish(&mut $self, hidden: ::burn::tensor::Tensor<3>) -> ::burn::tensor::Tensor<3> {
            $inner.finish(hidden)
        }
    };
}

/// Implements every method by those of the policy that a pointer points to.
macro_rules! delegate_pointer {
    ($pointer:ty) => {
        impl<P: LayerPolicy + ?Sized> LayerPolicy for $pointer {
            $crate::delegate! {
                self, (**self);
                name gate_config fused_action measures lens effect is_per_token begin before skipped_keys
                runs_sublayers_apart after_sublayer change_state after finish
            }
        }
    };
}

delegate_pointer!(&mut P);
delegate_pointer!(Box<P>);
