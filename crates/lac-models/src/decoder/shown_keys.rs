//! Which slots of the key/value cache a GPU multiplies.
//!
//! A GPU's kernels are compiled for sizes, and launched with masks where fewer keys are attended to. A text that shows
//! one key more at every token would have kernels compiled all along its way, and so sizes are rounded up: to few of
//! them, by less than a quarter beyond 512 slots.

use std::ops::Range;

/// Sizes are multiples of it.
const STEP: usize = 64;

/// Rounds a number of slots up to one of a few: multiples of 64, and of an eighth of the next power of two.
pub(super) fn rounded(n_slots: usize) -> usize {
    let step = (n_slots.next_power_of_two() / 8).max(STEP);
    n_slots.next_multiple_of(step)
}

/// Returns at least the slots `keys`, as many as others are for other texts. `window` is the sliding window of the
/// `n_queries` queries that attend to them, and the cache has `capacity` slots.
pub(super) fn shown(
    keys: Range<usize>,
    window: Option<usize>,
    n_queries: usize,
    capacity: usize,
) -> Range<usize> {
    let end = rounded(keys.end).min(capacity);
    let Some(window) = window else {
        return 0..end;
    };
    // One size for all places that a full window can stand in.
    let widest = rounded(window.saturating_add(n_queries + STEP));
    if end <= widest {
        return 0..end;
    }
    let start = (keys.start / STEP * STEP).min(capacity - widest);
    start..start + widest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_attended_to_is_shown(
            past in 0..5000_usize,
            n_queries in 1..600_usize,
            window in proptest::option::of(1..5000_usize),
            room in 0..5000_usize,
        ) {
            let end = past + n_queries;
            let start = window.map_or(0, |window| (past + 1).saturating_sub(window));
            let capacity = rounded(end + room);
            let keys = shown(start..end, window, n_queries, capacity);
            prop_assert!(keys.start <= start && end <= keys.end && keys.end <= capacity, "{keys:?}");
            prop_assert_eq!(rounded(capacity), capacity);
            prop_assert!(rounded(end) <= end + end / 4 + STEP);
        }
    }

    #[test]
    fn sizes_are_few() {
        let sizes = |window: Option<usize>| -> BTreeSet<usize> {
            let capacity = rounded(32_768);
            (1..32_768)
                .map(|end: usize| {
                    let start = end.saturating_sub(window.unwrap_or(end));
                    shown(start..end, window, 1, capacity).len()
                })
                .collect()
        };
        assert_eq!(sizes(None).len(), 8 + 6 * 4);
        // Up to the window's own size, and then no other.
        assert_eq!(sizes(Some(1000)).last(), Some(&1280));
        assert_eq!(sizes(Some(1000)).len(), 8 + 4 + 1);
    }
}
