//! The gate as one operation on the device: norms, deltas, thresholds, verdicts and the choice of
//! the state that goes on, in one launch that reads each state once.
//!
//! Flex and the CubeCL runtimes have kernels; everything else (autodiff, other backends, other
//! data types, a backend compiled in without this crate's feature) goes through the tensor
//! operations of [`portable`](crate::gate::portable). [`is_fused`] decides which, before burn is
//! asked: a backend that an extension does not list would panic.

#[cfg(feature = "cube")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
#[cfg(any(feature = "flex", feature = "cube"))]
mod ops;

use burn::tensor::Tensor;

/// What the kernel writes of a token and a state: the reading, and what the next state is held
/// against. A record is `[ROWS, batch, seq]` in f32; all zeros before the embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(any(feature = "flex", feature = "cube")), allow(dead_code))]
pub(crate) enum Row {
    /// `n_l`.
    Norm = 0,
    /// `Δ_l`.
    Delta = 1,
    /// `λ_l`.
    Threshold = 2,
    /// 1 where the layer is active, 0 elsewhere.
    Active = 3,
    /// The norm of the state that the next layer receives.
    Carried = 4,
    /// The largest delta so far.
    Max = 5,
    /// The smallest delta so far.
    Min = 6,
    /// How many states the gate has seen, the embedding included.
    Seen = 7,
}

/// Number of rows of a record.
pub(crate) const ROWS: usize = 8;

/// What a token whose layer is void goes on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Select {
    /// The layer's output all the same: later deltas are held against its norm. A selecting gate
    /// picks states for another reader, as [`LastActive`](crate::LastActive) does.
    KeepOutput = 0,
    /// The layer's input: later deltas are held against its norm, as in
    /// [`Bypass`](crate::Bypass).
    KeepInput = 1,
}

/// The records of consecutive states, `[states, ROWS, batch, seq]`, and the selected states,
/// `[batch, seq, hidden]`.
#[cfg_attr(not(any(feature = "flex", feature = "cube")), allow(dead_code))]
pub(crate) struct Selected {
    pub records: Tensor<4>,
    pub selected: Tensor<3>,
}

#[cfg(any(feature = "flex", feature = "cube"))]
mod dispatch {
    use burn::backend::{Dispatch, DispatchTensorKind};
    use burn::tensor::{DType, Tensor};

    use super::ops::LacOps;
    use super::{Select, Selected};

    /// Whether a kernel for the states' backend and data type was compiled in, and there is
    /// anything to launch it for: burn reads a zero in the shape of a view as "unchanged".
    pub(crate) fn is_fused(states: &Tensor<3>) -> bool {
        let has_kernel = matches!(states.dtype(), DType::F32 | DType::F16 | DType::BF16);
        if !has_kernel || states.dims().contains(&0) {
            return false;
        }
        // Under autodiff every float tensor is of that kind, whichever backend lies below.
        match states.clone().into_dispatch().kind {
            #[cfg(feature = "flex")]
            DispatchTensorKind::Flex(_) => true,
            #[cfg(feature = "cube")]
            DispatchTensorKind::Cube(_) => true,
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }

    /// Gates consecutive states `[states, batch, seq, hidden]` after the record `before`.
    ///
    /// Only for states that [`is_fused`] accepts.
    pub(crate) fn gate(states: Tensor<4>, before: Tensor<3>, alpha: f32) -> Tensor<4> {
        let records = Dispatch::lac_gate(states.into_dispatch(), before.into_dispatch(), alpha);
        Tensor::from_dispatch(records)
    }

    /// The same, and per token the last active one of the states, or the `fallback`
    /// `[batch, seq, hidden]` when none is active.
    pub(crate) fn gate_select(
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

    /// The records' shape for states `[states, batch, seq, hidden]`.
    #[cfg(feature = "cube")]
    pub(super) fn records_shape(states: &burn::tensor::Shape) -> burn::tensor::Shape {
        [states[0], super::ROWS, states[1], states[2]].into()
    }
}

#[cfg(feature = "cube")]
use dispatch::records_shape;
#[cfg(any(feature = "flex", feature = "cube"))]
pub(crate) use dispatch::{gate, gate_select, is_fused};
