//! What holds of the gate whatever the states are.

use burn::tensor::{Device, Tensor, TensorData};
use lac_core::{
    GateConfig, GateRecord, LastActive, LayerStack, Observer, Pass, PassRecord, Trace, Usage,
    run_layers,
};
use proptest::prelude::*;

/// Layers that put out given states, whatever goes in.
struct Given(Vec<Tensor<3>>);

impl LayerStack for Given {
    type Context = ();

    fn n_layers(&self) -> usize {
        self.0.len()
    }

    fn forward_layer(&self, layer_idx: usize, _: Tensor<3>, _: &mut ()) -> Tensor<3> {
        self.0[layer_idx].clone()
    }
}

/// States `[layers + 1][rows][tokens * hidden]` of a batch.
#[derive(Clone, Debug)]
struct States {
    values: Vec<Vec<Vec<f32>>>,
    seq: usize,
    hidden: usize,
}

impl States {
    fn any() -> impl Strategy<Value = States> {
        let sizes = (1usize..8, 1usize..4, 1usize..5, 1usize..6);
        sizes.prop_flat_map(|(n_layers, batch, seq, hidden)| {
            let row = prop::collection::vec(-10.0f32..10.0, seq * hidden);
            let state = prop::collection::vec(row, batch);
            prop::collection::vec(state, n_layers + 1).prop_map(move |values| States {
                values,
                seq,
                hidden,
            })
        })
    }

    fn batch(&self) -> usize {
        self.values[0].len()
    }

    /// One row alone.
    fn row(&self, row: usize) -> States {
        let values = self
            .values
            .iter()
            .map(|state| vec![state[row].clone()])
            .collect();
        States {
            values,
            ..self.clone()
        }
    }

    /// Padding before the row's tokens.
    fn padded(&self, n_padding: usize) -> States {
        let pad = |row: &Vec<f32>| [vec![3.0; n_padding * self.hidden], row.clone()].concat();
        States {
            values: self
                .values
                .iter()
                .map(|state| state.iter().map(pad).collect())
                .collect(),
            seq: self.seq + n_padding,
            hidden: self.hidden,
        }
    }

    fn scaled(&self, factor: f32) -> States {
        let scale = |row: &Vec<f32>| row.iter().map(|value| value * factor).collect();
        let values = self
            .values
            .iter()
            .map(|state| state.iter().map(scale).collect())
            .collect();
        States {
            values,
            ..self.clone()
        }
    }

    fn tensors(&self) -> Vec<Tensor<3>> {
        let device = Device::flex();
        let tensor = |state: &Vec<Vec<f32>>| {
            let shape = [state.len(), self.seq, self.hidden];
            Tensor::from_data(TensorData::new(state.concat(), shape), &device)
        };
        self.values.iter().map(tensor).collect()
    }

    /// The record of a pass in which every row has `n_padding` slots of padding.
    fn trace(&self, alpha: f32, n_padding: usize) -> PassRecord {
        let mut states = self.tensors();
        let embedding = states.remove(0);
        let pass = pass(self.batch(), self.seq, n_padding);
        let mut policy = Trace::new(GateConfig::new(alpha));
        let out = run_layers(&Given(states), embedding, &mut (), &pass, &mut policy).unwrap();
        out.readings.read(&pass).unwrap()
    }

    fn gate(&self, alpha: f32) -> GateRecord {
        self.trace(alpha, 0).gate.unwrap()
    }
}

