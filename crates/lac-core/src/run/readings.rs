//! What the gate saw of a pass: on the device until it is read.

use burn::tensor::{Tensor, TensorData, Transaction};

use crate::error::{Error, Result, StateAt};
use crate::gate::Verdict;
use crate::kernel::{ROWS, Row};
use crate::pass::{GateRecord, Pass, PassRecord};
use crate::policy::Decision;

/// What the gate saw of a pass, still on the device.
#[derive(Debug)]
pub struct PassReadings {
    /// Batch and sequence length of the pass.
    shape: [usize; 2],
    decisions: Vec<Decision>,
    gated: Option<GatedPass>,
}

/// The gate's numbers of a pass.
#[derive(Debug)]
pub(super) enum GatedPass {
    /// What was seen of the embedding and of each layer.
    Layers {
        embedding: Verdict,
        layers: Vec<LayerReading>,
    },
    /// Everything in one tensor, `[1 + layers, ROWS, batch, seq]`, the embedding first.
    AtOnce { records: Box<Tensor<4>> },
}

/// What is known of one layer.
#[derive(Debug)]
pub(super) enum LayerReading {
    Run(Verdict),
    NotRun(Box<PassedBy>),
}

/// A layer that was not run, `[batch, seq]` each.
#[derive(Debug)]
pub(super) struct PassedBy {
    /// Norm of the state that passed by.
    pub norm: Tensor<2>,
    /// The threshold that the layer would have been held against.
    pub threshold: Tensor<2>,
}

const READING: &str = "reading what the gate saw";

impl PassReadings {
    pub(super) fn new(
        shape: [usize; 2],
        decisions: Vec<Decision>,
        gated: Option<GatedPass>,
    ) -> Self {
        Self {
            shape,
            decisions,
            gated,
        }
    }

    /// For each layer, what the policy decided.
    pub fn decisions(&self) -> &[Decision] {
        &self.decisions
    }

    /// Whether the policy gated this pass.
    pub fn is_gated(&self) -> bool {
        self.gated.is_some()
    }

    /// Brings the gate's numbers to the host in one read and checks them.
    ///
    /// # Errors
    /// [`Error::NonFiniteNorm`] naming the first layer and position whose norm is not finite
    /// (padding is not looked at); [`Error::Device`] when the device failed.
    pub fn read(self, pass: &Pass) -> Result<PassRecord> {
        let expected = [pass.batch(), pass.seq()];
        let [batch, seq] = self.shape;
        if self.shape != expected {
            let found = [batch, seq, 0];
            return Err(Error::PassShape { expected, found });
        }
        let gate = match self.gated {
            Some(gated) => Some(gated.read(pass)?),
            None => None,
        };
        Ok(PassRecord {
            pass: pass.clone(),
            decisions: self.decisions,
            gate,
        })
    }
}

impl GatedPass {
    fn read(self, pass: &Pass) -> Result<GateRecord> {
        let record = match self {
            Self::AtOnce { records } => read_records(*records)?,
            Self::Layers { embedding, layers } => match in_records(&embedding, &layers) {
                Some(records) => read_records(Tensor::cat(records, 0))?,
                None => read_columns(embedding, layers, pass)?,
            },
        };
        check_finite(&record.embedding_norms, |_| StateAt::Embedding, pass)?;
        check_finite(&record.norms, StateAt::Layer, pass)?;
        Ok(record)
    }
}

/// The records of the embedding and all layers, `[1, ROWS, batch, seq]` each, if there is no
/// other reading among them.
fn in_records(embedding: &Verdict, layers: &[LayerReading]) -> Option<Vec<Tensor<4>>> {
    let layers = layers.iter().map(|layer| match layer {
        LayerReading::Run(verdict) => Some(verdict),
        LayerReading::NotRun(_) => None,
    });
    std::iter::once(Some(embedding))
        .chain(layers)
        .map(|verdict| match verdict {
            Some(Verdict::Record(record)) => Some(record.rows().unsqueeze_dim::<4>(0)),
            _ => None,
        })
        .collect()
}

/// Reads `[1 + layers, ROWS, batch, seq]`: one tensor, so that the device is waited for once.
fn read_records(records: Tensor<4>) -> Result<GateRecord> {
    let [n_states, _, batch, seq] = records.dims();
    let n_tokens = batch * seq;
    let values = floats(records.try_into_data())?;
    let rows = |row: Row| {
        let values = &values;
        (0..n_states).map(move |state| {
            let start = (state * ROWS + row as usize) * n_tokens;
            &values[start..start + n_tokens]
        })
    };
    let of_layers = |row: Row| rows(row).skip(1).flatten().copied();
    Ok(GateRecord {
        embedding_norms: rows(Row::Norm).take(1).flatten().copied().collect(),
        norms: of_layers(Row::Norm).collect(),
        deltas: of_layers(Row::Delta).collect(),
        thresholds: of_layers(Row::Threshold).collect(),
        active: of_layers(Row::Active).map(|flag| flag != 0.0).collect(),
    })
}

/// Reads tensors that lie apart.
fn read_columns(embedding: Verdict, layers: Vec<LayerReading>, pass: &Pass) -> Result<GateRecord> {
    let n_layers = layers.len();
    let mut norms = vec![embedding.into_reading().norm];
    let mut deltas = Vec::with_capacity(n_layers);
    let mut thresholds = Vec::with_capacity(n_layers);
    let mut active = Vec::with_capacity(n_layers);
    for layer in layers {
        let (norm, delta, threshold, flag) = match layer {
            LayerReading::Run(verdict) => {
                let reading = verdict.into_reading();
                let flag = reading.active.float();
                (reading.norm, reading.delta, reading.threshold, flag)
            }
            LayerReading::NotRun(passed_by) => {
                let PassedBy { norm, threshold } = *passed_by;
                let zeros = norm.zeros_like();
                (norm, zeros.clone(), threshold, zeros)
            }
        };
        norms.push(norm);
        deltas.push(delta);
        thresholds.push(threshold);
        active.push(flag);
    }

    // One transaction: the device is waited for once, however many layers there are.
    let mut columns = Transaction::default();
    for column in [norms, deltas, thresholds, active] {
        if !column.is_empty() {
            columns = columns.register(Tensor::cat(column, 0));
        }
    }
    let mut columns = columns
        .try_execute()
        .map_err(|error| Error::device(READING, error))?
        .into_iter()
        .map(|data| floats(Ok::<_, std::convert::Infallible>(data)));
    let mut next_column = || columns.next().unwrap_or_else(|| Ok(Vec::new()));

    let mut embedding_norms = next_column()?;
    let norms = embedding_norms.split_off(pass.batch() * pass.seq());
    Ok(GateRecord {
        embedding_norms,
        norms,
        deltas: next_column()?,
        thresholds: next_column()?,
        active: next_column()?.into_iter().map(|flag| flag != 0.0).collect(),
    })
}

fn floats<E: std::fmt::Display>(data: Result<TensorData, E>) -> Result<Vec<f32>> {
    data.map_err(|error| Error::device(READING, error))?
        .try_into_vec::<f32>()
        .map_err(|error| Error::device(READING, error))
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
