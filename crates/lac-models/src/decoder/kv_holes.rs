//! Slots of the cache without keys and values, left by layers that a plan did not run.

use std::ops::Range;

use burn::tensor::Device;

use super::query_block::QueryBlock;
use super::reach::Reach;

/// For each layer, the slots that hold no keys and values. They are not attended to.
///
/// Slots are the same for all rows of a batch: a layer is run for a whole pass or not at all.
#[derive(Clone, Debug)]
pub(super) struct KvHoles {
    /// Per layer, in ascending order and without overlaps.
    layers: Vec<Vec<Range<usize>>>,
    /// This pass's blocks without some slots: layers of one reach that omit the same ones share them.
    blocks: Vec<(Reach, Vec<Range<usize>>, Vec<QueryBlock>)>,
}

impl KvHoles {
    pub(super) fn new(n_layers: usize) -> Self {
        Self {
            layers: vec![Vec::new(); n_layers],
            blocks: Vec::new(),
        }
    }

    /// Begins a pass at a slot, and forgets the holes from there on.
    pub(super) fn begin_pass(&mut self, past: usize) {
        self.blocks.clear();
        for ranges in &mut self.layers {
            remove(ranges, past..usize::MAX);
        }
    }

    pub(super) fn omit(&mut self, layer_idx: usize, slots: Range<usize>) {
        let ranges = &mut self.layers[layer_idx];
        match ranges.last_mut() {
            Some(last) if last.end == slots.start => last.end = slots.end,
            _ => ranges.push(slots),
        }
    }

    /// Notes that slots hold keys and values from now on.
    pub(super) fn fill(&mut self, layer_idx: usize, slots: Range<usize>) {
        remove(&mut self.layers[layer_idx], slots);
    }

    /// Returns whether a layer has holes.
    pub(super) fn has_some(&self, layer_idx: usize) -> bool {
        !self.layers[layer_idx].is_empty()
    }

    /// Returns the blocks of a pass without a layer's holes; `None` when it has no holes.
    pub(super) fn attended_by(
        &mut self,
        layer_idx: usize,
        reach: Reach,
        blocks: &[QueryBlock],
        device: &Device,
    ) -> Option<Vec<QueryBlock>> {
        let ranges = &self.layers[layer_idx];
        if ranges.is_empty() {
            return None;
        }
        let mut known = self.blocks.iter();
        if let Some((_, _, known)) = known.find(|known| known.0 == reach && known.1 == *ranges) {
            return Some(known.clone());
        }
        let is_omitted = |slot| ranges.iter().any(|range| range.contains(&slot));
        let without: Vec<QueryBlock> = blocks
            .iter()
            .map(|block| block.without(is_omitted, device))
            .collect();
        self.blocks.push((reach, ranges.clone(), without.clone()));
        Some(without)
    }
}

/// Removes slots from ranges.
fn remove(ranges: &mut Vec<Range<usize>>, slots: Range<usize>) {
    if ranges
        .iter()
        .all(|range| range.end <= slots.start || slots.end <= range.start)
    {
        return;
    }
    *ranges = ranges
        .iter()
        .flat_map(|range| {
            [
                range.start..range.end.min(slots.start),
                range.start.max(slots.end)..range.end,
            ]
        })
        .filter(|range| range.start < range.end)
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_omitted_filled_and_forgotten() {
        let mut omitted = KvHoles::new(1);
        let check = |omitted: &KvHoles, expected: &[[usize; 2]]| {
            let ends = |range: &Range<usize>| [range.start, range.end];
            let ranges: Vec<_> = omitted.layers[0].iter().map(ends).collect();
            assert_eq!(ranges, expected);
        };
        omitted.omit(0, 0..4);
        omitted.omit(0, 4..5);
        check(&omitted, &[[0, 5]]);
        omitted.fill(0, 2..3);
        check(&omitted, &[[0, 2], [3, 5]]);
        omitted.omit(0, 9..10);
        omitted.fill(0, 5..8);
        check(&omitted, &[[0, 2], [3, 5], [9, 10]]);
        omitted.begin_pass(4);
        check(&omitted, &[[0, 2], [3, 4]]);
        omitted.fill(0, 0..4);
        check(&omitted, &[]);
    }
}
