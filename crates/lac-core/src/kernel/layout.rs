//! What the gate's operation writes: the fields of a record, and which state it selects.

/// What the kernel writes of a token and a state: the reading, and what the next state is compared with. A record is
/// `[N_FIELDS, batch, seq]` in f32; all zeros before the embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
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
pub(crate) const N_FIELDS: usize = 8;

/// Which state the next layer receives for a token whose layer is void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Select {
    /// The layer's output: the next delta is taken from its norm. The selected states are for another reader, as under
    /// [`LastActive`](crate::LastActive).
    KeepOutput = 0,
    /// The layer's input: the next delta is taken from its norm, as under [`Bypass`](crate::Bypass).
    KeepInput = 1,
}

/// Returns the records' shape for states `[states, batch, seq, hidden]`.
#[cfg(feature = "cube")]
pub(super) fn records_shape(states: &burn::tensor::Shape) -> burn::tensor::Shape {
    [states[0], N_FIELDS, states[1], states[2]].into()
}