/// A pass over rows of which each has some padding, made by a longer row beside them: the row
/// with the most tokens decides the length.
fn pass(batch: usize, seq: usize, n_padding: usize) -> Pass {
    let mut rows = vec![vec![0; seq - n_padding]; batch];
    if n_padding > 0 {
        rows.push(vec![0; seq]);
    }
    Pass::prompt(&rows, 0).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn at_alpha_zero_a_layer_is_active_iff_it_does_not_shrink_the_norm(states in States::any()) {
        let gate = states.gate(0.0);
        for (active, delta) in gate.active.iter().zip(&gate.deltas) {
            prop_assert_eq!(*active, *delta >= 0.0);
        }
    }

    #[test]
    fn the_record_follows_the_definition(states in States::any(), alpha in 0.0f32..1.5) {
        let record = states.trace(alpha, 0);
        let gate = record.gate.as_ref().unwrap();
        for row in 0..states.batch() {
            for slot in 0..states.seq {
                let token = row * states.seq + slot;
                let mut previous = gate.embedding_norms[token];
                let (mut max, mut min) = (f32::NEG_INFINITY, f32::INFINITY);
                for layer_idx in 0..record.n_layers() {
                    let at = record.at(layer_idx, row, slot);
                    let delta = gate.norms[at] - previous;
                    let threshold = if layer_idx == 0 { 0.0 } else { alpha * (max - min) };
                    prop_assert_eq!(gate.deltas[at], delta);
                    prop_assert_eq!(gate.thresholds[at], threshold);
                    prop_assert_eq!(gate.active[at], delta >= threshold);
                    previous = gate.norms[at];
                    max = max.max(delta);
                    min = min.min(delta);
                }
            }
        }
    }

    #[test]
    fn masks_do_not_depend_on_the_batch(states in States::any(), alpha in 0.0f32..1.0) {
        let record = states.trace(alpha, 0);
        let gate = record.gate.as_ref().unwrap();
        for row in 0..states.batch() {
            let alone = states.row(row).trace(alpha, 0);
            let alone_gate = alone.gate.as_ref().unwrap();
            for layer_idx in 0..record.n_layers() {
                for slot in 0..states.seq {
                    prop_assert_eq!(
                        gate.active[record.at(layer_idx, row, slot)],
                        alone_gate.active[alone.at(layer_idx, 0, slot)]
                    );
                }
            }
        }
    }

    #[test]
    fn masks_and_usage_do_not_depend_on_padding(states in States::any(), n_padding in 1usize..4) {
        let states = states.row(0);
        let alone = states.trace(0.8, 0);
        // The second row is as long as the block and makes the first one padded.
        let padded = States {
            values: states.padded(n_padding).values.iter()
                .map(|state| vec![state[0].clone(), state[0].clone()]).collect(),
            ..states.padded(n_padding)
        };
        let mut tensors = padded.tensors();
        let embedding = tensors.remove(0);
        let pass = pass(1, padded.seq, n_padding);
        let mut policy = Trace::new(GateConfig::new(0.8));
        let out = run_layers(&Given(tensors), embedding, &mut (), &pass, &mut policy).unwrap();
        let record = out.readings.read(&pass).unwrap();

        let counted: Vec<usize> = record.counted().filter(|(row, _)| *row == 0).map(|(_, slot)| slot).collect();
        prop_assert_eq!(&counted, &(n_padding..padded.seq).collect::<Vec<_>>());
        let (gate, alone_gate) = (record.gate.as_ref().unwrap(), alone.gate.as_ref().unwrap());
        for layer_idx in 0..record.n_layers() {
            for slot in 0..states.seq {
                prop_assert_eq!(
                    gate.active[record.at(layer_idx, 0, n_padding + slot)],
                    alone_gate.active[alone.at(layer_idx, 0, slot)]
                );
            }
        }
        let mut usage = Usage::default();
        usage.pass(&record).unwrap();
        prop_assert_eq!(usage.prompt.n_tokens(), (states.seq + padded.seq) as u64);
    }

    /// By a power of two, so that scaling adds no rounding and ties stay ties.
    #[test]
    fn scaling_all_states_leaves_the_mask(states in States::any(), exponent in -8i32..8) {
        let scaled = states.scaled(2f32.powi(exponent));
        prop_assert_eq!(states.gate(0.8).active, scaled.gate(0.8).active);
    }

    #[test]
    fn last_active_is_the_output_of_the_last_active_layer(states in States::any(), alpha in 0.0f32..1.0) {
        let mut tensors = states.tensors();
        let embedding = tensors.remove(0);
        let pass = pass(states.batch(), states.seq, 0);
        let mut policy = LastActive::new(GateConfig::new(alpha));
        let out = run_layers(&Given(tensors), embedding, &mut (), &pass, &mut policy).unwrap();
        let selected = out.hidden.try_into_vec_as::<f32>().unwrap();
        let record = out.readings.read(&pass).unwrap();
        let gate = record.gate.as_ref().unwrap();
        for row in 0..states.batch() {
            for slot in 0..states.seq {
                let last = (0..record.n_layers()).rev().find(|&layer_idx| gate.active[record.at(layer_idx, row, slot)]);
                let state = &states.values[last.map_or(0, |layer_idx| layer_idx + 1)][row];
                let expected = &state[slot * states.hidden..][..states.hidden];
                let start = (row * states.seq + slot) * states.hidden;
                prop_assert_eq!(&selected[start..start + states.hidden], expected);
            }
        }
    }

    #[test]
    fn usage_lies_between_zero_and_one(states in States::any(), alpha in 0.0f32..2.0) {
        let mut usage = Usage::default();
        usage.pass(&states.trace(alpha, 0)).unwrap();
        let per_layer = usage.prompt.per_layer().unwrap();
        prop_assert_eq!(per_layer.len(), states.values.len() - 1);
        prop_assert!(per_layer.iter().all(|share| (0.0..=1.0).contains(share)));
        let mean = usage.prompt.mean().unwrap();
        prop_assert!((0.0..=1.0).contains(&mean));
        prop_assert_eq!(usage.response.mean(), None);
    }
}
