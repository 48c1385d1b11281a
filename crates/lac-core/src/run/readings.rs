//! What the gate saw of a pass: on the device until it is read.

use burn::tensor::{Int, Tensor, TensorData, Transaction};

use crate::decision::Decision;
use crate::error::{Error, Result, StateAt};
use crate::kernel::{Field, N_FIELDS};
use crate::lens::LensReadings;
use crate::measures::MeasureReadings;
use crate::pass::Pass;
use crate::record::{GateRecord, PassRecord};
use crate::routing::{LayerRouting, RoutingRecord};

/// What the gate saw of a pass, still on the device, and which layers were run.
#[derive(Debug)]
pub struct PassReadings {
    /// Shape of the states, `[batch, seq, hidden]`.
    shape: [usize; 3],
    decisions: Vec<Decision>,
    /// The records of the embedding and of every layer, `[1 + layers, N_FIELDS, batch, seq]`.
    records: Option<Box<Tensor<4>>>,
    routing: Vec<LayerRouting>,
    measures: Option<MeasureReadings>,
    lens: Option<Box<LensReadings>>,
}

impl PassReadings {
    pub(super) fn new(
        shape: [usize; 3],
        decisions: Vec<Decision>,
        records: Option<Tensor<4>>,
        routing: Vec<LayerRouting>,
    ) -> Self {
        Self {
            shape,
            decisions,
            records: records.map(Box::new),
            routing,
            measures: None,
            lens: None,
        }
    }

    pub(super) fn with_measures(self, measures: Option<MeasureReadings>) -> Self {
        Self { measures, ..self }
    }

    /// Adds what a lens saw of the pass.
    pub(crate) fn with_lens(self, lens: Option<LensReadings>) -> Self {
        Self {
            lens: lens.map(Box::new),
            ..self
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

    /// Reads the gate's numbers, the routers' choices, measures and what a lens saw back to the host, at once, and checks
    /// them. `pass` is the one that was run. This waits for the device.
    ///
    /// # Errors
    /// - [`Error::NonFiniteNorm`] with the first layer and position whose norm is not finite (padding is not checked);
    /// - [`Error::PassShape`] if `pass` is for another batch or sequence length;
    /// - [`Error::RoutingShape`] if the model's routing is for another one, or of a layer that it does not have;
    /// - [`Error::Device`] if the device failed.
    pub fn read(self, pass: &Pass) -> Result<PassRecord> {
        Ok(self.read_with(pass, None)?.0)
    }

    /// As [`read`](Self::read), and reads the tokens that were chosen on the device, `[batch]`, with the rest: the host
    /// waits once.
    pub(crate) fn read_with(
        self,
        pass: &Pass,
        ids: Option<Tensor<1, Int>>,
    ) -> Result<(PassRecord, Option<TensorData>)> {
        let expected = [pass.batch(), pass.seq()];
        if self.shape[..2] != expected {
            let found = self.shape;
            return Err(Error::PassShape { expected, found });
        }
        let n_layers = self.decisions.len();
        let wrong = self.routing.iter().find(|layer| {
            let [batch, seq, _] = layer.experts.dims();
            let is_whole = layer.weights.dims() == layer.experts.dims();
            layer.layer_idx >= n_layers || [batch, seq] != expected || !is_whole
        });
        if let Some(layer) = wrong {
            return Err(Error::RoutingShape {
                layer_idx: layer.layer_idx,
                n_layers,
                expected,
                found: layer.experts.dims(),
            });
        }
        let has_ids = ids.is_some();
        let mut read = self.read_at_once(ids)?;
        let ids = if has_ids { read.pop() } else { None };
        let mut read = read.into_iter();
        let gate = match self.records {
            Some(_) => read.next().map(|data| gate_record(data, n_layers, pass)),
            None => None,
        };
        let measures = match &self.measures {
            Some(measures) => {
                let data = measures.tensor().and_then(|_| read.next());
                Some(measures.record(data)?)
            }
            None => None,
        };
        let lens = match &self.lens {
            Some(lens) => match (read.next(), read.next(), read.next()) {
                (Some(ids), Some(logprobs), Some(distances)) => {
                    Some(lens.record([ids, logprobs, distances])?)
                }
                _ => None,
            },
            None => None,
        };
        let record = PassRecord {
            pass: pass.clone(),
            decisions: self.decisions,
            gate: gate.transpose()?,
            routing: routing_records(n_layers, &self.routing, read)?,
            measures,
            lens,
        };
        Ok((record, ids))
    }

    /// Waits for the device once. The order is that of the fields; the ids come last.
    fn read_at_once(&self, ids: Option<Tensor<1, Int>>) -> Result<Vec<TensorData>> {
        let mut transaction = Transaction::default();
        let mut is_empty = true;
        if let Some(records) = &self.records {
            transaction = transaction.register(*records.clone());
            is_empty = false;
        }
        if let Some(measures) = self.measures.as_ref().and_then(MeasureReadings::tensor) {
            transaction = transaction.register(measures);
            is_empty = false;
        }
        if let Some(lens) = &self.lens {
            let (ids, [logprobs, distances]) = lens.tensors();
            transaction = transaction
                .register(ids)
                .register(logprobs)
                .register(distances);
            is_empty = false;
        }
        for layer in &self.routing {
            transaction = transaction
                .register(layer.experts.clone())
                .register(layer.weights.clone());
            is_empty = false;
        }
        if let Some(ids) = ids {
            transaction = transaction.register(ids);
            is_empty = false;
        }
        if is_empty {
            return Ok(Vec::new());
        }
        transaction
            .try_execute()
            .map_err(|error| Error::device(READING, error))
    }
}

/// What is said to have been done when the device fails.
const READING: &str = "reading what the gate saw";

/// Makes records of what was read of the layers with routers, experts and weights in turn.
fn routing_records(
    n_layers: usize,
    routing: &[LayerRouting],
    mut read: impl Iterator<Item = TensorData>,
) -> Result<Vec<Option<RoutingRecord>>> {
    let mut records = Vec::new();
    if !routing.is_empty() {
        records.resize(n_layers, None);
    }
    for layer in routing {
        let (Some(experts), Some(weights)) = (read.next(), read.next()) else {
            break;
        };
        let [_, _, n_chosen] = layer.experts.dims();
        records[layer.layer_idx] = Some(RoutingRecord {
            n_experts: layer.n_experts,
            n_chosen,
            experts: experts.iter::<u32>().collect(),
            weights: weights
                .try_into_vec::<f32>()
                .map_err(|error| Error::device(READING, error))?,
        });
    }
    Ok(records)
}

/// Makes a record of `[1 + layers, N_FIELDS, batch, seq]`.
fn gate_record(records: TensorData, n_layers: usize, pass: &Pass) -> Result<GateRecord> {
    let n_tokens = pass.batch() * pass.seq();
    let n_states = 1 + n_layers;
    let values = records
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
