//! How masks, block influence and what a lens sees relate: correlations per layer, and two-way tables.

use lac_core::measures::{Measure, block_influence};
use serde::{Deserialize, Serialize};

use super::moments::{Comoments, Interval, Moments, Share};
use crate::token::Token;

/// What is counted of one layer of a trace that was measured or seen through a lens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerRelation {
    /// Block influence, of tokens for which the layer was active.
    pub influence_active: Moments,
    /// The same, of tokens for which it was a void.
    pub influence_void: Moments,
    /// Block influence and delta.
    pub influence_and_delta: Comoments,
    /// By how much the layer brings what the lens sees nearer to the last layer's, of tokens for which it was active. The
    /// first layer has none: what the lens sees of the embedding is not recorded.
    pub gain_active: Moments,
    /// The same, of tokens for which it was a void.
    pub gain_void: Moments,
    /// That gain and delta.
    pub gain_and_delta: Comoments,
    /// That gain and block influence.
    pub gain_and_influence: Comoments,
    /// Tokens by the cells of [`Cell`].
    pub cells: [u64; Cell::N],
}

/// A cell of the three-way table "void by the norm × void by influence × decided".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The gate found the layer void.
    pub void_by_norm: bool,
    /// Among the token's layers, it is one of the least influence: as many of them as the token has voids by the norm.
    pub void_by_influence: bool,
    /// The answer of the lens is the last layer's already before the layer, and stays so.
    pub decided: bool,
}

impl Cell {
    /// Number of cells.
    pub const N: usize = 8;

    /// Returns the cell's place.
    pub fn idx(self) -> usize {
        4 * usize::from(self.void_by_norm)
            + 2 * usize::from(self.void_by_influence)
            + usize::from(self.decided)
    }

    /// Iterates over all cells in their order.
    pub fn all() -> impl Iterator<Item = Cell> {
        (0..Self::N).map(|idx| Cell {
            void_by_norm: idx & 4 != 0,
            void_by_influence: idx & 2 != 0,
            decided: idx & 1 != 0,
        })
    }
}

/// A correlation and its interval, as summaries have it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Correlation {
    /// Pearson's correlation; `None` where it is not defined.
    pub correlation: Option<f64>,
    /// Its 95 % interval by Fisher's transformation, which takes tokens as independent.
    pub interval: Option<Interval>,
}

/// What follows for one layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct LayerRelationSummary {
    /// Mean block influence where the layer was active; `None` where it never was, or nothing was measured.
    pub influence_active: Option<f64>,
    /// The same where it was a void.
    pub influence_void: Option<f64>,
    /// Block influence and Δ.
    pub influence_and_delta: Correlation,
    /// Mean gain through the lens where the layer was active, in nats.
    pub gain_active: Option<f64>,
    /// The same where it was a void.
    pub gain_void: Option<f64>,
    /// The gain and Δ.
    pub gain_and_delta: Correlation,
    /// The gain and block influence.
    pub gain_and_influence: Correlation,
}

/// Shares of a 2 × 2 table of tokens and layers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TwoWay {
    /// The share for which the second holds, where the first does.
    pub given: Share,
    /// The share for which the second holds, where the first does not.
    pub otherwise: Share,
    /// The φ coefficient, Pearson's correlation of the two flags; `None` where one of them is always the same.
    pub phi: Option<f64>,
}

/// What follows for one phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RelationSummary {
    /// For each layer.
    pub layers: Vec<LayerRelationSummary>,
    /// Tokens and layers by void by the norm, void by influence and decided, in the order of [`Cell::idx`]; without a lens
    /// nothing counts as decided, and without measures nothing as void by influence.
    pub cells: Vec<u64>,
    /// Void by the norm, and void by influence; `None` where nothing was measured.
    pub norm_and_influence: Option<TwoWay>,
    /// Void by the norm, and decided; `None` without a lens.
    pub norm_and_decided: Option<TwoWay>,
    /// Void by influence, and decided; `None` without both.
    pub influence_and_decided: Option<TwoWay>,
    /// The mean layer from which on the answer stays the same; `None` without a lens.
    pub decided_at: Option<f64>,
}

