//! The gate through the kernels: its state is the record of the last state it has seen.

use burn::tensor::{Bool, DType, Tensor};

use super::portable::PortableGate;
use super::{GateConfig, Record, l2_norm};
use crate::kernel::{self, ROWS, Row, Select};

/// The running state over the layers of one pass, per token.
#[derive(Clone, Debug)]
pub(super) struct FusedGate {
    alpha: f32,
    record: Record,
    /// Layers judged so far.
    n_layers: usize,
}

/// The records of a pass gated in one launch, and what the final norm receives when the last
/// active states were asked for.
pub(crate) struct GatedAtOnce {
    /// The embedding's and every layer's, `[1 + layers, ROWS, batch, seq]`.
    pub records: Tensor<4>,
    /// `[batch, seq, hidden]`.
    pub selected: Option<Tensor<3>>,
}

impl FusedGate {
    /// `None` when there is no kernel for the embedding's device and data type.
    pub(super) fn start(alpha: f32, embedding: &Tensor<3>) -> Option<Self> {
        kernel::is_fused(embedding).then(|| {
            let mut gate = Self {
                alpha,
                record: before(embedding),
                n_layers: 0,
            };
            gate.record = gate.gate(embedding);
            gate
        })
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// Whether the kernel can take these states in one launch.
    pub(super) fn takes(&self, states: &[&Tensor<3>]) -> bool {
        let dtype = states[0].dtype();
        // The record is a tensor of another kind once a policy has put one of its own in.
        kernel::is_fused(&self.record.rows())
            && states
                .iter()
                .all(|state| state.dtype() == dtype && kernel::is_fused(state))
    }

    /// The same gate in tensor operations.
    pub(super) fn to_portable(&self) -> PortableGate {
        let extremes =
            (self.n_layers > 0).then(|| (self.record.row(Row::Max), self.record.row(Row::Min)));
        // A kernel computes in f32 only.
        let config = GateConfig::new(self.alpha);
        PortableGate::resume(config, self.record.row(Row::Carried), extremes)
    }

    pub(super) fn measure(&mut self, output: &Tensor<3>) -> Record {
        self.record = self.gate(output);
        self.n_layers += 1;
        self.record.clone()
    }

    fn gate(&self, state: &Tensor<3>) -> Record {
        let states = state.clone().unsqueeze_dim::<4>(0);
        let records = kernel::gate(states, self.record.rows(), self.alpha);
        Record::new(records.squeeze_dim::<3>(0))
    }

    pub(super) fn measure_select(
        &mut self,
        output: Tensor<3>,
        fallback: Tensor<3>,
        select: Select,
    ) -> (Record, Tensor<3>) {
        let out = kernel::gate_select(
            output.unsqueeze_dim::<4>(0),
            self.record.rows(),
            fallback,
            self.alpha,
            select,
        );
        self.record = Record::new(out.records.squeeze_dim::<3>(0));
        self.n_layers += 1;
        (self.record.clone(), out.selected)
    }

    pub(super) fn next_threshold(&self) -> Tensor<2> {
        // The first layer's record has equal extremes, the embedding's has zeros.
        (self.record.row(Row::Max) - self.record.row(Row::Min)) * self.alpha
    }

    pub(super) fn kept(&mut self, output_kept: Tensor<2, Bool>, input_norm: Tensor<2>) {
        let measured = self.record.row(Row::Carried);
        self.carry(input_norm.mask_where(output_kept, measured));
    }

    pub(super) fn replaced(&mut self, state: &Tensor<3>) {
        self.carry(l2_norm(state));
    }

    fn carry(&mut self, norm: Tensor<2>) {
        let [batch, seq] = norm.dims();
        let row = Row::Carried as usize;
        let rows = self.record.rows();
        let rows = rows.slice_assign([row..row + 1, 0..batch, 0..seq], norm.unsqueeze_dim::<3>(0));
        self.record = Record::new(rows);
    }
}

/// A pass whose states wait to be gated in one launch at its end.
#[derive(Debug)]
pub(crate) struct WaitingGate {
    alpha: f32,
    /// The embedding and the outputs so far.
    states: Vec<Tensor<3>>,
}

impl WaitingGate {
    /// `None` when there is no kernel for the embedding's device and data type.
    pub(super) fn start(alpha: f32, embedding: &Tensor<3>) -> Option<Self> {
        kernel::is_fused(embedding).then(|| Self {
            alpha,
            states: vec![embedding.clone()],
        })
    }

    /// Whether the state can wait with the others.
    pub(crate) fn takes(&self, output: &Tensor<3>) -> bool {
        output.dtype() == self.states[0].dtype() && kernel::is_fused(output)
    }

    /// Takes the output of a layer whose input was the state before it.
    pub(crate) fn push(&mut self, output: Tensor<3>) {
        self.states.push(output);
    }

    /// The embedding and the outputs so far.
    pub(crate) fn states(&self) -> &[Tensor<3>] {
        &self.states
    }

    /// Gates all states; with `select` also picks, per token, the last active one, the embedding
    /// where there is none.
    pub(crate) fn finish(self, select: Option<Select>) -> GatedAtOnce {
        let embedding = self.states[0].clone();
        let before = before(&embedding).rows();
        let states = Tensor::stack::<4>(self.states, 0);
        match select {
            None => GatedAtOnce {
                records: kernel::gate(states, before, self.alpha),
                selected: None,
            },
            Some(select) => {
                let out = kernel::gate_select(states, before, embedding, self.alpha, select);
                GatedAtOnce {
                    records: out.records,
                    selected: Some(out.selected),
                }
            }
        }
    }
}

/// The record that the embedding follows.
fn before(embedding: &Tensor<3>) -> Record {
    let [batch, seq, _] = embedding.dims();
    let options = (&embedding.device(), DType::F32);
    Record::new(Tensor::zeros([ROWS, batch, seq], options))
}
