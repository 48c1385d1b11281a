//! The one rule that says which slots of the key/value cache a query attends to.

use std::ops::Range;

/// Which cached slots the queries of a pass attend to: query `s` of row `b` attends to the slots from
/// `max(padding[b], past + s + 1 - window)` up to its own, `past + s`, but not beyond `ends[b]`.
///
/// ```
/// use lac_kernels::AttendedSlots;
///
/// let slots = AttendedSlots { past: 3, window: Some(2), padding: vec![0], ends: vec![] };
/// // The first query of the pass stands in slot 3 and has a window of two slots.
/// assert_eq!(slots.of_query(0, 0), 2..4);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttendedSlots {
    /// Number of slots that earlier passes have filled.
    pub past: usize,
    /// Number of slots of the sliding window; `None` for all earlier slots.
    pub window: Option<usize>,
    /// Number of padding slots at the left of each row.
    pub padding: Vec<usize>,
    /// The slot of each row from which on keys are masked for all queries; empty if no key is masked.
    pub ends: Vec<usize>,
}

impl AttendedSlots {
    /// Returns the slots that a query of a row attends to.
    ///
    /// There is always at least one, because a softmax needs one: a padding query, whose result is not read, attends to its
    /// own slot, and a query whose window holds masked keys alone attends to the last key that is not masked.
    ///
    /// # Panics
    /// If `padding` has no such row, or `ends` masks a row from its first slot on.
    #[inline]
    pub fn of_query(&self, row: usize, query: usize) -> Range<usize> {
        let after_own = self.past + query + 1;
        let end = self
            .ends
            .get(row)
            .map_or(after_own, |&hidden| after_own.min(hidden));
        // The window counts from the query's own slot, also if that slot is masked.
        let oldest = self
            .window
            .map_or(0, |window| after_own.saturating_sub(window));
        oldest.max(self.padding[row]).min(end - 1)..end
    }
}
