//! Which keys the queries of a pass can see, block by block.

use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use lac_core::Pass;
use lac_kernels::AttendedSlots;

use super::shown_keys::shown;

/// Queries per block. At most `heads * 512 * keys` scores are in memory at once.
const QUERIES_PER_BLOCK: usize = 512;

/// Some queries of a pass and the keys they can see.
#[derive(Clone, Debug)]
pub(super) struct QueryBlock {
    /// Slots of the pass.
    pub(super) queries: Range<usize>,
    /// Slots of the cache.
    pub(super) keys: Range<usize>,
    /// Where a key is hidden from a query, `[1 or batch, 1, 1, queries, keys]`; `None` when every
    /// query sees every key of the block.
    pub(super) hidden: Option<Tensor<5, Bool>>,
}

impl QueryBlock {
    /// Cuts a pass of `seq` slots into blocks. With a `capacity`, the keys are those of a cache with so many slots, and
    /// their number is [rounded up](super::shown_keys).
    pub(super) fn of(
        slots: &AttendedSlots,
        seq: usize,
        capacity: Option<usize>,
        device: &Device,
    ) -> Vec<Self> {
        (0..seq)
            .step_by(QUERIES_PER_BLOCK)
            .map(|start| {
                let queries = start..(start + QUERIES_PER_BLOCK).min(seq);
                Self::new(slots, queries, capacity, device)
            })
            .collect()
    }

    fn new(
        slots: &AttendedSlots,
        queries: Range<usize>,
        capacity: Option<usize>,
        device: &Device,
    ) -> Self {
        let oldest_query = slots.past + queries.start;
        let first_key = slots
            .window
            .map_or(0, |window| (oldest_query + 1).saturating_sub(window));
        let attended = first_key..slots.past + queries.end;
        let keys = match capacity {
            None => attended.clone(),
            Some(capacity) => shown(attended.clone(), slots.window, queries.len(), capacity),
        };
        // A single query attends to all keys that are left, unless rows differ or more are shown. On a GPU a mask that
        // is there for some texts is there for all.
        let hidden = (queries.len() > 1 || capacity.is_some() || !is_alike(slots))
            .then(|| key_mask(slots, &queries, &keys, device));
        Self {
            queries,
            keys,
            hidden,
        }
    }
}

impl QueryBlock {
    /// Hides further keys from all queries of the block: those of slots for which `omitted` returns true.
    pub(super) fn without(&self, omitted: impl Fn(usize) -> bool, device: &Device) -> Self {
        let n_keys = self.keys.len();
        let flags: Vec<bool> = self.keys.clone().map(omitted).collect();
        let flags = TensorData::new(flags, [1, 1, 1, 1, n_keys]);
        let omitted = Tensor::<5, Bool>::from_data(flags, device);
        let hidden = match &self.hidden {
            None => omitted.expand([1, 1, 1, self.queries.len(), n_keys]),
            Some(hidden) => hidden.clone().bool_or(omitted.expand(hidden.dims())),
        };
        Self {
            hidden: Some(hidden),
            ..self.clone()
        }
    }
}

/// Returns the slots that the queries of a pass attend to.
pub(super) fn attended_slots(pass: &Pass, window: Option<usize>) -> AttendedSlots {
    AttendedSlots {
        past: pass.past(),
        window,
        padding: pass.padding().to_vec(),
        ends: pass
            .masked_tail()
            .iter()
            .map(|n_hidden| pass.past() + pass.seq() - n_hidden)
            .collect(),
    }
}

/// Returns where a key is hidden from a query, `[1 or batch, 1, 1, queries, keys]`: outside the slots that the query
/// attends to.
///
/// Slots stand for positions, since left padding moves the queries and keys of a row alike.
fn key_mask(
    slots: &AttendedSlots,
    queries: &Range<usize>,
    keys: &Range<usize>,
    device: &Device,
) -> Tensor<5, Bool> {
    let n_rows = if is_alike(slots) {
        1
    } else {
        slots.padding.len()
    };
    let attended: Vec<Range<usize>> = (0..n_rows)
        .flat_map(|row| queries.clone().map(move |query| slots.of_query(row, query)))
        .collect();
    let shape = [n_rows, 1, 1, queries.len(), keys.len()];
    let per_query = |slot: fn(&Range<usize>) -> usize| {
        let slots: Vec<i64> = attended.iter().map(|slots| slot(slots) as i64).collect();
        let slots = TensorData::new(slots, [n_rows, 1, 1, queries.len(), 1]);
        Tensor::<5, Int>::from_data(slots, device).expand(shape)
    };
    let key = Tensor::<1, Int>::arange(keys.start as i64..keys.end as i64, device)
        .reshape([1, 1, 1, 1, keys.len()])
        .expand(shape);
    let is_too_old = key.clone().lower(per_query(|slots| slots.start));
    is_too_old.bool_or(key.greater_equal(per_query(|slots| slots.end)))
}

/// Returns whether a query attends to the same slots in every row.
fn is_alike(slots: &AttendedSlots) -> bool {
    slots.ends.is_empty() && slots.padding.iter().all(|&n_padding| n_padding == 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A prompt padded on the left, on the right as the released code pads it, or continued.
    fn passes() -> impl Strategy<Value = Pass> {
        let lengths = proptest::collection::vec(1..7_usize, 1..4);
        (lengths, 0..3_u8, 1..4_usize).prop_map(|(lengths, kind, n_next)| {
            let rows: Vec<Vec<u32>> = lengths.iter().map(|&length| vec![1; length]).collect();
            match kind {
                0 => Pass::prompt(&rows, 0).unwrap(),
                1 => Pass::prompt_with_padding_as_tokens(&rows, 0).unwrap(),
                _ => {
                    let prompt = Pass::prompt(&rows, 0).unwrap();
                    let sources: Vec<usize> = (0..rows.len()).collect();
                    let next = vec![vec![2; n_next]; rows.len()];
                    prompt.scored_after(&sources, &next, 0).unwrap()
                }
            }
        })
    }

    proptest! {
        #[test]
        fn masks_hide_what_the_rule_and_the_pass_hide(
            pass in passes(),
            window in proptest::option::of(1..6_usize),
        ) {
            let device = Device::default();
            let slots = attended_slots(&pass, window);
            let n_keys = pass.past() + pass.seq();
            let keys = 0..n_keys;
            let mask = key_mask(&slots, &(0..pass.seq()), &keys, &device).into_data();
            let mask: Vec<bool> = mask.iter::<bool>().collect();
            let by_pass: Vec<bool> = pass.key_mask(&device).into_data().iter::<bool>().collect();
            for row in 0..pass.batch() {
                for query in 0..pass.seq() {
                    if pass.position(row, query).is_none() {
                        continue;
                    }
                    let is_too_old =
                        |key: usize| window.is_some_and(|window| key + window <= pass.past() + query);
                    let by_pass = &by_pass[(row * pass.seq() + query) * n_keys..][..n_keys];
                    let is_expected: Vec<bool> =
                        keys.clone().map(|key| by_pass[key] || is_too_old(key)).collect();
                    let has_none = !is_expected.contains(&false);
                    let row_of_mask = if is_alike(&slots) { 0 } else { row };
                    for key in keys.clone() {
                        let is_hidden = mask[(row_of_mask * pass.seq() + query) * n_keys + key];
                        prop_assert_eq!(is_hidden, !slots.of_query(row, query).contains(&key));
                        prop_assert!(has_none || is_hidden == is_expected[key]);
                    }
                }
            }
        }
    }
}