/// What is counted of one phase; empty for a trace that was neither measured nor seen through a lens.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Relations {
    /// For each layer.
    pub layers: Vec<LayerRelation>,
    /// The layer from which on the answer stays the same.
    pub decided_at: Moments,
    /// Whether influence was measured.
    pub has_influence: bool,
}

impl Relations {
    pub(super) fn push(&mut self, token: &Token<'_>) {
        let measures = token.measures.as_ref();
        let cosines = measures.and_then(|measures| measures.get(Measure::Cosine));
        if cosines.is_none() && token.lens.is_none() {
            return;
        }
        let n_layers = token.n_layers();
        self.layers.resize(n_layers, LayerRelation::default());
        let influence: Option<Vec<f64>> = cosines.map(|all| {
            all.iter()
                .map(|&cos| f64::from(block_influence(cos)))
                .collect()
        });
        self.has_influence |= influence.is_some();
        let least = influence
            .as_deref()
            .map(|influence| least(influence, n_layers - token.n_active()));
        let decided_at = token.lens.map(|lens| lens.decided_at());
        if let Some(decided_at) = decided_at {
            self.decided_at.push(decided_at as f64);
        }
        for (layer_idx, layer) in self.layers.iter_mut().enumerate() {
            let delta = f64::from(token.deltas[layer_idx]);
            let is_active = token.active[layer_idx];
            let influence = influence.as_ref().map(|all| all[layer_idx]);
            if let Some(influence) = influence {
                layer.influence_of(is_active).push(influence);
                layer.influence_and_delta.push(influence, delta);
            }
            if let (Some(lens), Some(before)) = (&token.lens, layer_idx.checked_sub(1)) {
                let gain = f64::from(lens.kl()[before]) - f64::from(lens.kl()[layer_idx]);
                layer.gain_of(is_active).push(gain);
                layer.gain_and_delta.push(gain, delta);
                if let Some(influence) = influence {
                    layer.gain_and_influence.push(gain, influence);
                }
            }
            let cell = Cell {
                void_by_norm: !is_active,
                void_by_influence: least.as_ref().is_some_and(|least| least[layer_idx]),
                decided: decided_at.is_some_and(|decided_at| decided_at < layer_idx),
            };
            layer.cells[cell.idx()] += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        let n_layers = self.layers.len().max(other.layers.len());
        self.layers.resize(n_layers, LayerRelation::default());
        for (mine, others) in self.layers.iter_mut().zip(&other.layers) {
            mine.merge(others);
        }
        self.decided_at.merge(&other.decided_at);
        self.has_influence |= other.has_influence;
    }

    /// Returns what follows; `None` where nothing was counted.
    pub(super) fn summary(&self) -> Option<RelationSummary> {
        if self.layers.is_empty() {
            return None;
        }
        let mut cells = [0; Cell::N];
        for layer in &self.layers {
            for (total, count) in cells.iter_mut().zip(layer.cells) {
                *total += count;
            }
        }
        let has_lens = self.decided_at.n > 0;
        let table = |is_there: bool, first: fn(Cell) -> bool, second: fn(Cell) -> bool| {
            is_there.then(|| TwoWay::new(&cells, first, second))
        };
        Some(RelationSummary {
            layers: self.layers.iter().map(LayerRelationSummary::new).collect(),
            norm_and_influence: table(
                self.has_influence,
                |cell| cell.void_by_norm,
                |cell| cell.void_by_influence,
            ),
            norm_and_decided: table(has_lens, |cell| cell.void_by_norm, |cell| cell.decided),
            influence_and_decided: table(
                has_lens && self.has_influence,
                |cell| cell.void_by_influence,
                |cell| cell.decided,
            ),
            cells: cells.to_vec(),
            decided_at: has_lens.then_some(self.decided_at.mean),
        })
    }
}

/// Marks the `n` layers of the least influence; of equal ones the earlier first.
fn least(influence: &[f64], n: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..influence.len()).collect();
    order.sort_by(|&a, &b| influence[a].total_cmp(&influence[b]));
    let mut is_least = vec![false; influence.len()];
    for &layer_idx in &order[..n] {
        is_least[layer_idx] = true;
    }
    is_least
}

