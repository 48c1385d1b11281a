//! Counts added up.

/// Adds counts element by element.
pub(super) fn add(totals: &mut [u64], counts: &[u64]) {
    for (total, count) in totals.iter_mut().zip(counts) {
        *total += count;
    }
}
