//! Measures beside the norm in traces.

use std::collections::BTreeMap;
use std::ops::Range;

use lac_core::measures::{Measure, MeasureRecord, Measures};

/// Measures by their names, `[layers][tokens]` each, as JSON has them.
pub type MeasuresJson = BTreeMap<&'static str, Vec<Vec<f32>>>;

/// What was measured of one token beside the norm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenMeasures<'a> {
    columns: &'a MeasureColumns,
    first: usize,
    n_layers: usize,
}

/// What was measured of many tokens, `[tokens][layers]` for each measure.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct MeasureColumns {
    pub(crate) measures: Measures,
    /// In the order of [`Measures::list`].
    pub(crate) values: Vec<Vec<f32>>,
}

impl<'a> TokenMeasures<'a> {
    /// Returns one measure of each layer; `None` if it was not recorded.
    pub fn get(&self, measure: Measure) -> Option<&'a [f32]> {
        let values = self.columns.values.get(measure as usize)?;
        Some(&values[self.first..self.first + self.n_layers])
    }

    /// Iterates over the measures with their values of each layer.
    pub fn iter(&self) -> impl Iterator<Item = (Measure, &'a [f32])> + use<'a> {
        let token = *self;
        let list = token.columns.measures.list().iter();
        list.filter_map(move |&measure| Some((measure, token.get(measure)?)))
    }
}

impl MeasureColumns {
    pub(crate) fn new(measures: Measures) -> Self {
        Self {
            measures,
            values: vec![Vec::new(); measures.list().len()],
        }
    }

    /// Adds a token of a pass: `at` returns the index of a layer into the record's values.
    pub(crate) fn push(
        &mut self,
        record: &MeasureRecord,
        n_layers: usize,
        at: impl Fn(usize) -> usize,
    ) {
        for (column, (_, values)) in self.values.iter_mut().zip(record.iter()) {
            column.extend((0..n_layers).map(|layer_idx| values[at(layer_idx)]));
        }
    }

    pub(crate) fn of_token(&self, token_idx: usize, n_layers: usize) -> TokenMeasures<'_> {
        TokenMeasures {
            columns: self,
            first: token_idx * n_layers,
            n_layers,
        }
    }

    /// Takes over values of a range of `[tokens][layers]`.
    pub(crate) fn append(&mut self, other: &Self, range: Range<usize>) {
        for (column, more) in self.values.iter_mut().zip(&other.values) {
            column.extend_from_slice(&more[range.clone()]);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.values.iter_mut().for_each(Vec::clear);
    }

    pub(crate) fn n_values(&self) -> usize {
        self.values.iter().map(Vec::len).sum()
    }
}

/// Adds a token to measures by their names.
pub(crate) fn push_json(json: &mut MeasuresJson, token: &TokenMeasures<'_>) {
    for (measure, values) in token.iter() {
        let layers = json.entry(measure.name()).or_default();
        layers.resize(values.len(), Vec::new());
        for (layer, &value) in layers.iter_mut().zip(values) {
            layer.push(value);
        }
    }
}
