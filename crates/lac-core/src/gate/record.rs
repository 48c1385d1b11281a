//! What the gate knows of a state, as one tensor on the device.

use burn::tensor::{Bool, DType, FloatDType, Tensor};

use crate::kernel::{Field, N_FIELDS};

/// What the gate says of one layer's output. Every tensor is `[batch, seq]` and stays on the device until it is read.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct GateReading {
    /// `n_l`: the norm after the layer, f32.
    pub norm: Tensor<2>,
    /// `Δ_l`: by how much the layer changed the norm, f32.
    pub delta: Tensor<2>,
    /// `λ_l`: the threshold that the delta is compared with, f32.
    pub threshold: Tensor<2>,
    /// Whether the layer is active for the token: `Δ_l ≥ λ_l`.
    pub active: Tensor<2, Bool>,
}

/// What the gate says of one state, and what the next state is compared with: the rows of [`Field`],
/// `[N_FIELDS, batch, seq]` in f32. Boxed, because a tensor's handle is large.
#[derive(Clone, Debug)]
pub(crate) struct Record(Box<Tensor<3>>);

impl Record {
    pub(super) fn new(rows: Tensor<3>) -> Self {
        Self(Box::new(rows))
    }

    /// The record of rows `[batch, seq]`, in the order of [`Field`].
    pub(super) fn from_rows(rows: [Tensor<2>; N_FIELDS]) -> Self {
        let [batch, seq] = rows[0].dims();
        if batch * seq == 0 {
            // There is nothing to join, and burn joins no empty tensors.
            return Self::new(Tensor::zeros([N_FIELDS, batch, seq], &rows[0].device()));
        }
        let rows = rows.map(|row| row.unsqueeze_dim::<3>(0));
        Self::new(Tensor::cat(rows.into(), 0))
    }

    /// The record that comes before the embedding's: nothing has been seen.
    pub(super) fn before(embedding: &Tensor<3>) -> Self {
        let [batch, seq, _] = embedding.dims();
        let options = (&embedding.device(), DType::F32);
        Self::new(Tensor::zeros([N_FIELDS, batch, seq], options))
    }

    /// All rows, `[N_FIELDS, batch, seq]`.
    pub(crate) fn rows(&self) -> Tensor<3> {
        (*self.0).clone()
    }

    /// One of the rows, `[batch, seq]`.
    pub(crate) fn row(&self, row: Field) -> Tensor<2> {
        self.rows().narrow(0, row as usize, 1).squeeze_dim::<2>(0)
    }

    /// Where the layer is active, `[batch, seq]`.
    pub(super) fn active(&self) -> Tensor<2, Bool> {
        self.row(Field::Active).greater_elem(0.5)
    }

    pub(crate) fn to_reading(&self) -> GateReading {
        GateReading {
            norm: self.row(Field::Norm),
            delta: self.row(Field::Delta),
            threshold: self.row(Field::Threshold),
            active: self.active(),
        }
    }

    /// The same record with a reading that a policy may have amended.
    pub(crate) fn with_reading(&self, reading: GateReading) -> Self {
        let active = as_numbers(reading.active);
        self.with_seen([reading.norm, reading.delta, reading.threshold, active])
    }

    /// The record of a layer that was not run and would have been compared with `threshold` `[batch, seq]`: the norm
    /// stays what it was, the delta is zero, and no token is active.
    pub(super) fn of_skipped_layer(&self, threshold: Tensor<2>) -> Self {
        let norm = self.row(Field::Carried);
        let zero = norm.zeros_like();
        self.with_seen([norm, zero.clone(), threshold, zero])
    }

    /// The same record with other norms, deltas, thresholds and flags, `[batch, seq]` each.
    fn with_seen(&self, seen: [Tensor<2>; 4]) -> Self {
        let first = Field::Carried as usize;
        let rest = self.rows().narrow(0, first, N_FIELDS - first);
        let seen = seen.map(|row| row.unsqueeze_dim::<3>(0));
        Self::new(Tensor::cat(seen.into_iter().chain([rest]).collect(), 0))
    }

    /// The same record where the next layer receives a state of another norm `[batch, seq]`.
    pub(super) fn with_carried(&self, norm: Tensor<2>) -> Self {
        let [batch, seq] = norm.dims();
        let row = Field::Carried as usize;
        let place = [row..row + 1, 0..batch, 0..seq];
        Self::new(self.rows().slice_assign(place, norm.unsqueeze_dim::<3>(0)))
    }
}

/// 1 where a flag is set and 0 elsewhere, in f32.
pub(super) fn as_numbers(flags: Tensor<2, Bool>) -> Tensor<2> {
    flags.float().cast(FloatDType::F32)
}
