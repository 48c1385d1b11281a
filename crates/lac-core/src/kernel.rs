//! The gate as one operation on the device: norms, deltas, thresholds, flags and the choice of the state that is passed
//! on, in one launch that reads each state once.
//!
//! Flex and the CubeCL runtimes have kernels. Everything else (autodiff, other backends, other data types, a backend that
//! was compiled in without this crate's feature) goes through the tensor operations of `gate/portable.rs`.
//! [`Kernel::for_states`] decides that before burn is called, which panics for a backend that an extension does not list.

mod argmax;
#[cfg(feature = "cube")]
mod argmax_ops;
#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "cube")]
mod cube_argmax;
#[cfg(feature = "flex")]
mod flex;
mod layout;
#[cfg(any(feature = "flex", feature = "cube"))]
mod ops;

use burn::tensor::Tensor;

pub(crate) use argmax::argmax;
pub(crate) use layout::{Field, N_FIELDS, Select};

/// The records of consecutive states, `[states, N_FIELDS, batch, seq]`, and the selected states,
/// `[batch, seq, hidden]`.
pub(crate) struct Selected {
    pub records: Tensor<4>,
    pub selected: Tensor<3>,
}

/// Proof that a kernel was compiled in for the states at hand. Without one it cannot be made.
#[cfg(any(feature = "flex", feature = "cube"))]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel(());

/// Proof that a kernel was compiled in for the states at hand. None was, so that it cannot be made.
#[cfg(not(any(feature = "flex", feature = "cube")))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kernel {}

#[cfg(any(feature = "flex", feature = "cube"))]
mod dispatch {
    use burn::backend::{Dispatch, DispatchTensorKind};
    use burn::tensor::{DType, Tensor};

    use super::ops::LacOps;
    use super::{Kernel, Select, Selected};

    impl Kernel {
        /// Returns the kernel for states `[batch, seq, hidden]` of one data type, if there is one for their backend
        /// and data type and there is anything to launch it for: burn reads a zero in the shape of a view as
        /// "unchanged".
        pub(crate) fn for_states(states: &[&Tensor<3>]) -> Option<Self> {
            let dtype = states.first()?.dtype();
            let is_taken = |state: &&Tensor<3>| state.dtype() == dtype && takes(state);
            states.iter().all(is_taken).then_some(Self(()))
        }

        /// Gates consecutive states `[states, batch, seq, hidden]` after the record `before`; returns a record for
        /// each, `[states, N_FIELDS, batch, seq]`.
        pub(crate) fn gate(self, states: Tensor<4>, before: Tensor<3>, alpha: f32) -> Tensor<4> {
            let records = Dispatch::lac_gate(states.into_dispatch(), before.into_dispatch(), alpha);
            Tensor::from_dispatch(records)
        }

        /// As [`gate`](Self::gate), and returns per token the last active one of the states, or the `fallback`
        /// `[batch, seq, hidden]` when none is active.
        pub(crate) fn gate_select(
            self,
            states: Tensor<4>,
            before: Tensor<3>,
            fallback: Tensor<3>,
            alpha: f32,
            select: Select,
        ) -> Selected {
            let out = Dispatch::lac_gate_select(
                states.into_dispatch(),
                before.into_dispatch(),
                fallback.into_dispatch(),
                alpha,
                select,
            );
            Selected {
                records: Tensor::from_dispatch(out.records),
                selected: Tensor::from_dispatch(out.selected),
            }
        }
    }

    fn takes(state: &Tensor<3>) -> bool {
        let has_kernel = matches!(state.dtype(), DType::F32 | DType::F16 | DType::BF16);
        if !has_kernel || state.dims().contains(&0) {
            return false;
        }
        // Under autodiff every float tensor is of that kind, whichever backend lies below.
        match state.clone().into_dispatch().kind {
            #[cfg(feature = "flex")]
            DispatchTensorKind::Flex(_) => true,
            #[cfg(feature = "cube")]
            DispatchTensorKind::Cube(_) => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
}

#[cfg(not(any(feature = "flex", feature = "cube")))]
impl Kernel {
    pub(crate) fn for_states(_states: &[&Tensor<3>]) -> Option<Self> {
        None
    }

    pub(crate) fn gate(self, _states: Tensor<4>, _before: Tensor<3>, _alpha: f32) -> Tensor<4> {
        match self {}
    }

    pub(crate) fn gate_select(
        self,
        _states: Tensor<4>,
        _before: Tensor<3>,
        _fallback: Tensor<3>,
        _alpha: f32,
        _select: Select,
    ) -> Selected {
        match self {}
    }
}