impl LayerRelation {
    fn influence_of(&mut self, is_active: bool) -> &mut Moments {
        if is_active {
            &mut self.influence_active
        } else {
            &mut self.influence_void
        }
    }

    fn gain_of(&mut self, is_active: bool) -> &mut Moments {
        if is_active {
            &mut self.gain_active
        } else {
            &mut self.gain_void
        }
    }

    fn merge(&mut self, other: &Self) {
        for (mine, others) in [
            (&mut self.influence_active, &other.influence_active),
            (&mut self.influence_void, &other.influence_void),
            (&mut self.gain_active, &other.gain_active),
            (&mut self.gain_void, &other.gain_void),
        ] {
            mine.merge(others);
        }
        for (mine, others) in [
            (&mut self.influence_and_delta, &other.influence_and_delta),
            (&mut self.gain_and_delta, &other.gain_and_delta),
            (&mut self.gain_and_influence, &other.gain_and_influence),
        ] {
            mine.merge(others);
        }
        for (mine, others) in self.cells.iter_mut().zip(other.cells) {
            *mine += others;
        }
    }
}

impl Correlation {
    fn new(pairs: &Comoments) -> Self {
        Self {
            correlation: pairs.correlation(),
            interval: pairs.correlation_interval(),
        }
    }
}

impl LayerRelationSummary {
    fn new(layer: &LayerRelation) -> Self {
        let mean = |moments: &Moments| (moments.n > 0).then_some(moments.mean);
        Self {
            influence_active: mean(&layer.influence_active),
            influence_void: mean(&layer.influence_void),
            influence_and_delta: Correlation::new(&layer.influence_and_delta),
            gain_active: mean(&layer.gain_active),
            gain_void: mean(&layer.gain_void),
            gain_and_delta: Correlation::new(&layer.gain_and_delta),
            gain_and_influence: Correlation::new(&layer.gain_and_influence),
        }
    }
}

impl TwoWay {
    fn new(
        cells: &[u64; Cell::N],
        first: impl Fn(Cell) -> bool,
        second: impl Fn(Cell) -> bool,
    ) -> Self {
        // Counts by the first flag and the second.
        let mut counts = [[0u64; 2]; 2];
        for cell in Cell::all() {
            counts[usize::from(first(cell))][usize::from(second(cell))] += cells[cell.idx()];
        }
        let share = |counts: [u64; 2]| Share::of(counts[1], counts[0] + counts[1]);
        let [otherwise, given] = counts;
        let n = |count: u64| count as f64;
        let margins = [
            given[0] + given[1],
            otherwise[0] + otherwise[1],
            given[0] + otherwise[0],
            given[1] + otherwise[1],
        ];
        let scale = margins.into_iter().map(n).product::<f64>().sqrt();
        let phi = (n(given[1]) * n(otherwise[0]) - n(given[0]) * n(otherwise[1])) / scale;
        Self {
            given: share(given),
            otherwise: share(otherwise),
            phi: (scale > 0.0).then_some(phi),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_are_as_many_as_asked_for() {
        assert_eq!(least(&[0.3, 0.1, 0.1, 0.2], 2), [false, true, true, false]);
        assert_eq!(least(&[0.3, 0.1, 0.1, 0.2], 1), [false, true, false, false]);
        assert_eq!(least(&[0.3], 0), [false]);
    }

    #[test]
    fn a_table_has_the_shares_of_its_rows() {
        let mut cells = [0; Cell::N];
        for cell in Cell::all() {
            cells[cell.idx()] = match (cell.void_by_norm, cell.decided) {
                (true, true) => 15,
                (true, false) => 5,
                (false, true) => 10,
                (false, false) => 20,
            };
        }
        let table = TwoWay::new(&cells, |cell| cell.void_by_norm, |cell| cell.decided);
        assert_eq!(table.given.share, 0.75);
        assert!((table.otherwise.share - 1.0 / 3.0).abs() < 1e-12);
        // (30 · 40 − 10 · 20) / √(40 · 60 · 50 · 50)
        assert!((table.phi.unwrap_or(0.0) - 1000.0 / 6e6f64.sqrt()).abs() < 1e-12);
        let never = TwoWay::new(&cells, |_| false, |cell| cell.decided);
        assert_eq!(never.phi, None);
    }
}
