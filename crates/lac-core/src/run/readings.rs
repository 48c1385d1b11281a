//! What the gate saw of a pass: on the device until it is read.

use burn::tensor::Tensor;

use crate::decision::Decision;
use crate::error::{Error, Result, StateAt};
use crate::kernel::{Field, N_FIELDS};
use crate::pass::Pass;
use crate::record::{GateRecord, PassRecord};

/// What the gate saw of a pass, still on the device, and which layers were run.
#[derive(Debug)]
pub struct PassReadings {
    /// Shape of the states, `[batch, seq, hidden]`.
    shape: [usize; 3],
    decisions: Vec<Decision>,
    /// The records of the embedding and of every layer, `[1 + layers, N_FIELDS, batch, seq]`.
    records: Option<Box<Tensor<4>>>,
}

impl PassReadings {
    pub(super) fn new(
        shape: [usize; 3],
        decisions: Vec<Decision>,
        records: Option<Tensor<4>>,
    ) -> Self {
        Self {
            shape,
            decisions,
            records: records.map(Box::new),
        }
    }

    /// Returns what the policy decided for each layer.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Returns whether the policy gated this pass.
    pub fn is_gated(&self) -> bool {
        self.records.is_some()
    }

    /// Reads the gate's numbers back to the host, at once, and checks them. `pass` is the one that was run. This waits for
    /// the device.
    ///
    /// # Errors
    /// - [`Error::NonFiniteNorm`] with the first layer and position whose norm is not finite (padding is not checked);
    /// - [`Error::PassShape`] if `pass` is for another batch or sequence length;
    /// - [`Error::Device`] if the device failed.
    pub fn read(self, pass: &Pass) -> Result<PassRecord> {
        let expected = [pass.batch(), pass.seq()];
        if self.shape[..2] != expected {
            let found = self.shape;
            return Err(Error::PassShape { expected, found });
        }
        let gate = match self.records {
            Some(records) => Some(read_records(*records, pass)?),
            None => None,
        };
        Ok(PassRecord {
            pass: pass.clone(),
            decisions: self.decisions,
            gate,
        })
    }
}

/// Reads `[1 + layers, N_FIELDS, batch, seq]`: one tensor, so that the device is waited for once.
fn read_records(records: Tensor<4>, pass: &Pass) -> Result<GateRecord> {
    const READING: &str = "reading what the gate saw";
    let [n_states, _, batch, seq] = records.dims();
    let n_tokens = batch * seq;
    let values = records
        .try_into_data()
        .map_err(|error| Error::device(READING, error))?
        .try_into_vec::<f32>()
        .map_err(|error| Error::device(READING, error))?;
    let rows = |row: Field| {
        let values = &values;
        (0..n_states).map(move |state| {
            let start = (state * N_FIELDS + row as usize) * n_tokens;
            &values[start..start + n_tokens]
        })
    };
    let of_layers = |row: Field| rows(row).skip(1).flatten().copied();
    let record = GateRecord {
        embedding_norms: rows(Field::Norm).take(1).flatten().copied().collect(),
        norms: of_layers(Field::Norm).collect(),
        deltas: of_layers(Field::Delta).collect(),
        thresholds: of_layers(Field::Threshold).collect(),
        active: of_layers(Field::Active).map(|flag| flag != 0.0).collect(),
    };
    check_finite(&record.embedding_norms, |_| StateAt::Embedding, pass)?;
    check_finite(&record.norms, StateAt::Layer, pass)?;
    Ok(record)
}

/// Finds the first norm that is not finite among the tokens that are not padding.
fn check_finite(norms: &[f32], state: impl Fn(usize) -> StateAt, pass: &Pass) -> Result<()> {
    let n_tokens = pass.batch() * pass.seq();
    for (idx, &norm) in norms.iter().enumerate() {
        if norm.is_finite() {
            continue;
        }
        let (layer_idx, token) = (idx / n_tokens, idx % n_tokens);
        let (row, slot) = (token / pass.seq(), token % pass.seq());
        if let Some(position) = pass.position(row, slot) {
            return Err(Error::NonFiniteNorm {
                state: state(layer_idx),
                row,
                position,
                norm,
            });
        }
    }
    Ok(())
}
