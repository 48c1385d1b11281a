//! The key/value cache against plain arrays, whatever is written and read in whatever order.

use burn::tensor::{DType, Tensor, TensorData};
use lac_core::kv_cache::{KvCache, KvCacheShape};
use proptest::prelude::*;

use crate::devices::devices;

const SHAPE: KvCacheShape = KvCacheShape {
    n_layers: 2,
    batch: 3,
    n_kv_heads: 2,
    capacity: 6,
    head_dim: 2,
};

/// What is done to a cache.
#[derive(Clone, Debug)]
enum Step {
    /// Writes some slots of a layer, in values that count up from `first`.
    Write {
        layer_idx: usize,
        start: usize,
        seq: usize,
        first: i32,
    },
    /// Goes on with other rows.
    Repeat { rows: [usize; 3], n_slots: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let write = (
        0..SHAPE.n_layers,
        0..SHAPE.capacity,
        1..=SHAPE.capacity,
        1..1000,
    )
        .prop_map(|(layer_idx, start, seq, first)| Step::Write {
            layer_idx,
            start,
            seq: seq.min(SHAPE.capacity - start),
            first,
        });
    let first_write =
        (0..SHAPE.n_layers, 1..=SHAPE.capacity, 1..1000).prop_map(|(layer_idx, seq, first)| {
            Step::Write {
                layer_idx,
                start: 0,
                seq,
                first,
            }
        });
    let row = 0..SHAPE.batch;
    let repeat = ([row.clone(), row.clone(), row], 0..=SHAPE.capacity)
        .prop_map(|(rows, n_slots)| Step::Repeat { rows, n_slots });
    prop_oneof![3 => write, 2 => first_write, 1 => repeat]
}

/// A layer's keys, `[batch][kv_heads][capacity][head_dim]`; its values are their negatives.
type Slots = [[[[i32; SHAPE.head_dim]; SHAPE.capacity]; SHAPE.n_kv_heads]; SHAPE.batch];

fn values(tensor: Tensor<4>) -> Vec<i32> {
    let values = tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec::<f32>()
        .unwrap();
    values.into_iter().map(|value| value as i32).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn what_is_read_is_what_was_written(steps in prop::collection::vec(step(), 1..6)) {
        for (name, device) in devices() {
            let mut cache = KvCache::new(SHAPE, DType::F32, &device);
            let mut expected = [Slots::default(); SHAPE.n_layers];
            for step in &steps {
                match *step {
                    Step::Write { layer_idx, start, seq, first } => {
                        let mut written = Vec::new();
                        for row in expected[layer_idx].iter_mut().flatten() {
                            for value in row[start..start + seq].as_flattened_mut() {
                                *value = first + written.len() as i32;
                                written.push(*value as f32);
                            }
                        }
                        let dims = [SHAPE.batch, SHAPE.n_kv_heads, seq, SHAPE.head_dim];
                        let keys = Tensor::<4>::from_data(TensorData::new(written, dims), &device);
                        cache.write(layer_idx, start, keys.clone(), -keys);
                    }
                    Step::Repeat { rows, n_slots } => {
                        cache = cache.repeat(&rows, n_slots, SHAPE.capacity);
                        expected = expected.map(|slots| {
                            let mut repeated = Slots::default();
                            for (repeated, row) in repeated.iter_mut().zip(rows) {
                                for (repeated, head) in repeated.iter_mut().zip(&slots[row]) {
                                    repeated[..n_slots].copy_from_slice(&head[..n_slots]);
                                }
                            }
                            repeated
                        });
                    }
                }
                // Slots that nothing was written to hold zeros.
                for (layer_idx, expected) in expected.iter().enumerate() {
                    for slots in [0..SHAPE.capacity, 0..1, 2..5] {
                        let (keys, held) = cache.read(layer_idx, slots.clone());
                        let expected: Vec<i32> = expected
                            .iter()
                            .flatten()
                            .flat_map(|head| head[slots.clone()].as_flattened())
                            .copied()
                            .collect();
                        let negated: Vec<i32> = expected.iter().map(|value| -value).collect();
                        prop_assert_eq!(values(keys), expected, "{} keys {:?}", name, slots);
                        prop_assert_eq!(values(held), negated, "{} values {:?}", name, slots);
                    }
                }
            }
        }
    }
}
